"""The training loop: seeded, resumable, on CPU or GPU, with an average of the weights as its result."""

import csv
import io
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.factory import get_tokenizer
from open_clip.model import CLIP
from torch.utils.data import DataLoader, Dataset

from inference.embedded.training.neighbours import Neighbours
from inference.embedded.training.objective import Losses, ask, losses
from inference.embedded.training.pack import PackRow
from inference.embedded.training.tower import MEAN, STD, build, clamp_scale, save
from inference.embedded.training.views import SIDE, make_view
from inference.embedded.training.vocabulary import CONTEXT_LENGTH, TOKENIZER_FILES, WEIGHTS_FILE, words_of

STATE_FILE = "training-state.pt"
CURVE_FILE = "training-curve.csv"

_LEARNING_RATE, _REFINING_RATE, _WEIGHT_DECAY = 2e-3, 1.2e-3, 0.05
_WARM_UP = 0.04
_AVERAGE = 0.99
_LARGEST_GRADIENT = 1.0
_TINY_CLASS_SHARE = 0.6  # 0: classes as large as in the pack, 1: all alike


class TrainingError(Exception):
    """The training cannot start or go on as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to train. Two runs with the same plan, data, machine and versions give the same weights.

    The first `small_share` of `passes` shows the images at `small_side` pixels, which takes less than half the time; the weights that
    are averaged come from the passes after them. `refining_passes` more follow, with the learning rate raised once again and words
    exchanged for their neighbours in meaning.
    """

    passes: int = 18
    refining_passes: int = 22
    images_a_pass: int = 18432
    batch_size: int = 192
    captions: int = 64
    seed: int = 20
    device: str = "cpu"
    mixed_precision: bool = True
    workers: int = 1
    small_side: int = 80
    small_share: float = 0.61

    @property
    def all_passes(self) -> int:
        return self.passes + self.refining_passes

    def learning_rate(self, at: float) -> float:
        """The rate at this many passes, `0 <= at <= all_passes`: a short rise, then half a cosine; twice."""
        peak, done, length = (
            (_LEARNING_RATE, at, self.passes) if at < self.passes else (_REFINING_RATE, at - self.passes, self.refining_passes)
        )
        share = done / length
        return peak * min(1.0, share / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * max(0.0, share - _WARM_UP) / (1 - _WARM_UP)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One finished pass: mean losses, and the seconds it took."""

    done: int
    kind: float
    claims: float
    findings: float
    captions: float
    seconds: float


def train(rows: Sequence[PackRow], words_from: Path, output: Path, plan: Plan, *, on_step: Callable[[int, int, float], None]) -> None:
    """Train and write the model to `output`; a run that was broken off there goes on after its last whole pass.

    `words_from`: folder of a model trained before, or of `distil_words`, with tokenizer and word vectors. `on_step` is called with the
    step, the number of steps and the loss.

    Raises:
        TrainingError: the folder holds a run with another plan.
        OSError: a file cannot be read or written.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if words_from.resolve() != output.resolve():
            shutil.copyfile(words_from / name, output / name)
    torch.manual_seed(plan.seed)
    model = build(words_of(words_from)).to(plan.device)
    model.visual.to(memory_format=torch.channels_last)
    run = _Run(model, plan, output)
    run.resume()
    for number in range(run.done, plan.all_passes):
        run.one_pass(number, rows, on_step)


class _Run:
    def __init__(self, model: CLIP, plan: Plan, output: Path) -> None:
        self._model, self._plan, self._output = model, plan, output
        self._average = _copy(model)
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": [one for one in weights if one.ndim > 1], "weight_decay": _WEIGHT_DECAY},
                {"params": [one for one in weights if one.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=_LEARNING_RATE,
            fused=True,
        )
        if not (output / WEIGHTS_FILE).exists():
            save(self._average, output)
        self._tokenizer = get_tokenizer(f"local-dir:{output}", context_length=CONTEXT_LENGTH)
        self._neighbours = Neighbours(model)
        self._history: list[Progress] = []

    @property
    def done(self) -> int:
        return len(self._history)

    def resume(self) -> None:
        path = self._output / STATE_FILE
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self._plan.device, weights_only=True)
        if state["plan"] != asdict(self._plan):
            raise TrainingError(f"{path} was made with another plan ({state['plan']}); take the same options or another output folder")
        self._model.load_state_dict(state["model"])
        self._average = state["average"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._history = [Progress(**one) for one in state["history"]]

    def one_pass(self, number: int, rows: Sequence[PackRow], on_step: Callable[[int, int, float], None]) -> None:
        plan, start = self._plan, time.monotonic()
        steps = plan.images_a_pass // plan.batch_size
        side = self._side(number)
        if side != self._side(number - 1):  # what was learnt of small images is a start, and no part of the average
            self._average = _copy(self._model)
        totals = np.zeros(4)
        self._model.train()
        self._neighbours.active = number >= plan.passes
        for step, batch in enumerate(_batches(rows, plan, number)):
            at = number * steps + step
            for group in self._optimiser.param_groups:
                group["lr"] = plan.learning_rate(at / steps)
            torch.manual_seed(plan.seed + at)
            parts = self._step(batch, side, np.random.default_rng([plan.seed, 1, at]))
            values = [float(part.detach()) for part in (parts.kind, parts.claims, parts.findings, parts.captions)]
            totals += values
            on_step(at + 1, plan.all_passes * steps, float(parts.total.detach()))
        means = [float(total) for total in totals / steps]
        self._history.append(
            Progress(
                done=number + 1,
                kind=means[0],
                claims=means[1],
                findings=means[2],
                captions=means[3],
                seconds=time.monotonic() - start,
            )
        )
        self._save()

    def _side(self, number: int) -> int:
        return self._plan.small_side if number < self._plan.small_share * self._plan.passes else SIDE

    def _step(self, batch: "_Batch", side: int, rng: np.random.Generator) -> Losses:
        device = self._plan.device
        questions = ask(batch.kinds, batch.claims, rng, captions=self._plan.captions)
        tokens = self._tokenizer(list(questions.texts)).to(device)
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=self._plan.mixed_precision):
            images = self._model.encode_image(_normalised(batch.pixels.to(device, non_blocking=True), side))
            texts = self._model.encode_text(tokens)
        parts = losses(
            torch.nn.functional.normalize(images.float(), dim=-1),
            torch.nn.functional.normalize(texts.float(), dim=-1),
            cast("torch.Tensor", self._model.logit_scale).exp(),
            kinds=torch.from_numpy(batch.kinds).to(device),
            claims=torch.from_numpy(batch.claims).to(device),
            findings=torch.from_numpy(batch.findings).to(device),
            questions=questions,
        )
        if not torch.isfinite(parts.total):
            raise TrainingError("the loss is not finite any more; lower the learning rate or train in full precision")
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(parts.total)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _LARGEST_GRADIENT)
        self._optimiser.step()
        clamp_scale(self._model)
        self._follow()
        return parts

    def _follow(self) -> None:
        with torch.no_grad():
            for name, value in self._model.state_dict().items():
                kept = self._average[name]
                if kept.is_floating_point():
                    kept.lerp_(value, 1 - _AVERAGE)
                else:
                    kept.copy_(value)

    def _save(self) -> None:
        state = {
            "plan": asdict(self._plan),
            "model": self._model.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "history": [asdict(one) for one in self._history],
        }
        partial = self._output / (STATE_FILE + ".part")
        torch.save(state, partial)
        partial.replace(self._output / STATE_FILE)
        save(self._average, self._output)
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow([field.name for field in fields(Progress)])
        writer.writerows([round(value, 5) for value in astuple(one)] for one in self._history)
        (self._output / CURVE_FILE).write_text(table.getvalue(), encoding="utf-8", newline="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """`pixels` uint8 `(n, SIDE, SIDE, 3)`."""

    pixels: torch.Tensor
    kinds: NDArray[np.int64]
    claims: NDArray[np.int8]
    findings: NDArray[np.int8]


class _Views(Dataset[_Batch]):
    """Whole batches of one pass, each from its own seed, so that they are the same however many workers make them."""

    def __init__(self, rows: Sequence[PackRow], plan: Plan, number: int) -> None:
        self._rows, self._plan, self._number = rows, plan, number
        self._cumulative = np.cumsum(_shares(rows))

    def __len__(self) -> int:
        return self._plan.images_a_pass // self._plan.batch_size

    def __getitem__(self, index: int) -> _Batch:
        if index >= len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self._plan.seed, 0, self._number, index])
        picked = np.searchsorted(self._cumulative, rng.random(self._plan.batch_size) * self._cumulative[-1])
        views = [make_view(self._rows[row], rng) for row in picked]
        return _Batch(
            pixels=torch.from_numpy(np.stack([view.pixels for view in views])),
            kinds=np.array([view.kind for view in views], dtype=np.int64),
            claims=np.stack([view.claims for view in views]),
            findings=np.stack([view.findings for view in views]),
        )


def _copy(model: CLIP) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _batches(rows: Sequence[PackRow], plan: Plan, number: int) -> Iterator[_Batch]:
    return iter(
        DataLoader(_Views(rows, plan, number), batch_size=None, num_workers=plan.workers, prefetch_factor=4 if plan.workers else None)
    )


def _shares(rows: Sequence[PackRow]) -> NDArray[np.float64]:
    """How often each row is shown: rare classes, and rare sources in a class, more often than in the pack."""
    kinds, sources = [row.kind for row in rows], [(row.kind, row.dataset) for row in rows]
    of_kind = {kind: kinds.count(kind) for kind in set(kinds)}
    of_source = {source: sources.count(source) for source in set(sources)}
    kept = {kind: sum(math.sqrt(count) for (other, _), count in of_source.items() if other == kind) for kind in of_kind}
    shares = []
    for row in rows:
        in_kind = math.sqrt(of_source[row.kind, row.dataset]) / kept[row.kind] / of_source[row.kind, row.dataset]
        weight = of_kind[row.kind] ** (1 - _TINY_CLASS_SHARE) * in_kind
        shares.append(weight)
    return np.asarray(shares)


def _normalised(pixels: torch.Tensor, side: int) -> torch.Tensor:
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    if side != scaled.shape[-1]:
        scaled = torch.nn.functional.interpolate(scaled, size=(side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)

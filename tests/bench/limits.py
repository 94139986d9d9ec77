"""What the embedded model's gate and quality prompts can be trusted with, on the val split: `python -m tests.bench.limits PACK`.

The limit of a fault is the score that all but a stated share of the clean images stay below: fewer where the fault silences findings.
The gate's minimum is a half, more than all other kinds together, as long as no more than one per cent of the images stay below it: a
higher one, fitted to these small images, refuses real series of other sources.
A fault of which it then finds less than a third at medium strength is not asked; only kinds with at least 20 clean images are. Prints the
`gate` and `quality` sections of the manifest.
"""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import structlog
import yaml
from numpy.typing import NDArray
from PIL import Image

from config import load
from inference.damage.degradations import KINDS, MEDICAL_KINDS, MEDIUM, Kind, degrade
from inference.embedded.training.pack import PackRow, read_pack
from inference.embedded.training.views import possible_faults
from inference.embedded.training.words import KINDS_OF_IMAGE
from inference.engine import Engine
from inference.findings import ImageRef
from inference.frames import Frame

MODEL, GATE, PROMPTS, FOREIGN = "gatekeeper", "kind-of-image", "image-quality", "not-a-medical-image"
MINIMUM = 0.5
_ALLOWED, _ALLOWED_IF_SILENCING, _REFUSED = 0.005, 0.0025, 0.01
_FEWEST = 20
_DEGRADED = 400
_PICTURE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3")


class _Scorer:
    """Scores of every label of the quality prompts."""

    def __init__(self) -> None:
        _, self._catalogue = load(None)
        self._engine = Engine(self._catalogue, device="auto", batch_size=32, cache_folder=None)
        self.labels = self._catalogue.prompt_set(PROMPTS).labels
        self.kinds = self._catalogue.prompt_set(GATE).labels

    def scores(self, pictures: Sequence[NDArray[np.float32]], prompts: str = PROMPTS) -> NDArray[np.float64]:
        frames = [
            Frame(pixels=picture, values=None, spacing_mm=None, ref=_PICTURE, modality="OT", photometric_interpretation="RGB", steps=())
            for picture in pictures
        ]
        asked = self._engine.scores(MODEL, prompts, frames)
        return np.array([[score.value for score in frame] for frame in asked])


def main(pack: Path) -> None:
    scorer = _Scorer()
    rows = read_pack(pack, "val")
    pictures = [np.asarray(Image.open(io.BytesIO(row.image)), dtype=np.float32) / np.float32(255) for row in rows]
    scores = scorer.scores(pictures)
    limits: dict[str, dict[str, object]] = {}
    for number, label in enumerate(scorer.labels):
        fault = label.fault
        if label.name in KINDS and fault is not None:
            allowed = _ALLOWED_IF_SILENCING if fault.abstain else _ALLOWED
            asked = _limit(
                label.name, number=number, rows=rows, pictures=pictures, scores=scores[:, number], scorer=scorer, allowed=allowed
            )
            if asked is None:
                sys.stderr.write(f"{label.name}: found too rarely, not asked\n")
            else:
                limits[label.name] = asked
        elif label.name == FOREIGN:
            limits[label.name] = _foreign_limit(rows, scores[:, number])
    sections = {"gate": _gate(rows, scorer.scores(pictures, GATE), scorer), "quality": {"prompt_set": PROMPTS, "labels": limits}}
    sys.stdout.write(yaml.safe_dump(sections, sort_keys=False, width=120))


def _gate(rows: Sequence[PackRow], shares: NDArray[np.float64], scorer: _Scorer) -> dict[str, object]:
    names = [label.name for label in scorer.kinds]
    kinds = np.array([row.kind for row in rows])
    counts = {name: int((kinds == name).sum()) for name in names}
    counted = [name for name in names if name in MEDICAL_KINDS and counts[name] >= _FEWEST]
    own = {name: shares[kinds == name, names.index(name)] for name in counted}
    every = np.concatenate(list(own.values()))
    if (every < MINIMUM).mean() > _REFUSED:
        sys.stderr.write(f"gate: more than {_REFUSED:.0%} of the images do not reach {MINIMUM}\n")
    listed = ", ".join(f"{name} {(own[name] >= MINIMUM).sum()} of {counts[name]}" for name in counted)
    medical = [number for number, name in enumerate(names) if name in MEDICAL_KINDS]
    foreign = np.array([kind_is_foreign(kind) for kind in kinds])
    taken = int((shares[foreign][:, medical].max(axis=1) >= MINIMUM).sum())
    source = (
        f"Half: more than all other kinds together. On the training pack's val split {(every < MINIMUM).sum()} of {len(every)} images of"
        f" kinds with at least {_FEWEST} do not reach it; it accepts as what they are: {listed}; and as some medical kind {taken} of"
        f" {foreign.sum()} documents, screenshots, photographs and textures."
    )
    return {"prompt_set": GATE, "minimum_probability": MINIMUM, "threshold_source": source}


def _limit(
    fault: Kind,
    *,
    number: int,
    rows: Sequence[PackRow],
    pictures: Sequence[NDArray[np.float32]],
    scores: NDArray[np.float64],
    scorer: _Scorer,
    allowed: float,
) -> dict[str, object] | None:
    clean = np.array([fault in possible_faults(row) for row in rows])
    counts = {kind.name: sum(row.kind == kind.name for row, use in zip(rows, clean, strict=True) if use) for kind in KINDS_OF_IMAGE}
    kinds = [kind for kind, count in counts.items() if count >= _FEWEST]
    used = np.array([use and row.kind in kinds for row, use in zip(rows, clean, strict=True)])
    threshold, alarms = _threshold(scores[used], allowed)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(np.flatnonzero(used))[:_DEGRADED]
    degraded = [degrade(pictures[row], fault, MEDIUM, rng, modality=rows[row].modality) for row in chosen]
    found = int((scorer.scores(degraded)[:, number] >= threshold).sum())
    if found < len(chosen) / 3:
        return None
    source = (
        f"Val split of the training pack: {alarms} of {used.sum()} clean images reach it; at medium strength {found} of {len(chosen)} do."
    )
    return {"threshold": threshold, "threshold_source": source, "kinds": kinds}


def _foreign_limit(rows: Sequence[PackRow], scores: NDArray[np.float64]) -> dict[str, object]:
    medical = np.array([row.kind in MEDICAL_KINDS for row in rows])
    foreign = np.array([kind_is_foreign(row.kind) for row in rows])
    threshold, alarms = _threshold(scores[medical], _ALLOWED_IF_SILENCING)
    found = int((scores[foreign] >= threshold).sum())
    source = (
        f"Val split of the training pack: {alarms} of {medical.sum()} medical images reach it, and {found} of {foreign.sum()}"
        " documents, screenshots, photographs, textures."
    )
    return {"threshold": threshold, "threshold_source": source}


def kind_is_foreign(name: str) -> bool:
    return next(kind.medical for kind in KINDS_OF_IMAGE if kind.name == name) is False


def _threshold(clean: NDArray[np.float64], allowed: float) -> tuple[float, int]:
    """The lowest limit, at four decimals and at least a half, that no more than the allowed share of clean images reaches."""
    highest = np.sort(clean)[::-1]
    limit = max(0.5, np.ceil((highest[int(allowed * len(clean))] + 1e-6) * 1e4) / 1e4)
    return float(min(limit, 0.9999)), int((clean >= min(limit, 0.9999)).sum())


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed goes into a manifest
    main(Path(sys.argv[1]))

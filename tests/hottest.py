"""The hottest tenth of a heat map, other tenths of the same shape, and how far a model's score falls without either."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from config import Catalogue
from config.heads import ANY_IMAGE
from config.prompt_sets import PromptSet
from inference.adapters import ModelAdapter
from inference.engine import Engine
from inference.explanation.answer import Subject, answer_of
from inference.explanation.heat_map import Answer, HeatMap, heat_maps
from inference.explanation.occlusion import GRID, blurred, hidden, log_odds
from inference.frames import Frame
from tests.phantoms import as_frame

Cells = NDArray[np.bool_]


def hottest_tenth(found: HeatMap) -> Cells:
    return found.heat >= np.sort(found.heat, axis=None)[-GRID * GRID // 10]


def elsewhere(cells: Cells, times: int) -> list[Cells]:
    """The same shape, moved about at random."""
    random = np.random.default_rng(7)
    return [np.roll(cells, tuple(random.integers(4, GRID - 4, 2)), axis=(0, 1)) for _ in range(times)]


def falls(adapter: ModelAdapter) -> tuple[float, float]:
    """How far the score of a question falls without the hottest tenth of an image, and on average without another, over all views."""
    views = adapter.heads[0].views
    head = adapter.heads[0].name if len(views) > 1 else None
    model, asked = adapter.manifest.model_copy(update={"golden": None}), _question(head)
    catalogue = Catalogue(routes=(), manifests=(model,), prompt_sets=(asked,))
    engine = Engine(catalogue, device="cpu", batch_size=32, cache_folder=None, load=lambda *_: adapter)
    frames = [_busy(number) for number in range(len(views))]
    subject = Subject(images=tuple(frame.ref for frame in frames), views=views if head else ANY_IMAGE)
    found = []
    for place, frame in enumerate(frames):
        answer = answer_of(subject, ["there"], model=model, prompt_set=asked, scorer=engine, frames=frames, place=place)
        found.append(_falls(frame, answer))
    hottest, others = np.mean(found, axis=0)
    return float(hottest), float(others)


def _falls(frame: Frame, answer: Answer) -> tuple[float, float]:
    (found,) = heat_maps(frame, ("there",), answer, longest_side=512)
    hot = hottest_tenth(found)
    scores = log_odds(answer(_without(frame, [np.zeros_like(hot), hot, *elsewhere(hot, 8)])))[:, 0]
    return float(scores[0] - scores[1]), float(scores[0] - scores[2:].mean())


def _without(frame: Frame, parts: Sequence[Cells]) -> list[Frame]:
    filling = blurred(frame.pixels)
    return [replace(frame, pixels=hidden(frame.pixels, filling, part.astype(np.float32))) for part in parts]


def _question(head: str | None) -> PromptSet:
    code = {"value": "1", "scheme": "99TEST", "meaning": "There"}
    label = {"name": "there", "concept": code, "positive": ["a chest X-ray with Pleural Effusion"], "negative": ["no finding"]}
    facts = {"name": "findings", "version": 1, "recipe": "pair-softmax", "temperature": "model"}
    return PromptSet.model_validate(facts | {"head": head, "level": "patient" if head else "image", "labels": [label]})


def _busy(seed: int) -> Frame:
    """A frame with something different everywhere."""
    coarse = np.random.default_rng(seed).random((9, 9), dtype=np.float32)
    pixels = np.asarray(Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC))
    return as_frame(np.clip(pixels, 0, 1), uid=f"2.25.{seed + 1}")

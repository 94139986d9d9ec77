"""The gate's reading: which kind of image do the pixels show? Probabilities only; `decision` says whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from config.schema import PromptSet
from inference.findings import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReading:
    """What the model takes one image (or the frames of one series, averaged) for.

    `expected_probability` is the softmax share of all expected kinds together; `looks_like` is the
    likeliest kind of all and `looks_like_probability` its share. All shares are in [0, 1]; kinds are in words.
    """

    expected_probability: float
    expected: tuple[str, ...]
    looks_like: str
    looks_like_probability: float


def read_gate(scores: Sequence[Sequence[Score]], *, expect: Sequence[str], prompt_set: PromptSet) -> GateReading:
    """Return the reading of one image or one series: `scores` holds the gate's scores of each of its frames.

    Raises:
        ValueError: there are no frames, the prompt set is not a choice between exclusive kinds, or it does not know an expected kind.
    """
    if not scores:
        raise ValueError("a gate needs at least one frame")
    if prompt_set.recipe != "multi-class-softmax":
        raise ValueError(f"prompt set {prompt_set.name} cannot be a gate: its recipe is {prompt_set.recipe}, not multi-class-softmax")
    names = tuple(label.name for label in prompt_set.labels)
    if unknown := [kind for kind in expect if kind not in names]:
        raise ValueError(f"prompt set {prompt_set.name} has no kind {unknown[0]!r}; it has {', '.join(names)}")
    mean = np.mean([[_value(frame, name) for name in names] for frame in scores], axis=0)
    likeliest = int(mean.argmax())
    return GateReading(
        expected_probability=float(sum(mean[names.index(kind)] for kind in dict.fromkeys(expect))),
        expected=tuple(in_words(kind) for kind in dict.fromkeys(expect)),
        looks_like=in_words(names[likeliest]),
        looks_like_probability=float(mean[likeliest]),
    )


def in_words(kind: str) -> str:
    """Return the name of a kind as a report says it: chest-radiograph is CHEST RADIOGRAPH."""
    return kind.replace("-", " ").upper()


def _value(frame: Sequence[Score], label: str) -> float:
    return next(score.value for score in frame if score.label == label)

"""The gate's reading: which kind of image do the pixels show? Probabilities only; `decision` says whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from config.prompt_sets import LabelSection, PromptSet
from inference.findings import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class KindShare:
    """One kind of image and its softmax share among all kinds, in [0, 1].

    `words` are for a report; `foreign`: no image of a patient. `made_by`: the modality in its code (CID 29), empty if it has another code.
    """

    label: str
    words: str
    share: float
    foreign: bool
    made_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReading:
    """What the model takes one image (or the frames of one series, averaged) for; `expected` holds the kinds that the route names."""

    likeliest: KindShare
    expected: tuple[KindShare, ...]

    @property
    def expected_probability(self) -> float:
        """The share of all expected kinds together; 0 if none is expected."""
        return sum(kind.share for kind in self.expected)

    @property
    def likeliest_expected(self) -> KindShare | None:
        """The likeliest of the expected kinds; None if none is expected."""
        return max(self.expected, key=lambda kind: kind.share, default=None)


def read_gate(scores: Sequence[Sequence[Score]], *, expect: Sequence[str], prompt_set: PromptSet) -> GateReading:
    """Return the reading of one image or one series: `scores` holds the gate's scores of each of its frames.

    Raises:
        ValueError: there are no frames, the prompt set is not a choice between exclusive kinds, or it does not know an expected kind.
    """
    if not scores:
        raise ValueError("a gate needs at least one frame")
    if prompt_set.recipe != "multi-class-softmax":
        raise ValueError(f"prompt set {prompt_set.name} cannot be a gate: its recipe is {prompt_set.recipe}, not multi-class-softmax")
    kinds = {label.name: _kind(label, scores) for label in prompt_set.labels}
    if unknown := [kind for kind in expect if kind not in kinds]:
        raise ValueError(f"prompt set {prompt_set.name} has no kind {unknown[0]!r}; it has {', '.join(kinds)}")
    return GateReading(
        likeliest=max(kinds.values(), key=lambda kind: kind.share),
        expected=tuple(kinds[name] for name in dict.fromkeys(expect)),
    )


def _kind(label: LabelSection, scores: Sequence[Sequence[Score]]) -> KindShare:
    share = float(np.mean([_value(frame, label.name) for frame in scores]))
    made_by = label.concept.value if label.concept.scheme == "DCM" and label.concept.value.isalpha() else ""
    return KindShare(
        label=label.name, words=label.foreign or _in_capitals(label.name), share=share, foreign=bool(label.foreign), made_by=made_by
    )


def _in_capitals(kind: str) -> str:
    """The name of a kind as a report says it: chest-radiograph is CHEST RADIOGRAPH."""
    return kind.replace("-", " ").upper()


def _value(frame: Sequence[Score], label: str) -> float:
    return next(score.value for score in frame if score.label == label)

"""Pictures for the report: what the model knew best, what it missed, what it took for something else, and what a fault looks like."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.demo.page import thumbnail_png
from dicom_node.evaluation.answers import Answers
from dicom_node.evaluation.concepts import NO_SOURCE, Judged
from dicom_node.evaluation.degraded import Plan, fault_of
from dicom_node.evaluation.manifest import TRUE, UNKNOWN, LabelledImage
from dicom_node.evaluation.metrics import OPERATING_POINT, Flags
from dicom_node.evaluation.pictures import UnusableImageError, read_picture
from dicom_node.evaluation.results import DegradationResult

SIDE = 112
SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One picture: a small PNG, the name of its file (SOP Instance UID for DICOM), its source, and what the model said."""

    name: str
    source: str
    said: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptExamples:
    """Pictures of one label: found with the highest scores; not found, with the lowest; found where it is not, with the highest."""

    prompt_set: str
    label: str
    hits: tuple[Example, ...]
    misses: tuple[Example, ...]
    false_alarms: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStrip:
    """One clean image and what was made of it."""

    kind: str
    pictures: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Where pictures come from: the answers, and the limit that they were read under."""

    answers: Answers
    maximum_megapixels: float

    def concepts(self, judged: Judged) -> Iterator[ConceptExamples]:
        """Yield the pictures of each label that is true of some image."""
        choose = _chosen if judged.truth.exclusive else _present
        for column, label in enumerate(judged.truth.labels):
            positive = judged.truth.values[:, column] == TRUE
            negative = (judged.truth.values[:, column] != UNKNOWN) & ~positive
            if not positive.any():
                continue
            yes, said = choose(judged, column)
            ranked = np.argsort(-judged.scores[:, column], kind="stable")

            def pictures(which: Flags, order: NDArray[np.intp], said: Callable[[int], str] = said) -> tuple[Example, ...]:
                picked = [int(row) for row in order if which[row]][:SHOWN]
                return tuple(example for row in picked if (example := self._example(int(judged.rows[row]), said(row))) is not None)

            yield ConceptExamples(
                prompt_set=judged.truth.prompt_set,
                label=label,
                hits=pictures(positive & yes, ranked),
                misses=pictures(positive & ~yes, ranked[::-1]),
                false_alarms=pictures(negative & yes, ranked),
            )

    def faults(self, planned: Plan, results: Sequence[DegradationResult], *, seed: int) -> Iterator[FaultStrip]:
        """Yield, for each kind of degradation, the first clean image and its versions."""
        for result in results:
            versions = [version for version in planned.versions if version.kind == result.kind]
            row = versions[0].row
            image = self.answers.data.images[row]
            try:
                frame = read_picture(image, maximum_megapixels=self.maximum_megapixels, views=self.answers.views).frame
            except UnusableImageError:
                continue
            made = [(version.strength, fault_of(frame, image, version, seed=seed).pixels) for version in versions if version.row == row]
            words = [("clean", frame.pixels), *((f"{strength:g}" if len(made) > 1 else result.kind, pixels) for strength, pixels in made)]
            yield FaultStrip(
                kind=result.kind,
                pictures=tuple(
                    Example(name=self.answers.names[row], source=_source(image), said=said, png=thumbnail_png(pixels, SIDE))
                    for said, pixels in words
                ),
            )

    def _example(self, row: int, said: str) -> Example | None:
        image = self.answers.data.images[row]
        try:
            frame = read_picture(image, maximum_megapixels=self.maximum_megapixels, views=self.answers.views).frame
        except UnusableImageError:  # it could be read a moment ago; a report without one picture is still a report
            return None
        return Example(name=self.answers.names[row], source=_source(image), said=said, png=thumbnail_png(frame.pixels, SIDE))


def _chosen(judged: Judged, column: int) -> tuple[Flags, Callable[[int], str]]:
    """Of a multi-class set: where the label was chosen, and in words what was chosen and what it is."""
    labels, chosen = judged.truth.labels, judged.scores.argmax(axis=1)
    positive = judged.truth.values == TRUE

    def said(row: int) -> str:
        choice = int(chosen[row])
        share = f"{labels[choice]} {judged.scores[row, choice]:.2f}"
        if positive[row, column]:
            return f"{judged.scores[row, column]:.2f}" if choice == column else f"taken for {share}"
        return (
            f"{judged.scores[row, column]:.2f}, is {labels[int(positive[row].argmax())] if positive[row].any() else 'none of the labels'}"
        )

    return chosen == column, said


def _present(judged: Judged, column: int) -> tuple[Flags, Callable[[int], str]]:
    return judged.scores[:, column] >= OPERATING_POINT, lambda row: f"{judged.scores[row, column]:.2f}"


def _source(image: LabelledImage) -> str:
    return image.source or NO_SOURCE

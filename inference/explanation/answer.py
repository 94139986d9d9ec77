"""What the model says of frames that stand in for one of those that a finding was made from: the recipe of the prompt set, unchanged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.manifests import ModelManifest
from config.prompt_sets import PromptSet
from inference.explanation.heat_map import Answer
from inference.findings import ImageRef
from inference.frames import Frame
from inference.questions import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What findings were made from together: an image, or one of each view of a patient in the order of `views`."""

    images: tuple[ImageRef, ...]
    views: tuple[str, ...]


def answer_of(
    subject: Subject,
    labels: Sequence[str],
    *,
    model: ModelManifest,
    prompt_set: PromptSet,
    scorer: Scorer,
    frames: Sequence[Frame],
    place: int,
) -> Answer:
    """Return what scores frames in the place of `frames[place]`, beside the others as they are; `frames` are those of the subject."""

    def rows(other: int, of_shown: NDArray[np.float32]) -> NDArray[np.float32]:
        if other == place:
            return of_shown
        return np.repeat(scorer.embed(model.name, [frames[other]]), len(of_shown), axis=0)

    def answer(shown: Iterable[Frame]) -> NDArray[np.float64]:
        of_shown = scorer.embed(model.name, shown)
        side_by_side = np.stack([rows(other, of_shown) for other in range(len(frames))], axis=1)
        flat = side_by_side.reshape(len(of_shown) * len(frames), -1)
        scores = scorer.score(model.name, prompt_set.name, flat, subject.images * len(of_shown), views=subject.views)
        values = [{score.label: score.value for score in of_frame} for of_frame in scores]
        return np.array([[value[label] for label in labels] for value in values], dtype=np.float64)

    return answer

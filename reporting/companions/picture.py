"""A small picture of an analysed image, for the pages that a person looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from inference.findings import Analysis, ImageRef, Presence
from reporting.result import EncodedResult, PreviousReport, Producer

MOST = 3  # on one page


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail as a PNG file, grey or RGB. `rows` and `columns` are those of the image that it was made from."""

    image: ImageRef
    png: bytes
    rows: int
    columns: int


class IllustratedEncoder(Protocol):
    """A `ResultEncoder` that can show pictures of `images_to_show`, in any order; without them it says the same in words."""

    def __call__(
        self,
        analysis: Analysis,
        headers: Sequence[Dataset],
        *,
        producer: Producer,
        previous: PreviousReport | None,
        companions: Sequence[EncodedResult] = (),
        pictures: Sequence[Picture] = (),
    ) -> EncodedResult | None: ...


def images_to_show(analysis: Analysis) -> tuple[ImageRef, ...]:
    """Return the images that a page shows: those with a Present finding first, then by score; without findings the first input."""
    ranked = sorted(analysis.findings, key=lambda finding: (finding.presence is not Presence.PRESENT, -finding.score))
    images = dict.fromkeys(image for finding in ranked for image in finding.images)
    return tuple(images)[:MOST] or tuple(image for image in analysis.inputs[:1] if analysis.withdrawn is None)

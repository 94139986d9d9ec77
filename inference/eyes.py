"""Which eye an image shows, as its header says, and which images of a patient belong together. Nothing is guessed."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydicom import Dataset

from inference.attributes import text

_VIEWS = {"L": "left", "R": "right"}
_WHERE = "Image Laterality (0020,0062), Laterality (0020,0060)"

_T = TypeVar("_T")


def eye_of(header: Dataset) -> str | None:
    """Return the view `left` or `right` that an instance shows, or None if its header does not say.

    Image Laterality (0020,0062) is what counts; Laterality (0020,0060), of the whole series, where that is absent. Both eyes
    in one image (B), an unpaired part (U) and two attributes that contradict each other are None. Source: PS3.3 C.7.3.1 and
    C.8.17.2 (the ophthalmic modules demand Image Laterality).
    """
    of_image, of_series = text(header, "ImageLaterality"), text(header, "Laterality")
    if of_image and of_series and of_image != of_series:
        return None
    return _VIEWS.get(of_image or of_series)


def why_unknown(header: Dataset) -> str:
    """Return in words for a report why `eye_of` is None."""
    of_image, of_series = text(header, "ImageLaterality"), text(header, "Laterality")
    if of_image and of_series and of_image != of_series:
        return f"the header contradicts itself about the eye: {_WHERE}"
    return f"the header does not say whether this is the left or the right eye: {_WHERE}"


def together(images: Mapping[str, Sequence[_T]], views: Sequence[str]) -> tuple[_T, ...] | None:
    """Return the image of each of `views`, in that order, if there is exactly one of each; else None.

    Of several images of one eye none is taken: which one a patient's score is made from would be arbitrary, and no published
    recipe says.
    """
    if any(len(images.get(view, ())) != 1 for view in views):
        return None
    return tuple(images[view][0] for view in views)


def why_not_together(images: Mapping[str, Sequence[object]], views: Sequence[str], *, unknown: int) -> str:
    """Return in words for a report why `together` is None; `unknown` counts images that do not say which eye they show."""
    found = [f"{len(images.get(view, ())) or 'none'} of the {view} eye" for view in views]
    unsaid = [f"{unknown} that {'does' if unknown == 1 else 'do'} not say which"] if unknown else []
    return f"no score for the patient, which needs exactly one image of each eye: there is {', '.join((*found, *unsaid))}"

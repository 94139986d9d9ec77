"""Frames of an X-ray cine that were taken to be subtracted from the others: they show no contrast medium."""

from collections.abc import Sequence

from pydicom import Dataset

from inference.attributes import items, numbers


def without_masks(header: Dataset, frames: int) -> Sequence[int]:
    """Return the numbers (1-based) of an object's frames, without those that serve as masks; all of them if each is one.

    Source: PS3.3 C.7.6.10, Mask Frame Numbers (0028,6110).
    """
    masks = {int(number) for item in items(header, "MaskSubtractionSequence") for number in numbers(item, "MaskFrameNumbers")}
    everything = range(1, frames + 1)
    return tuple(number for number in everything if number not in masks) or everything if masks else everything

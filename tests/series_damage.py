"""Series of slices made from one real or written header, and what can go wrong with them on the way: for tests and the benchmark."""

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from inference.attributes import number, numbers
from inference.findings import ImageRef
from inference.quality.series import SeriesSubject
from inference.series.geometry import geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One kind of damage, the check that must find it, and how it is done to the headers of a sound series."""

    name: str
    check: str
    inflict: Callable[[list[Dataset], random.Random], list[Dataset]]


def subject(headers: Sequence[Dataset], *, left_out: int = 0) -> SeriesSubject:
    """The series as the checks see it."""
    first = headers[0]
    image = ImageRef(sop_class_uid=str(first.get("SOPClassUID", "")), sop_instance_uid=str(first.get("SOPInstanceUID", "")))
    return SeriesSubject(image=image, headers=tuple(headers), geometry=geometry(headers), left_out=left_out)


def grown(header: Dataset, count: int = 24, *, phases: int = 1) -> list[Dataset]:
    """A series of `count` slices along the normal of one, spaced as its header says, written with the digits of a scanner."""
    orientation = numbers(header, "ImageOrientationPatient")
    normal = np.cross(orientation[:3], orientation[3:])
    first = np.array(numbers(header, "ImagePositionPatient"))
    spacing = abs(number(header, "SpacingBetweenSlices") or 0) or number(header, "SliceThickness") or 5.0
    made = []
    for index in range(count):
        for phase in range(phases):
            one = copy.deepcopy(header)
            one.SOPInstanceUID = generate_uid(entropy_srcs=[str(header.get("SOPInstanceUID")), str(index), str(phase)])
            one.ImagePositionPatient = [f"{value:.6f}" for value in first + normal * spacing * index]
            one.InstanceNumber = 1 + index * phases + phase
            one.pop("SliceLocation", None)
            one.pop("ImagesInAcquisition", None)
            one.pop("NumberOfSlices", None)
            if phases > 1:
                one.TemporalPositionIdentifier = phase + 1
            made.append(one)
    return made


def two_distances(header: Dataset) -> list[Dataset]:
    """A head CT as it was long made: thin slices of the posterior fossa, then thick ones."""
    thin = grown(header, 10)
    upper = grown(thin[-1], 11)[1:]
    start, step = (np.array(numbers(one, "ImagePositionPatient")) for one in thin[-2:])
    for index, one in enumerate(upper, start=1):
        one.ImagePositionPatient = [f"{value:.6f}" for value in step + 2 * (step - start) * index]
        one.InstanceNumber = len(thin) + index
    return thin + upper


def drop(count: int) -> Callable[[list[Dataset], random.Random], list[Dataset]]:
    """Lose slices from the inside."""

    def lose(headers: list[Dataset], chance: random.Random) -> list[Dataset]:
        gone = set(chance.sample(range(1, len(headers) - 1), count))
        return [one for index, one in enumerate(headers) if index not in gone]

    return lose


def drop_and_number_anew(headers: list[Dataset], chance: random.Random) -> list[Dataset]:
    """Lose three slices and hide it by new Instance Numbers."""
    left = drop(3)(headers, chance)
    for index, one in enumerate(left, start=1):
        one.InstanceNumber = index
    return left


def every_second(headers: list[Dataset], _chance: random.Random) -> list[Dataset]:
    return headers[::2]


def end_lost(headers: list[Dataset], _chance: random.Random) -> list[Dataset]:
    """The transfer broke off after two thirds; the header counts all."""
    for one in headers:
        one.ImagesInAcquisition = len(headers)
        one.AcquisitionNumber = 1
    return headers[: 2 * len(headers) // 3]


def twice(count: int) -> Callable[[list[Dataset], random.Random], list[Dataset]]:
    """Send slices again under new UIDs and numbers."""

    def repeat(headers: list[Dataset], chance: random.Random) -> list[Dataset]:
        again = [copy.deepcopy(one) for one in chance.sample(headers, count)]
        for index, one in enumerate(again, start=1):
            one.SOPInstanceUID, one.InstanceNumber = generate_uid(entropy_srcs=[str(one.SOPInstanceUID), "again"]), len(headers) + index
        return headers + again

    return repeat


def shifted(part: float) -> Callable[[list[Dataset], random.Random], list[Dataset]]:
    """Move one inner slice by a part of the distance."""

    def move(headers: list[Dataset], chance: random.Random) -> list[Dataset]:
        first, second = (np.array(numbers(one, "ImagePositionPatient")) for one in headers[:2])
        one = headers[chance.randrange(2, len(headers) - 2)]
        one.ImagePositionPatient = [f"{value:.6f}" for value in np.array(numbers(one, "ImagePositionPatient")) + part * (second - first)]
        return headers

    return move


def another_plane(headers: list[Dataset], chance: random.Random) -> list[Dataset]:
    """Put a slice at right angles among them, as a scout that came into the wrong series."""
    one = headers[chance.randrange(len(headers))]
    row, column = np.split(np.array(numbers(one, "ImageOrientationPatient")), 2)
    one.ImageOrientationPatient = [f"{value:.6f}" for value in (*row, *np.cross(row, column))]
    return headers


DAMAGES = (
    Damage(name="1 slice dropped", check="missing-slices", inflict=drop(1)),
    Damage(name="3 slices dropped", check="missing-slices", inflict=drop(3)),
    Damage(name="every second slice dropped", check="truncated", inflict=every_second),
    Damage(name="last third lost", check="truncated", inflict=end_lost),
    Damage(name="3 dropped, numbered anew", check="uneven-spacing", inflict=drop_and_number_anew),
    Damage(name="1 slice moved by 1/4 step", check="uneven-spacing", inflict=shifted(0.25)),
    Damage(name="1 slice moved by 1/8 step", check="uneven-spacing", inflict=shifted(0.125)),
    Damage(name="1 slice sent twice", check="duplicate-positions", inflict=twice(1)),
    Damage(name="5 slices sent twice", check="duplicate-positions", inflict=twice(5)),
    Damage(name="1 slice of another plane", check="mixed-orientations", inflict=another_plane),
)


def damaged(headers: Sequence[Dataset], damage: Damage, *, seed: int) -> list[Dataset]:
    """The series with this damage, its files in any order."""
    chance = random.Random(seed)
    made = damage.inflict([copy.deepcopy(one) for one in headers], chance)
    chance.shuffle(made)
    return made


def oblique(header: Dataset, *, about_x: float, about_y: float) -> Dataset:
    """The same slice, turned (degrees)."""
    x, y = math.radians(about_x), math.radians(about_y)
    turn = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    turn = turn @ np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    turned = copy.deepcopy(header)
    turned.ImageOrientationPatient = [f"{value:.6f}" for value in (*turn[:, 0], *turn[:, 1])]
    return turned


def sound(headers: Sequence[Dataset]) -> Iterator[tuple[str, list[Dataset]]]:
    """Sound series grown from single slices: as they are, oblique, with three phases, with two distances."""
    for index, header in enumerate(headers):
        yield "as it is", grown(header)
        yield "oblique", grown(oblique(header, about_x=7 + index, about_y=-11))
        yield "three phases", grown(header, 12, phases=3)
        yield "two distances", two_distances(header)

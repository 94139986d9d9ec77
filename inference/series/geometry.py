"""The geometry of a series from its headers alone: parallel stacks of slices, in order, with their spacing, gaps and repetitions.

Whatever order the files came in, the answer is the same. Slices are sorted along the normal of Image Orientation (Patient) by Image
Position (Patient) (PS3.3 C.7.6.2.1.1); where a header has no usable plane, by Slice Location, then by Instance Number, which says nothing
about places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pydicom import Dataset

from inference.series.slices import Orientation, Slice, dot, slices_of

# Slices of one stack: rows and columns point the same way within 1 degree. Planes of radial MR are further apart, rounding is not.
_SAME_DIRECTION = 0.99985
# Orientations in order of their numbers have their like close by; without a limit a hostile header costs the square of its frames.
_NEAR = 64
# The same place: closer than any slice spacing of a medical scanner (0.1 mm), wider than the rounding of a Decimal String.
SAME_PLACE_MM = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The slices of a stack that lie at one place along its normal, such as the phases of a heart. `location_mm` is along the normal."""

    location_mm: float
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Parallel slices, in order. `levels` is empty if the headers do not say where they lie: then only the order is known.

    `orientation` is None if the plane is unknown; then the levels, if any, come of Slice Location.
    """

    orientation: Orientation | None
    slices: tuple[Slice, ...]
    levels: tuple[Level, ...]

    @property
    def gaps_mm(self) -> tuple[float, ...]:
        """The distances between neighbouring levels, in order."""
        return tuple(after.location_mm - before.location_mm for before, after in pairwise(self.levels))

    @property
    def spacing_mm(self) -> float | None:
        """The usual distance between levels, their median; None with fewer than two."""
        return median(self.gaps_mm) if len(self.levels) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesGeometry:
    """All slices of a series, in stacks: the largest first, those whose plane is unknown last."""

    stacks: tuple[Stack, ...]

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Every slice, stack by stack."""
        return tuple(one for stack in self.stacks for one in stack.slices)

    @property
    def placed(self) -> tuple[Stack, ...]:
        """The stacks whose plane is known."""
        return tuple(stack for stack in self.stacks if stack.orientation is not None)

    @property
    def unplaced(self) -> tuple[Slice, ...]:
        """The slices whose plane is absent or garbled."""
        return tuple(one for stack in self.stacks if stack.orientation is None for one in stack.slices)


def geometry(headers: Sequence[Dataset]) -> SeriesGeometry:
    """Return the geometry of the series that these headers are of: classic and enhanced objects, in any order.

    Never raises for what a header says: a value that is absent or garbled is as if it were not there.
    """
    placed: list[Slice] = []
    unplaced: list[Slice] = []
    for one in slices_of(headers):
        (unplaced if one.orientation is None or one.position_mm is None else placed).append(one)
    stacks = [_placed_stack(orientation, members) for orientation, members in _parallel(placed)]
    stacks.sort(key=_place_of_stack)
    return SeriesGeometry(stacks=(*stacks, *([_unplaced_stack(unplaced)] if unplaced else ())))


def _parallel(slices: Sequence[Slice]) -> Iterator[tuple[Orientation, list[Slice]]]:
    """The slices of each orientation and Stack ID. Orientations are taken in order of their numbers, so that files may come in any."""
    by_direction: dict[tuple[Orientation, str], list[Slice]] = {}
    for one in slices:
        if one.orientation is not None:
            by_direction.setdefault((one.orientation, one.stack), []).append(one)
    found: list[tuple[Orientation, str, list[Slice]]] = []
    for orientation, stack in sorted(by_direction, key=lambda key: (key[0].row, key[0].column, key[1])):
        members = by_direction[orientation, stack]
        near = found[-_NEAR:]
        same = next((group for leader, name, group in near if name == stack and _same_direction(leader, orientation)), None)
        if same is None:
            found.append((orientation, stack, members))
        else:
            same.extend(members)
    return ((orientation, members) for orientation, _, members in found)


def _same_direction(one: Orientation, other: Orientation) -> bool:
    return min(dot(one.row, other.row), dot(one.column, other.column)) >= _SAME_DIRECTION


def _placed_stack(orientation: Orientation, slices: Sequence[Slice]) -> Stack:
    normal = orientation.normal
    located = [(dot(one.position_mm, normal), one) for one in slices if one.position_mm is not None]
    return _stack(orientation, located)


def _unplaced_stack(slices: Sequence[Slice]) -> Stack:
    located = [(one.location_mm, one) for one in slices if one.location_mm is not None]
    if len(located) == len(slices) and len({location for location, _ in located}) > 1:
        return _stack(None, located)
    return Stack(orientation=None, slices=tuple(sorted(slices, key=_numbered)), levels=())


def _stack(orientation: Orientation | None, located: Sequence[tuple[float, Slice]]) -> Stack:
    levels: list[tuple[float, list[Slice]]] = []
    for location, one in sorted(located, key=lambda pair: (pair[0], _numbered(pair[1]))):
        if not levels or location - levels[-1][0] > SAME_PLACE_MM:
            levels.append((location, []))
        levels[-1][1].append(one)
    found = tuple(Level(location_mm=location, slices=tuple(sorted(slices, key=_numbered))) for location, slices in levels)
    return Stack(orientation=orientation, slices=tuple(one for level in found for one in level.slices), levels=found)


def _numbered(one: Slice) -> tuple[float, float, str, int]:
    """Order where place does not decide: position in the stack, Instance Number, then UID and frame, so that it is always the same."""
    unknown = float("inf")
    return (
        unknown if one.in_stack is None else one.in_stack,
        unknown if one.instance_number is None else one.instance_number,
        one.sop_instance_uid,
        one.frames.start,
    )


def _place_of_stack(stack: Stack) -> tuple[int, tuple[float, ...], float, tuple[float, float, str, int]]:
    direction = stack.orientation.normal if stack.orientation else ()
    return -len(stack.slices), direction, stack.levels[0].location_mm, _numbered(stack.slices[0])

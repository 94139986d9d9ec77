"""The steps from slice to slice of a stack, each beside what is usual around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from inference.series.geometry import Level, Stack

_FEWEST_LEVELS = 4  # three steps: fewer have no usual one
_NEIGHBOURS = 5
# A step of one and a half is nearer to two steps than to one: a slice is missing.
_LONG = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The step from one level to the next: its length, and the usual length of the steps around it (the median of five).

    `numbered_on`: position or Instance Numbers go on across it as they do elsewhere, so that nothing was lost there.
    """

    length_mm: float
    usual_mm: float
    numbered_on: bool

    @property
    def missing(self) -> int:
        """How many slices are missing in it."""
        ratio = self.length_mm / self.usual_mm
        return round(ratio) - 1 if ratio >= _LONG and not self.numbered_on else 0

    @property
    def deviation(self) -> float:
        """By which part of the usual step it differs, where no slice is missing."""
        return 0.0 if self.missing else abs(self.length_mm / self.usual_mm - 1)


def steps(stack: Stack) -> tuple[Step, ...]:
    """Return the steps of a stack whose places are known; none if there are too few.

    Compared with its surroundings, a protocol with two distances, such as a head CT with thin slices of the posterior fossa, is even.
    """
    if len(stack.levels) < _FEWEST_LEVELS:
        return ()
    lengths = stack.gaps_mm
    jumps = tuple(_jump(before, after) for before, after in pairwise(stack.levels))
    known = [jump for jump in jumps if jump is not None]
    usual_jump = median(known) if len(known) == len(jumps) else None
    return tuple(
        Step(length_mm=length, usual_mm=_usual(lengths, index), numbered_on=jump is not None and jump == usual_jump)
        for index, (length, jump) in enumerate(zip(lengths, jumps, strict=True))
    )


def _usual(lengths: Sequence[float], index: int) -> float:
    first = min(max(index - _NEIGHBOURS // 2, 0), max(len(lengths) - _NEIGHBOURS, 0))
    return median(lengths[first : first + _NEIGHBOURS])


def _jump(before: Level, after: Level) -> float | None:
    numbers = [_number(level) for level in (before, after)]
    return None if numbers[0] is None or numbers[1] is None else abs(numbers[1] - numbers[0])


def _number(level: Level) -> float | None:
    first = level.slices[0]
    return first.instance_number if first.in_stack is None else first.in_stack

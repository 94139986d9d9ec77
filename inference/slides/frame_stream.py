"""Frames of a level in the order in which they are wanted, each decoded when it is; a damaged one is told and passed over."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from inference.findings import ImageRef
from inference.frames import Frame, UndecodableError, read_frames
from inference.slides.levels import Level, PlacedFrame

Damaged = Callable[[ImageRef, str], object]  # is told which frame cannot be decoded, and why

_PATIENCE = 8  # frames in a row: after that the file is damaged, not a frame


class FrameStream:
    """Yields the frames of `wanted` (in that order) one by one; `frame()` is None for one that cannot be decoded, told to `damaged`.

    One file is open for each part of the level; nothing is kept.

    Raises (from `frame`):
        UndecodableError: so many frames in a row cannot be decoded that the file cannot.
    """

    def __init__(self, level: Level, wanted: Sequence[PlacedFrame], *, maximum_megapixels: float, damaged: Damaged) -> None:
        parts: dict[int, list[PlacedFrame]] = {}
        for placed in wanted:
            parts.setdefault(placed.part, []).append(placed)
        self._parts = {part: _frames(level, of_part, maximum_megapixels, damaged) for part, of_part in parts.items()}

    def frame(self, placed: PlacedFrame) -> Frame | None:
        """Return the next frame, which must be `placed`."""
        return next(self._parts[placed.part])

    def close(self) -> None:
        """Close the files. Threads that decode ahead end here, and not wherever the garbage happens to be collected."""
        for frames in self._parts.values():
            frames.close()


def _frames(
    level: Level, wanted: Sequence[PlacedFrame], maximum_megapixels: float, damaged: Damaged
) -> Generator[Frame | None, None, None]:
    path, numbers = level.instances[wanted[0].part].path, [placed.frame_number for placed in wanted]
    at, failures = 0, 0
    while at < len(numbers):
        try:
            with closing(read_frames(path, numbers[at:], maximum_megapixels=maximum_megapixels)) as frames:  # type: ignore[type-var]  # it is a generator
                for frame in frames:
                    at, failures = at + 1, 0
                    yield frame
        except UndecodableError as exc:
            at, failures = at + 1, failures + 1
            if failures >= min(_PATIENCE, len(numbers)):
                raise
            damaged(level.reference(wanted[at - 1]), str(exc))
            yield None

"""Preprocessing on the device that computes, where it gives the bits that it gives on the CPU.

The processors only round a frame to 8 bits. It goes through pinned memory; frames of one size are resized together, and standardised there.
That holds for the ways that PIL does alone. Two ways resize floats as well (grey-canvas, corner), and some models take several looks at a
frame: those are prepared on the CPU, and so is everything where the CPU computes the model, since PIL is faster there than any of this.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import structlog
import torch

from config.preprocessing import Corner, GreyCanvas, GreySquare
from inference.adapters import DeviceMemoryError, ModelAdapter
from inference.axes import PilSteps, axes
from inference.device.drawn import drawn
from inference.device.forward import REMEDY, OutOfMemory, out_of_memory
from inference.fixed_point import resampled
from inference.frames import Frame
from inference.preprocessing import eight_bits, levels_of, standardised_levels

_log = structlog.get_logger(__name__)

_BYTES_AT_ONCE = 32 << 20  # of levels, before or after the columns are resized; eight times that in float64
# Larger and smaller than an input, in grey and in colour, of odd sides: what the weights, the rounding and the cropping depend on.
_DRAWN_SHAPES = ((613, 487), (61, 93), (853, 301, 3))


class DevicePreparation:
    """The steps of a manifest on a torch device; any thread may use it."""

    def __init__(self, steps: PilSteps, device: str) -> None:
        """Nothing is computed yet but what each level becomes at last."""
        self._steps, self._device = steps, device
        self._becomes = standardised_levels(steps).to(device)
        self._channels = torch.arange(3, device=device).view(3, 1, 1)

    def levels(self, frame: Frame) -> torch.Tensor:
        """Return the frame as uint8 `(1 or 3, rows, columns)` in memory that the device copies from while other work goes on.

        Raises:
            ValueError: its pixels are not float32 display values in [0, 1].
        """
        image = eight_bits(frame)
        levels = levels_of(image.convert("L") if isinstance(self._steps, GreySquare) else image)
        return levels.pin_memory() if self._device != "cpu" else levels

    def rows(self, levels: Iterator[torch.Tensor], *, together: int) -> Iterator[torch.Tensor]:
        """Yield float32 `(3, image_size, image_size)` on the device for each; `together` of one size, or 32 MB, are resized at once.

        Raises:
            DeviceMemoryError: the device has no memory for them.
        """
        group: list[torch.Tensor] = []
        for one in levels:
            if group and (one.shape != group[0].shape or (len(group) + 1) * self._held(one) > _BYTES_AT_ONCE):
                yield from self._prepared(group)
                group = []
            group.append(one)
            if len(group) == together:
                yield from self._prepared(group)
                group = []
        if group:
            yield from self._prepared(group)

    def _held(self, one: torch.Tensor) -> int:
        channels, rows, columns = one.shape
        return channels * rows * max(columns, self._steps.image_size)

    def _prepared(self, group: Sequence[torch.Tensor]) -> torch.Tensor:
        """Float32 `(n, 3, image_size, image_size)` for levels of one shape."""
        try:
            with out_of_memory():
                pixels = torch.stack([one.to(self._device, non_blocking=True) for one in group])
                rows, columns = axes(pixels.shape[3], pixels.shape[2], self._steps)
                squares = resampled(pixels.flatten(0, 1), rows, columns, self._steps.interpolation).to(torch.int64)
                return self._becomes[self._channels, squares.view(len(group), -1, *squares.shape[1:])]
        except OutOfMemory as exc:
            raise DeviceMemoryError(f"the device has no memory to prepare {len(group)} frames; {REMEDY}") from exc


def on_device(adapter: ModelAdapter, device: str) -> DevicePreparation | None:
    """Return what prepares frames for this model on `device`; None on the CPU, and where the adapter's own way must be taken.

    That is so if the way is none of those that PIL does alone, and, with a logged warning, if drawn frames come out in other bits.
    """
    steps = adapter.manifest.preprocessing
    if device == "cpu" or adapter.manifest.looks is not None or isinstance(steps, GreyCanvas | Corner):
        return None
    preparation = DevicePreparation(steps, device)
    if agrees(preparation, adapter):
        return preparation
    _log.warning("prepared_on_the_cpu", model=adapter.manifest.name, device=device, reason="the device computes other bits")
    return None


def agrees(preparation: DevicePreparation, adapter: ModelAdapter) -> bool:
    """Return whether drawn frames come out in the bits of the adapter's own preprocessing."""
    rng = np.random.default_rng(0)
    frames = [drawn(rng.random(shape, dtype=np.float32)) for shape in _DRAWN_SHAPES]
    found = preparation.rows((preparation.levels(frame) for frame in frames), together=len(frames))
    return all(torch.equal(row.cpu(), adapter.preprocess(frame)) for row, frame in zip(found, frames, strict=True))

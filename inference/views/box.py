"""Cutting a frame: a rectangle of it, and what lies outside an outline shown black. Coordinates stay true to the image."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.frames import Frame

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right` of a frame, 0-based, the last ones not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """In pixels; 0 if there is nothing in it."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def clipped(self, rows: int, columns: int) -> "Box":
        """Return the part that lies on a frame of this size."""
        return Box(top=max(0, self.top), left=max(0, self.left), bottom=min(rows, self.bottom), right=min(columns, self.right))

    @property
    def slices(self) -> tuple[slice, slice]:
        """What indexes an array of the frame's size."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def around(mask: Mask) -> Box | None:
    """Return the smallest box that holds every true pixel; None if there is none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return Box(top=int(rows[0]), left=int(columns[0]), bottom=int(rows[-1]) + 1, right=int(columns[-1]) + 1)


def cropped(frame: Frame, box: Box, words: str) -> Frame:
    """Return what lies in the box, the step `words` (with both sizes) added; the frame itself if that is all of it, or nothing."""
    rows, columns = frame.pixels.shape[:2]
    inside = box.clipped(rows, columns)
    if inside.area in {0, rows * columns}:
        return frame
    here = inside.slices
    size = f"{inside.bottom - inside.top} x {inside.right - inside.left} of {rows} x {columns}"
    return replace(
        frame,
        pixels=np.ascontiguousarray(frame.pixels[here]),
        values=None if frame.values is None else np.ascontiguousarray(frame.values[here]),
        padding=None if frame.padding is None else np.ascontiguousarray(frame.padding[here]),
        crop=(frame.crop[0] + inside.top, frame.crop[1] + inside.left),
        steps=(*frame.steps, f"{words}: {size}"),
    )


def blackened(frame: Frame, kept: Mask, words: str) -> Frame:
    """Return the frame with every pixel outside `kept` black, the step `words` added; the frame itself if nothing is outside."""
    if kept.all():
        return frame
    pixels = frame.pixels.copy()
    pixels[~kept] = 0
    return replace(frame, pixels=pixels, steps=(*frame.steps, words))


def only(frame: Frame, kept: Mask, what: str) -> Frame:
    """Return the frame cropped to `kept`, which `what` names, with the rest of the box around it black."""
    box = around(kept)
    if box is None:
        return frame
    return cropped(blackened(frame, kept | _outside(kept.shape, box), f"black outside {what}"), box, f"cropped to {what}")


def _outside(shape: tuple[int, ...], box: Box) -> Mask:
    """True outside the box: what is cropped anyway needs no blackening."""
    outside = np.ones(shape, dtype=np.bool_)
    outside[box.slices] = False
    return outside

"""A picture for a person: pixels that are ready to look at, what they show, and of which image. It is never part of a report."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from inference.findings import ImageRef

_SHAPE_OF_RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """What `caption` says about one image, drawn: heat map, tile map, contact sheet.

    `pixels`: uint8 RGB (rows, columns, 3). `image`: the frame (or instance) that it is about. `caption`: plain text for a page or a PNG,
    without patient data.

    Raises:
        ValueError: the pixels are no 8-bit RGB, or there are none, or nothing says what they show.
    """

    caption: str
    image: ImageRef
    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != _SHAPE_OF_RGB or self.pixels.shape[2] != _SHAPE_OF_RGB:
            raise ValueError("a picture needs uint8 RGB pixels (rows, columns, 3)")
        if not self.pixels.size or not self.caption.strip():
            raise ValueError("a picture needs pixels and a caption")

    def png(self) -> bytes:
        """Return it as a PNG file: the same bytes for the same picture. The caption is its Description (PNG 1.2, 11.3.4.2)."""
        return png(self.pixels, caption=self.caption)


def png(pixels: NDArray[np.uint8], *, caption: str = "") -> bytes:
    """Return pixels (rows, columns) or RGB (rows, columns, 3) as a PNG file, without time stamps."""
    words = PngInfo()
    if caption:
        words.add_itxt("Description", caption)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", pnginfo=words)
    return buffer.getvalue()

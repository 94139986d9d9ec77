"""From stored values to what a reader would see: the grey pipeline of PS3.4 N.2 without annotations, and colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from inference.attributes import functional_group, items, number, text
from inference.lookup import Floats, lookup
from inference.windows import Mask, display

Stored = npt.NDArray[Any]  # any integer or float type: what the header allocates

_SIGNED_FROM = 1 << 15
_SHORT_BYTES = 2
_RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One frame as displayed: `pixels` in [0, 1] (0 = black), `values` after the Modality LUT (None in colour), and what was done."""

    pixels: Floats
    values: Floats | None
    steps: tuple[str, ...]


def grey(stored: Stored, header: Dataset, frame_index: int, *, little_endian: bool = True) -> Rendering:
    """A MONOCHROME frame as displayed. `stored` has shape (rows, columns), integers or floats; `frame_index` is 0-based.

    Raises:
        ValueError: nobody knows what the values mean: a Modality LUT that cannot be applied, or values that are no numbers.
    """
    padding = _padding(stored, header)
    values, modality_step = _modality(stored, header, frame_index, little_endian=little_endian)
    pixels, display_step = display(values, header, frame_index, padding, little_endian=little_endian)
    steps = [*modality_step, display_step]
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":  # PS3.3 C.7.6.3.1.2
        pixels = 1 - pixels
        steps.append("inverted (MONOCHROME1)")
    elif text(header, "PresentationLUTShape") == "INVERSE":  # PS3.3 C.11.6; beside MONOCHROME1 it says the same and is not applied twice
        pixels = 1 - pixels
        steps.append("inverted (Presentation LUT Shape)")
    if padding is not None and padding.any():
        pixels[padding] = 0
        steps.append("pixel padding shown black")
    return Rendering(pixels=pixels, values=values, steps=tuple(steps))


def colour(stored: Stored, photometric_interpretation: str, bits_stored: int) -> Rendering:
    """A frame decoded to RGB, shape (rows, columns, 3), scaled to [0, 1] by Bits Stored. The photometric interpretation is the header's.

    Raises:
        ValueError: it has not three samples a pixel.
    """
    if stored.ndim != _RGB or stored.shape[2] != _RGB:
        raise ValueError("a colour frame needs three samples a pixel")
    pixels = np.clip(stored.astype(np.float32) * np.float32(1 / ((1 << bits_stored) - 1)), 0, 1)
    steps = () if photometric_interpretation == "RGB" else (f"{photometric_interpretation} converted to RGB",)
    return Rendering(pixels=pixels, values=None, steps=steps)


def palette(stored: Stored, header: Dataset) -> Rendering:
    """A PALETTE COLOR frame as RGB (PS3.3 C.7.9), an alpha palette left out."""
    mapped = apply_color_lut(stored, header)[..., :_RGB]
    return Rendering(pixels=mapped.astype(np.float32) / np.float32(np.iinfo(mapped.dtype).max), values=None, steps=("palette applied",))


def _padding(stored: Stored, header: Dataset) -> Mask | None:
    """Where the modality padded: Pixel Padding Value up to Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2, C.7.5.1.1.3)."""
    value = number(header, "PixelPaddingValue")
    if value is None or stored.dtype.kind == "f":
        return None
    limit = number(header, "PixelPaddingRangeLimit")
    ends = [value] if limit is None else [value, limit]
    if stored.dtype.kind == "i" and stored.dtype.itemsize == _SHORT_BYTES:  # written as US, meant as SS
        ends = [end - (1 << 16) if end >= _SIGNED_FROM else end for end in ends]
    inside: Mask = (stored >= min(ends)) & (stored <= max(ends)) if len(ends) > 1 else stored == value
    return inside


def _modality(stored: Stored, header: Dataset, frame_index: int, *, little_endian: bool) -> tuple[Floats, tuple[str, ...]]:
    """Source: PS3.3 C.11.1 (Modality LUT, Rescale), C.7.6.16.2.9 (Pixel Value Transformation of a frame)."""
    if tables := items(header, "ModalityLUTSequence"):
        return lookup(tables[0], stored, little_endian=little_endian)[0], ("Modality LUT applied",)
    source = functional_group(header, frame_index, "PixelValueTransformationSequence") or header
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    if slope is None and intercept is None:
        return _finite(stored.astype(np.float32)), ()
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise ValueError("Rescale Slope is 0")
    exact: npt.NDArray[Any] = stored.astype(np.float32 if stored.dtype.itemsize <= _SHORT_BYTES else np.float64)
    values = (exact * slope + intercept).astype(np.float32, copy=False)
    in_hounsfield = (text(source, "RescaleType") or ("HU" if text(header, "Modality") == "CT" else "")) == "HU"
    if in_hounsfield:
        return _finite(values), ("rescaled to HU",)
    return _finite(values), ("rescaled",) if (slope, intercept) != (1.0, 0.0) else ()


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("some pixel values are no finite numbers")
    return values

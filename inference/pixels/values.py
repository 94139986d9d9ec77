"""From stored values to what a reader would see: the grey pipeline of PS3.4 N.2 without annotations, and colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from inference.attributes import functional_group, items, number, text
from inference.pixels.colour_profile import UnusableProfileError, as_srgb, is_srgb
from inference.pixels.lookup import Floats, lookup, palette_entries
from inference.pixels.windows import Mask, display

Stored = npt.NDArray[Any]  # any integer or float type: what the header allocates

PADDED = "pixel padding shown black"

_SIGNED_FROM = 1 << 15
_SHORT_BYTES = 2
_RGB = 3
_BYTE_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One frame as displayed: `pixels` in [0, 1] (0 = black), `values` after the Modality LUT (None in colour), and what was done.

    `padding`: where the modality padded; None if nowhere.
    """

    pixels: Floats
    values: Floats | None
    steps: tuple[str, ...]
    padding: Mask | None = None


def grey(stored: Stored, header: Dataset, frame_index: int, *, little_endian: bool = True) -> Rendering:
    """A MONOCHROME frame as displayed. `stored` has shape (rows, columns), integers or floats; `frame_index` is 0-based.

    Raises:
        ValueError: nobody knows what the values mean: a Modality LUT that cannot be applied, or values that are no numbers.
    """
    padding = _padding(stored, header)
    values, modality_step = _modality(stored, header, frame_index, little_endian=little_endian)
    pixels, display_step = display(values, header, frame_index, padding, little_endian=little_endian)
    steps = [*modality_step, display_step]
    if words := inversion(header):
        np.subtract(1, pixels, out=pixels)
        steps.append(words)
    if padding is None or not padding.any():
        return Rendering(pixels=pixels, values=values, steps=tuple(steps))
    pixels[padding] = 0
    return Rendering(pixels=pixels, values=values, steps=(*steps, PADDED), padding=padding)


def inversion(header: Dataset) -> str:
    """Why a grey frame is shown inverted, in words; empty if it is not."""
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":  # PS3.3 C.7.6.3.1.2
        return "inverted (MONOCHROME1)"
    if text(header, "PresentationLUTShape") == "INVERSE":  # PS3.3 C.11.6; beside MONOCHROME1 it says the same and is not applied twice
        return "inverted (Presentation LUT Shape)"
    return ""


def colour(stored: Stored, header: Dataset) -> Rendering:
    """A frame decoded to RGB, shape (rows, columns, 3), scaled to [0, 1] by Bits Stored, and to sRGB where a profile says how.

    Raises:
        ValueError: it has not three samples a pixel.
    """
    if stored.ndim != _RGB or stored.shape[2] != _RGB:
        raise ValueError("a colour frame needs three samples a pixel")
    bits = int(number(header, "BitsStored") or 8 * stored.dtype.itemsize)
    interpretation = text(header, "PhotometricInterpretation")
    steps = () if interpretation == "RGB" else (f"{interpretation} converted to RGB",)  # PS3.3 C.7.6.3.1.2
    stored, profile_step = _in_srgb(stored, header, bits)
    pixels = np.clip(stored.astype(np.float32) * np.float32(1 / ((1 << bits) - 1)), 0, 1)
    return Rendering(pixels=pixels, values=None, steps=(*steps, *profile_step))


def _in_srgb(stored: Stored, header: Dataset, bits: int) -> tuple[Stored, tuple[str, ...]]:
    """Source: PS3.3 C.11.15."""
    profile = header.get("ICCProfile")
    if not isinstance(profile, bytes) or not profile:
        return stored, ()
    if bits != _BYTE_BITS or stored.dtype != np.uint8:
        return stored, ("ICC profile left out (not 8 bits)",)
    try:
        if is_srgb(profile, text(header, "ColorSpace")):
            return stored, ()
        return as_srgb(stored, profile), ("converted to sRGB by the ICC profile",)
    except UnusableProfileError:
        return stored, ("ICC profile left out (it cannot be used)",)


def palette(stored: Stored, header: Dataset, *, little_endian: bool = True) -> Rendering:
    """A PALETTE COLOR frame as RGB (PS3.3 C.7.9), an alpha palette left out.

    Entries of 16 bits, none of which needs more than 8, are taken for the 8-bit ones that some senders write like that.

    Raises:
        ValueError: a palette cannot be applied.
    """
    if stored.ndim != _RGB - 1:
        raise ValueError("a frame with palettes needs one sample a pixel")
    channels = [palette_entries(header, name, stored, little_endian=little_endian) for name in ("Red", "Green", "Blue")]
    small = max(highest for _, _, highest in channels) < 1 << _BYTE_BITS
    shown = [entries.astype(np.float32) / np.float32((1 << (_BYTE_BITS if small else bits)) - 1) for entries, bits, _ in channels]
    in_wide = small and channels[0][1] != _BYTE_BITS
    steps = ("palette applied (8-bit entries in 16 bits)",) if in_wide else ("palette applied",)
    return Rendering(pixels=np.stack(shown, axis=-1), values=None, steps=steps)


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
    exact *= slope
    exact += intercept
    values = exact.astype(np.float32, copy=False)
    if _said_to_be_hounsfield(source, header):
        return _finite(values), ("rescaled to HU",)
    return _finite(values), ("rescaled",) if (slope, intercept) != (1.0, 0.0) else ()


def in_hounsfield(header: Dataset, frame_index: int) -> bool:
    """True if the values of a grey frame are HU: so says the header, or it is a CT image that was rescaled (PS3.3 C.8.2.1)."""
    if tables := items(header, "ModalityLUTSequence"):
        return text(tables[0], "ModalityLUTType") == "HU"
    source = functional_group(header, frame_index, "PixelValueTransformationSequence") or header
    if number(source, "RescaleSlope") is None and number(source, "RescaleIntercept") is None:
        return False
    return _said_to_be_hounsfield(source, header)


def _said_to_be_hounsfield(source: Dataset, header: Dataset) -> bool:
    return (text(source, "RescaleType") or ("HU" if text(header, "Modality") == "CT" else "")) == "HU"


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("some pixel values are no finite numbers")
    return values

"""Which part of the value range a reader would see: window or VOI LUT of the header, else one of ours that is named (PS3.3 C.11.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from config.views import CT_WINDOWS, NamedWindow
from inference.attributes import functional_group, items, number, text
from inference.pixels.lookup import Floats, lookup

Mask = npt.NDArray[np.bool_]

PERCENTILES = (0.5, 99.5)
_IDENTITY_BITS = 8
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_SAMPLED_PIXELS = 1 << 18

_SPINE_AND_LIMBS = (
    *("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "SACRUM", "COCCYX", "HIP", "FEMUR", "KNEE", "LEG"),
    *("TIBIA", "FIBULA", "ANKLE", "FOOT", "CALCANEUS", "TOE", "SHOULDER", "CLAVICLE", "SCAPULA", "HUMERUS", "ARM", "ELBOW", "FOREARM"),
    *("WRIST", "HAND", "FINGER", "THUMB", "EXTREMITY"),
)
# The window of a CT image that came without one, by Body Part Examined (defined terms of PS3.16 Annex L); soft tissue for all others.
BODY_PART_WINDOWS: Mapping[str, NamedWindow] = {
    **dict.fromkeys(("CHEST", "LUNG", "THORAX"), "lung"),
    **dict.fromkeys(("HEAD", "BRAIN", "SKULL"), "brain"),
    **dict.fromkeys(("HEART", "AORTA", "MEDIASTINUM"), "mediastinum"),
    **dict.fromkeys(("IAC", "EAR"), "temporal-bone"),
    **dict.fromkeys(_SPINE_AND_LIMBS, "bone"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window in modality values. `function` is LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.3).

    Raises:
        ValueError: another function, or a width below 1 (LINEAR) or not above 0 (the others).
    """

    centre: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        if self.function not in _FUNCTIONS:
            raise ValueError("unknown VOI LUT Function")
        if self.width < 1 if self.function == "LINEAR" else self.width <= 0:
            raise ValueError(f"Window Width too small for {self.function}")

    def __str__(self) -> str:
        function = "" if self.function == "LINEAR" else f" {self.function}"
        return f"window {self.centre:g}/{self.width:g}{function}"

    def apply(self, values: Floats) -> Floats:
        """Values mapped to [0, 1] (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2)."""
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                sigmoid = 1 / (1 + np.exp(-4 * (values.astype(np.float64) - self.centre) / self.width))
            return sigmoid.astype(np.float32)
        centre, width = (self.centre - 0.5, self.width - 1) if self.function == "LINEAR" else (self.centre, self.width)
        if width == 0:
            return (values > centre).astype(np.float32)
        return _between(values, centre - width / 2, centre + width / 2)

    def meets(self, low: float, high: float) -> bool:
        """True if some value between `low` and `high` would be shown neither all black nor all white."""
        return self.centre - self.width / 2 < high and self.centre + self.width / 2 > low


def ct_window(name: NamedWindow) -> Window:
    """Return the window of this name."""
    centre, width = CT_WINDOWS[name]
    return Window(centre=centre, width=width)


def body_part_window(header: Dataset) -> NamedWindow:
    """Return the name of the window that a CT image of this body part is read with first."""
    return BODY_PART_WINDOWS.get(text(header, "BodyPartExamined"), "soft-tissue")


def by_default(window: Window) -> str:
    """Return the words for a window that a CT image was shown through because it came without one."""
    return f"{window} (default for CT)"


def display(values: Floats, header: Dataset, frame_index: int, padding: Mask | None, *, little_endian: bool) -> tuple[Floats, str]:
    """Modality values of one frame as brightness in [0, 1] before inversion, and the words for what was done.

    In this order: window of the header (the first), VOI LUT of the header (the first), 8-bit values as they are, a CT window
    by body part, a window from percentiles that leaves out the padded pixels. Outside CT a header window that shows none of the pixels is
    passed over: modalities leave windows behind from other processing.
    """
    source = functional_group(header, frame_index, "FrameVOILUTSequence") or header
    chosen = header_window(source)
    if chosen is not None and (text(header, "Modality") == "CT" or _shows_some(chosen, values, padding)):
        return chosen.apply(values), f"{chosen} (header)"
    if (mapped := _header_table(source, values, little_endian=little_endian)) is not None:
        return mapped, "VOI LUT (header)"
    bits = int(number(header, "BitsStored") or 0)
    if 0 < bits <= _IDENTITY_BITS and values.min(initial=0) >= 0 and values.max(initial=0) < 1 << bits:
        return values / np.float32((1 << bits) - 1), f"{bits}-bit values as they are (no usable window)"
    if text(header, "Modality") == "CT" and number(header, "RescaleIntercept") is not None:
        default = ct_window(body_part_window(header))
        return default.apply(values), by_default(default)
    words = f"window from percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g} (no usable window)"
    return spread(values, *robust_range(values, padding)), words


def spread(values: Floats, low: float, high: float) -> Floats:
    """Return `low` and below as 0, `high` and above as 1, straight between; all 0 if there is nothing between."""
    return _between(values, low, high) if low < high else np.zeros_like(values)


def header_window(source: Dataset) -> Window | None:
    """Return the first window of a header, or of a Frame VOI LUT item; None if there is none that can be applied."""
    centre, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    if centre is None or width is None:
        return None
    try:
        return Window(centre=centre, width=width, function=text(source, "VOILUTFunction") or "LINEAR")
    except ValueError:
        return None


def _shows_some(window: Window, values: Floats, padding: Mask | None) -> bool:
    """True if the window meets the robust range. Counting, where it settles that, is ten times as fast as the percentiles."""
    seen = sampled(values, padding)
    beyond = seen.size // 100 + 2  # more pixels than lie outside a percentile
    low, high = np.float64(window.centre - window.width / 2), np.float64(window.centre + window.width / 2)
    if np.count_nonzero(seen > low) > beyond and np.count_nonzero(seen < high) > beyond:
        return True
    return window.meets(*robust_range(values, padding))


def _header_table(source: Dataset, values: Floats, *, little_endian: bool) -> Floats | None:
    tables = items(source, "VOILUTSequence")
    if not tables:
        return None
    try:
        mapped, bits = lookup(tables[0], values, little_endian=little_endian)
    except ValueError:
        return None
    return _between(mapped, 0, (1 << bits) - 1)


def _between(values: Floats, low: float, high: float) -> Floats:
    # In double precision: float32 has no room for a narrow window far from zero.
    precision = np.float64 if abs(low) > 1 << 16 else np.float32
    scaled: npt.NDArray[np.floating[Any]] = values - precision(low)
    scaled *= precision(1 / (high - low))  # in place, like the next: memory for a large frame takes longer to get than to fill
    return np.clip(scaled, 0, 1, out=scaled).astype(np.float32, copy=False)


def robust_range(values: Floats, padding: Mask | None, percentiles: tuple[float, float] = PERCENTILES) -> tuple[float, float]:
    """Return the outer percentiles of the pixels that are not padding, from an even sample of at most 2^19 of them; 0, 0 of none."""
    seen = sampled(values, padding)
    if not seen.size:
        return 0.0, 0.0
    low, high = np.percentile(seen, percentiles)
    return float(low), float(high)


def sampled(values: Floats, padding: Mask | None, at_most: int = _SAMPLED_PIXELS) -> Floats:
    """Return an even sample of the pixels that are not padding: fewer than twice `at_most`."""
    seen: Floats = values.ravel() if padding is None else values[~padding]
    return seen[:: max(1, seen.size // at_most)]

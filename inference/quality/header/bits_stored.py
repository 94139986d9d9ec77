"""Do the pixel values fit the bits that the header gives them?"""

import math

from inference.attributes import functional_group, items, number
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import PROCESSING, HeaderSubject, PixelFacts, header_verdict

_DEEP = 10  # bits from which on the modality promises more than 8-bit grey
FEWEST = Limit(
    value=6,
    unit="bit",
    source="64 steps of grey, a quarter of 8 bits. Measured: 28 real radiographs, CT and MR images need at least 7.9, false alarms 0",
)
_ROUNDING = 1e-3  # of float32 values and the logarithm
_RANGED = frozenset({"CR", "DX", "RG", "MG", "CT", "MR"})


class BitsStored:
    """The bits that the stored values need, against Bits Stored (0028,0101).

    Measured: the logarithm to base 2 of the number of steps between lowest and highest stored value. Too many: the header is wrong, or
    something else lies in the upper bits. Fewer than 6 of 10 or more: grey was thrown away before, and steps show as bands.
    """

    name = "bits-stored"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        stored, bits = _stored(subject.pixels), number(subject.header, "BitsStored")
        if stored is None or bits is None or subject.modality not in _RANGED:
            return None
        needed = math.log2(stored[1] - stored[0] + 1)
        most = Limit(value=bits, unit="bit", source="PS3.3 C.7.6.3 and PS3.5 8.1.1: a stored value has Bits Stored bits")
        if needed > bits + _ROUNDING:
            words = f"The pixel values need {needed:.1f} bits, the header says {bits:.0f}: brightness and measured values may be wrong."
            return header_verdict(self.name, subject, measured=needed, limit=most, found=True, code=PROCESSING, good="", bad=words)
        return header_verdict(
            self.name,
            subject,
            measured=needed,
            limit=FEWEST,
            found=bits >= _DEEP and 0 < needed < FEWEST.value,
            code=PROCESSING,
            good="The pixel values fit the bits that the header gives them.",
            bad=f"Of {bits:.0f} bits the pixel values use {needed:.1f}: fine steps of grey were lost before the image was sent.",
        )


def _stored(pixels: PixelFacts) -> tuple[float, float] | None:
    """Lowest and highest stored value, back through the rescale; None in colour, after a table, or if every frame has its own."""
    header = pixels.header
    if pixels.lowest is None or pixels.highest is None or items(header, "ModalityLUTSequence"):
        return None
    if len(items(header, "PerFrameFunctionalGroupsSequence")) > 1 and functional_group(header, 0, "PixelValueTransformationSequence"):
        return None
    source = functional_group(header, 0, "PixelValueTransformationSequence") or header
    slope = number(source, "RescaleSlope")
    slope = 1.0 if slope is None else slope
    if slope == 0:
        return None
    intercept = number(source, "RescaleIntercept") or 0.0
    ends = sorted(((pixels.lowest - intercept) / slope, (pixels.highest - intercept) / slope))
    return ends[0], ends[1]

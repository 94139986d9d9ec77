"""Is the field of view, as the pixel spacing has it, one that such equipment can have?"""

from collections.abc import Mapping
from dataclasses import dataclass

from inference.attributes import texts
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import POOR_FOV, HeaderSubject, header_verdict

_ANISOTROPY = Limit(
    value=1.5,
    unit="1",
    source=(
        "Detectors and reconstructions of these modalities have square pixels; the most oblong of the clean images measured are those of"
        " two CT localizers (1.09)"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Longest side of a field of view, in mm."""

    shortest: float
    longest: float
    source: str


_PLATE = _Range(
    shortest=60,
    longest=1300,
    source="Longest side from a finger on an 18 x 24 cm plate, collimated to 6 cm, to a stitched whole spine or leg of 130 cm",
)
_RANGES: Mapping[str, _Range] = {
    **dict.fromkeys(("CR", "DX", "RG"), _PLATE),
    "MG": _Range(shortest=40, longest=320, source="Longest side from a magnified spot view to a detector of 24 x 30 cm with its margins"),
    "CT": _Range(shortest=40, longest=1000, source="Longest side from a temporal bone or a tooth to an extended field in a bore of 90 cm"),
    "MR": _Range(shortest=20, longest=650, source="Longest side from a finger or a specimen to a field in a bore of 60 to 70 cm"),
    "PT": _Range(shortest=100, longest=1000, source="Longest side from a breast or brain scanner to the bore of a whole-body scanner"),
}
_UNIT = "mm"
_MOSAIC = "MOSAIC"  # all slices of a volume side by side in one MR image: the field of view is that of one tile


class PixelSpacing:
    """Rows and columns times their spacing, against what the modality can show; and the shape of a pixel.

    Measured: the longest side of the field of view in mm; or, if that is plausible, the longer side of a pixel by the shorter.
    """

    name = "pixel-spacing"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        plausible, spacing = _RANGES.get(subject.modality), subject.pixels.spacing_mm
        if plausible is None or spacing is None or _MOSAIC in texts(subject.header, "ImageType"):
            return None
        side = max(subject.pixels.rows * spacing[0], subject.pixels.columns * spacing[1])
        small, large = side < plausible.shortest, side > plausible.longest
        oblong = max(spacing) / min(spacing)
        if oblong > _ANISOTROPY.value and not small and not large:
            return header_verdict(
                self.name,
                subject,
                measured=oblong,
                limit=_ANISOTROPY,
                found=True,
                code=POOR_FOV,
                good="",
                bad=f"By its spacing a pixel is {oblong:.2g} times as long as wide: lengths measured on the image may be wrong.",
            )
        limit = Limit(value=plausible.longest if large else plausible.shortest, unit=_UNIT, source=plausible.source)
        return header_verdict(
            self.name,
            subject,
            measured=side,
            limit=limit,
            found=small or large,
            code=POOR_FOV,
            good="The field of view has a plausible size.",
            bad=f"By the pixel spacing the field of view is {side:.0f} mm long: lengths measured on the image may be wrong.",
        )

"""Does the header contradict itself about what is black and what is white?"""

from inference.attributes import number, text
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import PROCESSING, HeaderSubject, header_verdict

LIMIT = Limit(
    value=0,
    unit="{contradictions}",
    source=(
        "PS3.3 C.8.11.3.1.2: Presentation LUT Shape is INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2; C.7.6.3.1.2: one sample a"
        " pixel in MONOCHROME and PALETTE COLOR, three in RGB and YBR"
    ),
)
_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_RADIOGRAPHS = frozenset({"DX", "MG", "IO", "PX"})


class Photometric:
    """Photometric Interpretation against Presentation LUT Shape (in digital radiographs, which need both) and Samples per Pixel.

    Measured: how many contradict it. Whether the pixels contradict it as well, the check `inverted` measures.
    """

    name = "photometric"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        header = subject.header
        interpretation, shape = text(header, "PhotometricInterpretation"), text(header, "PresentationLUTShape")
        samples = number(header, "SamplesPerPixel")
        if not interpretation or samples is None:
            return None
        coloured = interpretation.startswith(("RGB", "YBR", "ICC"))
        against = [
            subject.modality in _RADIOGRAPHS and bool(shape) and _SHAPES.get(interpretation, shape) != shape,
            samples != (3 if coloured else 1),
        ]
        return header_verdict(
            self.name,
            subject,
            measured=sum(against),
            limit=LIMIT,
            found=any(against),
            code=PROCESSING,
            good="What the header says of black, white and colour agrees.",
            bad="The header contradicts itself about black, white and colour: the image may be shown as its negative.",
        )

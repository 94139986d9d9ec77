"""Is there colour where the modality makes none?"""

from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_COLOURFUL = 0.1

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.07, held_out("0 of 15", "15 of 15")),
    ("CT", 0.07, held_out("0 of 6", "6 of 6")),
    ("MR", 0.07, held_out("0 of 22", "22 of 22")),
    ("MG", 0.07, held_out("0 of 1", "1 of 1")),
    ("XA", 0.07, "The limit of the other modalities; no false alarm on the 2 clean angiograms of the half that it was chosen on"),
)


def coloured_area(sample: Sample, _header: Dataset) -> float:
    """The share of pixels whose red, green and blue are more than a tenth apart; 0 in a grey frame."""
    return 0.0 if sample.chroma is None else float((sample.chroma > _COLOURFUL).mean())


COLOUR = MeasuringCheck(
    name="colour",
    measure=coloured_area,
    limits=_LIMITS,
    bad="above",
    grade=QualityGrade.NON_DIAGNOSTIC,
    code=Code(value="111220", scheme="DCM", meaning="Other failure"),
    good_sentence="The frame is grey, as its modality makes it.",
    bad_sentence="The frame is in colour, and its modality makes none: a photograph, a screen or a map of results.",
)

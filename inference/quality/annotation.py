"""Did somebody draw on the image?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_DRAWN = 0.25

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.002, held_out("0 of 15", "15 of 15")),
    ("CT", 0.002, held_out("0 of 6", "6 of 6")),
    ("MR", 0.002, held_out("0 of 22", "22 of 22")),
    ("MG", 0.002, held_out("0 of 1", "1 of 1")),
    ("XA", 0.002, "The limit of the other modalities; no false alarm on the 2 clean angiograms of the half that it was chosen on"),
)


def drawn_area(sample: Sample, _header: Dataset) -> float:
    """The share of pixels whose red, green and blue are more than a quarter apart; 0 in a grey frame.

    In a modality that makes grey images a few such pixels are lines, arrows or letters in colour. White lines are not looked for: in
    radiographs and slices they cannot be told from edges of collimation, tables and bones.
    """
    return 0.0 if sample.chroma is None else float((sample.chroma > _DRAWN).mean())


ANNOTATION = MeasuringCheck(
    name="annotation",
    measure=drawn_area,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact"),
    good_sentence="Nothing is drawn on the image in colour.",
    bad_sentence="Something is drawn on the image in colour: it hides what lies below.",
)

"""Does the header say that this is a frontal chest radiograph?"""

from pydicom import Dataset

from inference.attributes import text
from inference.quality.check import RADIOGRAPHS
from inference.quality.sample import Sample

_BODY_PARTS = frozenset({"CHEST", "THORAX", "LUNG"})
_VIEWS = frozenset({"PA", "AP"})


def is_frontal_chest(sample: Sample, header: Dataset) -> bool:
    """True if Modality, Body Part Examined and View Position (0018,5101) say so. Without a view it may be a lateral one: False."""
    stated = text(header, "BodyPartExamined") in _BODY_PARTS and text(header, "ViewPosition") in _VIEWS
    return stated and sample.modality in RADIOGRAPHS

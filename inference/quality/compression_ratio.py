"""Does the header admit more lossy compression than was found acceptable?"""

from pydicom import Dataset

from config import Code
from inference.attributes import numbers
from inference.quality.check import MeasuringCheck, limits
from inference.quality.sample import Sample

_SOURCE = (
    "Canadian Association of Radiologists, Standards for Irreversible Compression in Digital Diagnostic Imaging within Radiology (2008): "
    "JPEG up to {} to 1; the highest of its ratios for body parts"
)
_LIMITS = limits(
    "{ratio}",
    *(
        (modalities, ratio, _SOURCE.format(f"{ratio:g}"))
        for modalities, ratio in (("CR DX RG", 30.0), ("MG", 25.0), ("CT", 15.0), ("US", 12.0), ("MR", 24.0), ("NM", 11.0))
    ),
)


def stated_ratio(_sample: Sample, header: Dataset) -> float | None:
    """The highest Lossy Image Compression Ratio (0028,2112), one for each step (PS3.3 C.7.6.1.1.5.2); None without a credible one."""
    ratios = [ratio for ratio in numbers(header, "LossyImageCompressionRatio") if ratio >= 1]
    return max(ratios, default=None)


COMPRESSION_RATIO = MeasuringCheck(
    name="compression-ratio",
    measure=stated_ratio,
    limits=_LIMITS,
    bad="above",
    smallest_side=1,  # the header says it
    code=Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact"),
    good_sentence="The header admits no more lossy compression than was found acceptable.",
    bad_sentence="The header admits more lossy compression than was found acceptable for this modality.",
)

"""Where the black and the white end of the anatomy lie in the range of brightness."""

import numpy as np
from pydicom import Dataset

from inference.quality.sample import Sample

_DARK_END, _BRIGHT_END = 0.02, 0.98


def middle_of_range(sample: Sample, _header: Dataset) -> float:
    """The mean of the 2nd and the 98th percentile of brightness in the anatomy.

    Exposure moves both ends one way, while contrast moves them apart. It tells more than one end alone only where all images show the same
    part of the body.
    """
    dark, bright = np.quantile(sample.anatomy, (_DARK_END, _BRIGHT_END))
    return float(dark + bright) / 2

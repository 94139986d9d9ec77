"""Frames without a meaning, on which two ways to compute the same are compared."""

import numpy as np
from numpy.typing import NDArray

from inference.findings import ImageRef
from inference.frames import Frame


def drawn(pixels: NDArray[np.float32]) -> Frame:
    """Return a frame of these display values that is of nobody."""
    return Frame(
        pixels=pixels,
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid="", sop_instance_uid=""),
        modality="OT",
        photometric_interpretation="MONOCHROME2",
        steps=(),
    )

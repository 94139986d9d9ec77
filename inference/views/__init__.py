"""What the model is shown of a frame: a view for each kind of image, one file each and one entry in `VIEWS`.

Quality checks judge the frame as it was decoded, the model sees the view. What a view did stands in `Frame.steps`, what it cut off
in `Frame.crop`. A manifest chooses (`config.views`); what it does not name has defaults.
"""

from collections.abc import Mapping

from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.views.ct import ct
from inference.views.mammogram import mammogram
from inference.views.mr import mr
from inference.views.nuclear import nuclear
from inference.views.photograph import photograph
from inference.views.radiograph import fluoroscopy, radiograph
from inference.views.sampled_ranges import SampledRanges
from inference.views.ultrasound import ultrasound
from inference.views.view import SeriesRange, SeriesRanges, View

__all__ = ["VIEWS", "SampledRanges", "SeriesRange", "SeriesRanges", "View", "viewed"]

# By Modality (0008,0060), PS3.3 C.7.3.1.1.1. Other kinds are shown as they were decoded.
VIEWS: Mapping[str, View] = {
    **dict.fromkeys(("CR", "DX", "RG", "IO", "PX"), radiograph),
    **dict.fromkeys(("XA", "RF"), fluoroscopy),
    **dict.fromkeys(("NM", "PT"), nuclear),
    **dict.fromkeys(("XC", "OP", "ES", "GM", "DMS"), photograph),
    "MG": mammogram,
    "CT": ct,
    "MR": mr,
    "US": ultrasound,
}


def viewed(frame: Frame, header: Dataset, wanted: ViewsSection, ranges: SeriesRanges) -> Frame:
    """Return what a model whose manifest wants these views is shown of a frame as it was decoded.

    A frame that is not of a DICOM object (without a SOP Class) is shown as it is: nobody says of what kind it is, and somebody chose how
    it looks.
    """
    view = VIEWS.get(frame.modality)
    if view is None or not frame.ref.sop_class_uid:
        return frame
    return view(frame, header, wanted, ranges)

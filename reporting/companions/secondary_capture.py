"""A Secondary Capture page (PS3.3 A.8): the one form of a result that every viewer shows. Its patient is burned in, and it says so."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from inference.findings import Analysis
from reporting.algorithm import algorithms_of
from reporting.companions.instance import Series, companion, finished, local_time, source_header
from reporting.companions.layout import sheets_of
from reporting.companions.page import page_of
from reporting.companions.painting import painted
from reporting.companions.picture import HeatPicture, Picture
from reporting.evidence import Evidence, evidence_of, reference
from reporting.result import EncodedResult, PreviousReport, Producer

KIND = "secondary-capture"
_SERIES = Series(kind=KIND, modality="OT", number=9903, description="AI SUMMARY PAGE - UNVERIFIED")
_HEIGHTS = (1024, 1280)
_WITH_HEAT_MAPS = (*_HEIGHTS, 1448)  # as A4: several of them stay on one image
_PAGE_NUMBER_VECTOR = 0x00182001


def encode_secondary_capture(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
    pictures: Sequence[Picture] = (),
    heat_pictures: Sequence[HeatPicture] = (),
) -> EncodedResult:
    """Return the page as one image of 1024 columns; as a multi-frame image if the words do not fit on one sheet.

    Raises:
        ValueError: as `evidence_of`.
    """
    evidence = evidence_of(analysis, headers)
    algorithms = algorithms_of(analysis, producer)
    header = source_header(evidence)
    page = page_of(analysis, header, producer, previous=previous, pictures=pictures, heat_pictures=heat_pictures)
    frames = [painted(sheet) for sheet in sheets_of(page, _WITH_HEAT_MAPS if page.heat else _HEIGHTS)]
    image = companion(_SERIES, analysis, evidence, algorithms=algorithms, producer=producer, previous=previous)
    image.Laterality = ""  # Type 2C: unknown, and required of a part that may be paired
    image.PatientOrientation = ""
    image.ConversionType = "WSD"
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.DerivationDescription = "Page with the words of an AI result, unverified"
    image.ContentQualification = "RESEARCH"
    image.BurnedInAnnotation = "YES"
    _pixels(image, np.stack(frames))
    _sources(image, evidence)
    at = local_time(analysis, header)
    sop_class = SecondaryCaptureImageStorage if len(frames) == 1 else MultiFrameTrueColorSecondaryCaptureImageStorage
    return finished(image, _SERIES, sop_class, analysis=analysis, algorithms=algorithms, at=at, previous=previous)


def _pixels(image: Dataset, frames: NDArray[np.uint8]) -> None:
    """Image Pixel module, `frames` is `(frames, rows, columns, 3)`; of several also Multi-frame and SC Multi-frame Vector modules."""
    count, image.Rows, image.Columns, image.SamplesPerPixel = frames.shape
    image.PhotometricInterpretation, image.PlanarConfiguration = "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.LossyImageCompression = "00"
    if count > 1:
        image.NumberOfFrames = count
        image.FrameIncrementPointer = _PAGE_NUMBER_VECTOR
        image.PageNumberVector = list(range(1, count + 1))
    image.PixelData = frames.tobytes()
    image["PixelData"].VR = "OB"


def _sources(image: Dataset, evidence: Evidence) -> None:
    """Say which images it was derived from."""
    if evidence.images:
        image.SourceImageSequence = [reference(source.sop_class_uid, source.sop_instance_uid) for source in evidence.images]

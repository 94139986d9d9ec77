"""A synthetic study that goes through the running node like any other: health by traffic."""

from datetime import datetime
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

STATION_NAME = "DICOM-NODE-PROBE"
ROUTE = "probe"
SIDE = 256


def probe_instance(now: datetime) -> tuple[str, bytes]:
    """Return a Study Instance UID of its own and a Part 10 file: a grey ramp with a disc, of no patient."""
    row, column = np.mgrid[0:SIDE, 0:SIDE]
    disc = (row - SIDE / 2) ** 2 + (column - SIDE / 2) ** 2 < (SIDE / 4) ** 2
    pixels = np.where(disc, 255 - column // 2, column // 2).astype(np.uint8)
    study = Dataset()
    study.SOPClassUID = SecondaryCaptureImageStorage
    study.SOPInstanceUID = generate_uid(prefix=None)
    study.StudyInstanceUID = generate_uid(prefix=None)
    study.SeriesInstanceUID = generate_uid(prefix=None)
    study.PatientName, study.PatientID, study.PatientBirthDate, study.PatientSex = "PROBE^DICOM-NODE", "PROBE", "", ""
    study.StudyDate, study.StudyTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    study.NumberOfStudyRelatedInstances = 1  # so that nobody waits for more
    study.AccessionNumber, study.StudyID, study.ReferringPhysicianName = "", "", ""
    study.Modality, study.ConversionType, study.StationName = "OT", "SYN", STATION_NAME
    study.SeriesNumber, study.InstanceNumber, study.PatientOrientation = 1, 1, ""
    study.SamplesPerPixel, study.PhotometricInterpretation = 1, "MONOCHROME2"
    study.Rows, study.Columns, study.BitsAllocated, study.BitsStored, study.HighBit, study.PixelRepresentation = SIDE, SIDE, 8, 8, 7, 0
    study.PixelData = pixels.tobytes()
    study.file_meta = FileMetaDataset()
    study.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, study, enforce_file_format=True)
    return str(study.StudyInstanceUID), file.getvalue()

"""Small synthetic valid studies. The patient is CANARY^PHI: a log that holds that name has leaked."""

import uuid

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

DX = "1.2.840.10008.5.1.4.1.1.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
CANARY_NAME = "CANARY^PHI"
CANARY_ID = "CANARY-ID"
CANARIES = ("CANARY", "19600229")


def uid(*words):
    """A valid UID: a new one, or the same for the same words."""
    return f"2.25.{(uuid.uuid5(uuid.NAMESPACE_OID, repr(words)) if words else uuid.uuid4()).int}"


def patient_and_study(study_uid=None):
    """The patient and study attributes that every synthetic instance has."""
    header = Dataset()
    header.PatientName, header.PatientID = CANARY_NAME, CANARY_ID
    header.PatientBirthDate, header.PatientSex = "19600229", "O"
    header.StudyInstanceUID = study_uid or uid()
    header.StudyDate, header.StudyTime = "20260105", "101500"
    header.AccessionNumber, header.StudyID, header.ReferringPhysicianName = "CANARY-ACC", "1", ""
    return header


def image_pixel(header, pixels):
    """Give `header` the Image Pixel Module (PS3.3 C.7.6.3) for unsigned `pixels` of 8 or 16 bits, grey."""
    bits = pixels.dtype.itemsize * 8
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = bits, bits, bits - 1, 0
    header.PixelData = pixels.tobytes()
    header["PixelData"].VR = "OB" if bits == 8 else "OW"
    return header


def phantom(side=64):
    """A grey disc on a ramp, uint16 `(side, side)`."""
    row, column = np.mgrid[0:side, 0:side]
    disc = (row - side / 2) ** 2 + (column - side / 2) ** 2 < (side / 4) ** 2
    return np.where(disc, 3000, 600 + 12 * column).astype(np.uint16)


def radiograph(*, study_uid=None, series_uid=None, number=1, pixels=None, **attributes):
    """A digital radiograph of the chest; keyword arguments set or (None) remove attributes."""
    header = patient_and_study(study_uid)
    header.SOPClassUID, header.SOPInstanceUID = DX, uid()
    header.SeriesInstanceUID = series_uid or uid()
    header.Modality, header.BodyPartExamined, header.PresentationIntentType = "DX", "CHEST", "FOR PRESENTATION"
    header.SeriesNumber, header.InstanceNumber, header.Laterality, header.ImageLaterality = 1, number, "", "U"
    header.Manufacturer, header.ManufacturerModelName, header.DeviceSerialNumber = "Phantom Works", "P-1", "1"
    header.ImageType, header.PatientOrientation, header.ViewPosition = ["ORIGINAL", "PRIMARY", ""], ["L", "F"], "PA"
    header.ImagerPixelSpacing = [0.2, 0.2]
    header.PixelIntensityRelationship, header.PixelIntensityRelationshipSign = "LOG", -1
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType, header.PresentationLUTShape = 0, 1, "US", "IDENTITY"
    header.BurnedInAnnotation, header.LossyImageCompression, header.WindowCenter, header.WindowWidth = "NO", "00", 2000, 4000
    image_pixel(header, phantom() if pixels is None else pixels)
    return with_attributes(header, attributes)


def radiograph_header(body_part="CHEST", study="1.2.3"):
    """What routing sees of a radiograph, with a description that must stay unseen."""
    header = Dataset()
    header.PatientName, header.PatientID, header.StudyDescription = CANARY_NAME, CANARY_ID, "CANARY-TEXT"
    header.SOPClassUID, header.SOPInstanceUID = DX, uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = study, "1.2.3.4"
    header.Modality, header.BodyPartExamined = "DX", body_part
    return header


def ct_slice(*, study_uid=None, series_uid=None, number=1, pixels=None, **attributes):
    """A slice of a chest CT, 5 mm from the next."""
    header = patient_and_study(study_uid)
    header.SOPClassUID, header.SOPInstanceUID = CT, uid()
    header.SeriesInstanceUID, header.FrameOfReferenceUID = series_uid or uid(), uid("frame", study_uid)
    header.Modality, header.BodyPartExamined, header.SeriesDescription = "CT", "CHEST", "Lung 5 mm"
    header.SeriesNumber, header.InstanceNumber, header.PatientOrientation = 1, number, ""
    header.Manufacturer, header.ImageType = "Phantom Works", ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * number]
    header.PixelSpacing, header.SliceThickness, header.KVP, header.AcquisitionNumber = [0.7, 0.7], 5, 120, 1
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = -1024, 1, "HU"
    header.WindowCenter, header.WindowWidth, header.PositionReferenceIndicator = 40, 400, ""
    image_pixel(header, phantom() if pixels is None else pixels)
    return with_attributes(header, attributes)


def with_attributes(header, attributes):
    """Set attributes by keyword; None removes one."""
    for keyword, value in attributes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def write_file(path, header, *, transfer_syntax=ExplicitVRLittleEndian):
    """Write a Part 10 file and return its path."""
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = transfer_syntax
    header.save_as(path, enforce_file_format=True)
    return path


def radiograph_file(path, **attributes):
    """Write a radiograph to `path` and return it."""
    return write_file(path, radiograph(**attributes))

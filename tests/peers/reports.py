"""A small valid Structured Report to deliver. The patient is a canary: if it shows up in a log, a test fails."""

from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.delivery import Outgoing


def structured_report(sop_instance_uid: str | None = None, *, text: str = "Nothing was analysed.") -> bytes:
    """Return a small Comprehensive 3D SR as a Part 10 file, Explicit VR Little Endian: a root container with one text."""
    report = Dataset()
    report.SpecificCharacterSet = "ISO_IR 192"
    report.SOPClassUID = Comprehensive3DSRStorage
    report.SOPInstanceUID = sop_instance_uid or generate_uid(prefix=None)
    report.StudyDate, report.StudyTime = "20260102", "030405"
    report.ContentDate, report.ContentTime = "20260102", "030506"
    report.AccessionNumber = "CANARY-ACC"
    report.Modality = "SR"
    report.Manufacturer = "dicom-node"
    report.ReferringPhysicianName = None
    report.PatientName, report.PatientID = "CANARY^PHI", "CANARY-ID"
    report.PatientBirthDate, report.PatientSex = "19700101", "O"
    report.StudyInstanceUID = generate_uid(prefix=None)
    report.SeriesInstanceUID = generate_uid(prefix=None)
    report.StudyID, report.SeriesNumber, report.InstanceNumber = "1", 1, 1
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.ConceptNameCodeSequence = [_code("126000", "DCM", "Imaging Measurement Report")]
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [_code("121106", "DCM", "Comment")]
    item.TextValue = text
    report.ContentSequence = [item]
    report.file_meta = FileMetaDataset()
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, report, enforce_file_format=True)
    return file.getvalue()


def outgoing(path: Path, sop_class_uid: str, sop_instance_uid: str, *, kind: str = "sr-findings", accepted_as: str = "") -> Outgoing:
    """Return a result on its way."""
    return Outgoing(path=path, kind=kind, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, accepted_as=accepted_as)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code

"""DICOM objects as bytes: data set (PS3.5) and file (PS3.10 section 7), Explicit VR Little Endian. The same object gives the same bytes."""

import io

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from reporting.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def encoded(document: Dataset) -> bytes:
    """Return the data set as it is, without preamble and File Meta Information."""
    buffer = io.BytesIO()
    dcmwrite(buffer, document, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def part10(document: Dataset) -> bytes:
    """Return the whole file; the File Meta Information, which `document` gets here, names this node."""
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    document.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = io.BytesIO()
    dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()

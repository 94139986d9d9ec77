"""Drawn images that the shipped model takes for a chest radiograph or a head CT, as frames and as DICOM files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from inference.findings import ImageRef
from inference.frames import Frame
from inference.selection import SelectedInstance

Picture = NDArray[np.float32]

_SIDE = 128
_Y, _X = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]


def chest_radiograph() -> Picture:
    """Two dark lungs, a bright spine and heart, upright."""
    picture = np.full(_X.shape, 0.3)
    picture[_ellipse(0, 0.2, 0.95, 1.3)] = 0.6
    for side in (-0.42, 0.42):
        picture[_ellipse(side, 0, 0.3, 0.62)] = 0.15
    picture[(np.abs(_X) < 0.1) | _ellipse(0.15, 0.25, 0.25, 0.3)] = 0.8
    picture[(_Y > 0.62) & (np.abs(_X) < 0.9)] = 0.76
    blurred = Image.fromarray((picture * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))
    return (np.asarray(blurred) / 255).astype(np.float32)


def head_ct() -> Picture:
    """A bright ring with grey inside and two dark ventricles."""
    picture = np.zeros(_X.shape)
    picture[_ellipse(0, 0, 0.7, 0.85)] = 1
    picture[_ellipse(0, 0, 0.62, 0.77)] = 0.4
    picture[_ellipse(-0.1, 0, 0.05, 0.2) | _ellipse(0.1, 0, 0.05, 0.2)] = 0.15
    return picture.astype(np.float32)


def sharp_chest_radiograph(side: int = 512) -> Picture:
    """The chest with what a detector adds to it: sharp ribs and vessels, and a little noise. No quality check finds a fault in it."""
    random = np.random.default_rng(3)
    body, bones, vessels = (
        np.asarray(Image.fromarray(small.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
        for small in (chest_radiograph(), random.random((23, 19)), random.random((47, 53)))
    )
    noise = random.normal(0, 0.004, (side, side))
    return np.clip(body + 0.08 * (bones > 0.6) + 0.05 * (vessels > 0.65) + noise, 0, 1).astype(np.float32)


def sharp_head_ct(side: int = 512) -> Picture:
    """The head with gyri and a little noise."""
    _, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    head = np.asarray(Image.fromarray(head_ct()).resize((side, side), Image.Resampling.BICUBIC))
    gyri = 0.08 * (np.sin(70 * x + 9 * np.sin(25 * x.T)) > 0.5) * ((head > 0.3) & (head < 0.6))
    noise = np.random.default_rng(4).normal(0, 0.004, (side, side)) * (head > 0.05)
    return np.clip(head + gyri + noise, 0, 1).astype(np.float32)


def as_frame(pixels: NDArray[np.float32], *, uid: str = "2.25.1", frame_number: int | None = 1, modality: str = "DX") -> Frame:
    """A frame as `read_frames` gives it."""
    return Frame(
        pixels=pixels.astype(np.float32),
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid=DigitalXRayImageStorageForPresentation, sop_instance_uid=uid, frame_number=frame_number),
        modality=modality,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB",
        steps=(),
    )


def write_instance(
    folder: Path,
    pixels: NDArray[np.float32],
    *,
    number: int = 1,
    modality: str = "DX",
    body_part: str = "CHEST",
    series: str = "2.25.77",
) -> SelectedInstance:
    """Write one image, grey or RGB, as a Part 10 file of a patient who does not exist; return it as a route would select it."""
    stored = np.rint(pixels * 255).astype(np.uint8)
    header = Dataset()
    header.SOPClassUID = CTImageStorage if modality in {"CT", "MR"} else DigitalXRayImageStorageForPresentation
    header.SOPInstanceUID = f"{series}.{number}"
    header.StudyInstanceUID, header.SeriesInstanceUID = "2.25.7", series
    header.PatientName, header.PatientID = "CANARY^PHI", "CANARY-ID"
    header.Modality, header.BodyPartExamined, header.InstanceNumber = modality, body_part, number
    header.Rows, header.Columns = stored.shape[:2]
    header.SamplesPerPixel, header.PhotometricInterpretation = (1, "MONOCHROME2") if stored.ndim == 2 else (3, "RGB")
    if stored.ndim != 2:
        header.PlanarConfiguration = 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation = 7, 0
    whole = Dataset()
    whole.update(header)
    whole.PixelData = stored.tobytes()
    whole["PixelData"].VR = "OB"
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    whole.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    path = folder / f"{header.SOPInstanceUID}.dcm"
    whole.save_as(path, enforce_file_format=True)
    return SelectedInstance(path=path, header=header)


def _ellipse(x: float, y: float, a: float, b: float) -> NDArray[np.bool_]:
    return np.asarray(((_X - x) / a) ** 2 + ((_Y - y) / b) ** 2 < 1)

"""Frames out of a DICOM file, one at a time: checked against the file before anything is allocated, decoded, and made displayable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from inference.attributes import functional_group, number, numbers, text, uid
from inference.findings import ImageRef
from inference.pixel_data import FAULTS, PixelData, PixelDataError, frame_count, open_pixel_data, refuse_inflation
from inference.values import Rendering, colour, grey, palette

__all__ = ["Frame", "UndecodableError", "frame_count", "read_frames"]

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})


class UndecodableError(Exception):
    """No frame can be had from a file. The message names the SOP Instance UID, the transfer syntax and what to do, and no tag value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame as a reader would see it.

    `pixels`: float32 in [0, 1], 0 = black, grey (rows, columns) or RGB (rows, columns, 3). `values`: float32 (rows, columns) after the
    Modality LUT (HU in CT), None in colour. `spacing_mm`: between rows, between columns; None if unknown. `photometric_interpretation` is
    the header's. `steps` says in words how `pixels` came from the stored values.
    """

    pixels: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32] | None
    spacing_mm: tuple[float, float] | None
    ref: ImageRef
    modality: str
    photometric_interpretation: str
    steps: tuple[str, ...]


def read_frames(path: Path, frame_numbers: Sequence[int], *, maximum_megapixels: float) -> Iterator[Frame]:
    """Yield the frames with these numbers (1-based) from a Part 10 file, each decoded when it is asked for.

    Nothing is allocated that the file could not hold: the header is compared with the length of the pixel data, and a compressed frame's
    own size with the header, before anything is decoded. `maximum_megapixels`: millions of pixels in one frame.

    Raises:
        UndecodableError: the file, its header or a frame cannot be read, is too large, or has no such frame.
    """
    header = Dataset()
    try:
        with path.open("rb") as file:
            refuse_inflation(path)
            header = dcmread(file, stop_before_pixels=True)
            pixel_data = open_pixel_data(file, header, maximum_megapixels=maximum_megapixels)
            for frame_number in frame_numbers:
                yield _frame(pixel_data, frame_number)
    except PixelDataError as exc:
        raise UndecodableError(f"{_subject(header)}: {exc}") from exc
    except InvalidDicomError as exc:
        raise UndecodableError(
            f"{_subject(header)}: no DICOM file (PS3.10: preamble and DICM are missing); have the sender check it"
        ) from exc
    except FAULTS as exc:
        raise UndecodableError(
            f"{_subject(header)}: the file cannot be read ({type(exc).__name__}); have the sender check and resend it"
        ) from exc


def _frame(pixel_data: PixelData, frame_number: int) -> Frame:
    header = pixel_data.header
    rendering = _render(pixel_data, frame_number - 1)
    return Frame(
        pixels=rendering.pixels,
        values=rendering.values,
        spacing_mm=_spacing_mm(header, frame_number - 1),
        ref=ImageRef(
            sop_class_uid=uid(header, "SOPClassUID"),
            sop_instance_uid=uid(header, "SOPInstanceUID"),
            frame_number=frame_number,
        ),
        modality=text(header, "Modality"),
        photometric_interpretation=text(header, "PhotometricInterpretation"),
        steps=rendering.steps,
    )


def _render(pixel_data: PixelData, frame_index: int) -> Rendering:
    header = pixel_data.header
    stored, decoded_as = pixel_data.decode(frame_index)
    try:
        if decoded_as in _GREY:
            return grey(stored, header, frame_index, little_endian=pixel_data.little_endian)
        if decoded_as == "PALETTE COLOR":
            return palette(stored, header)
        if decoded_as == "RGB":
            bits = int(number(header, "BitsStored") or pixel_data.claim.bits_allocated)
            return colour(stored, text(header, "PhotometricInterpretation"), bits)
    except ValueError as exc:
        raise PixelDataError(f"the header does not say what the pixel values mean ({exc}); have the sender correct it") from exc
    raise PixelDataError("the photometric interpretation is not supported; have the sender use MONOCHROME2 or RGB")


def _spacing_mm(header: Dataset, frame_index: int) -> tuple[float, float] | None:
    """Pixel Spacing, else Imager Pixel Spacing (at the detector, not the patient), else that of a scanned film (PS3.3 10.7.1)."""
    measures = functional_group(header, frame_index, "PixelMeasuresSequence") or header
    candidates = ((measures, "PixelSpacing"), (header, "ImagerPixelSpacing"), (header, "NominalScannedPixelSpacing"))
    for dataset, keyword in candidates:
        match numbers(dataset, keyword):
            case (rows, columns) if rows > 0 and columns > 0:
                return rows, columns
    return None


def _subject(header: Dataset) -> str:
    transfer_syntax = UID(uid(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID"))
    return f"SOP Instance {uid(header, 'SOPInstanceUID') or 'unknown'} ({transfer_syntax.name or 'no transfer syntax'})"

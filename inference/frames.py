"""Frames out of a DICOM file, one at a time: checked against the file before anything is allocated, decoded, and made displayable."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from inference.attributes import functional_group, numbers, text, uid
from inference.findings import ImageRef
from inference.in_order import Job, in_order
from inference.pixels.codecs import FAULTS, CodecError, EncodedFrame, Stored
from inference.pixels.decoding import DECODERS, processors
from inference.pixels.pixel_data import PixelData, PixelDataError, frame_count, open_pixel_data, refuse_inflation
from inference.pixels.values import Rendering, colour, grey, palette

__all__ = ["Frame", "UndecodableError", "frame_count", "read_ahead", "read_frames"]

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_BYTES_A_SAMPLE = 12  # as stored, as a value and as displayed


class UndecodableError(Exception):
    """No frame can be had from a file. The message names the SOP Instance UID, the transfer syntax and what to do, and no tag value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame as a reader would see it.

    `pixels`: float32 in [0, 1], 0 = black, grey (rows, columns) or RGB (rows, columns, 3). `values`: float32 (rows, columns) after the
    Modality LUT (HU in CT), None in colour. `spacing_mm`: between rows, between columns; None if unknown. `photometric_interpretation` is
    the header's. `steps` says in words how `pixels` came from the stored values. `crop`: row and column of the image where `pixels`
    begin (0-based), (0, 0) unless a view cut something off. `padding`: bool (rows, columns), where the modality padded a grey frame (PS3.3
    C.7.5.1.1.2); None if nowhere.
    """

    pixels: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32] | None
    spacing_mm: tuple[float, float] | None
    ref: ImageRef
    modality: str
    photometric_interpretation: str
    steps: tuple[str, ...]
    crop: tuple[int, int] = (0, 0)
    padding: npt.NDArray[np.bool_] | None = None


def read_frames(path: Path, frame_numbers: Sequence[int], *, maximum_megapixels: float) -> Iterator[Frame]:
    """Yield the frames with these numbers (1-based) from a Part 10 file; a few that follow are decoded meanwhile, never all of them.

    Nothing is allocated that the file could not hold: the header is compared with the length of the pixel data, and a compressed frame's
    own size with the header, before anything is decoded. `maximum_megapixels`: millions of pixels in one frame.

    Raises:
        UndecodableError: the file, its header or a frame cannot be read, is too large, or has no such frame.
    """
    if len(frame_numbers) == 1:
        for job in _jobs(0, path, frame_numbers, maximum_megapixels):
            yield job.compute()
    else:
        for frames in read_ahead([(path, frame_numbers)], maximum_megapixels=maximum_megapixels):
            yield from frames


def read_ahead(files: Sequence[tuple[Path, Sequence[int]]], *, maximum_megapixels: float) -> Iterator[Iterator[Frame]]:
    """Yield for each file the frames that `read_frames` would, and its error in the same place; files that follow are decoded meanwhile.

    What is not taken of a file before the next is asked for is left out. One frame a processor and one more wait at most, and no more
    than 256 MB of them, or one.
    """
    jobs = (job for number, (path, numbers) in enumerate(files) for job in _jobs(number, path, numbers, maximum_megapixels))
    with (
        ThreadPoolExecutor(processors(), thread_name_prefix="decoding") as threads,
        closing(in_order(jobs, threads=threads, ahead=processors() + 1)) as decoded,
    ):
        source = _ByFile(decoded)
        try:
            for number in range(len(files)):
                yield source.frames_of(number)
        finally:
            source.closed = True


class _ByFile:
    """Frames in the order of their files, parted by file."""

    def __init__(self, decoded: "Iterator[tuple[int, Future[Frame]]]") -> None:
        self._decoded = decoded
        self._next: tuple[int, Future[Frame]] | None = None
        self.closed = False

    def frames_of(self, number: int) -> Iterator[Frame]:
        if self.closed:
            raise RuntimeError("frames have to be taken while their files are iterated")
        while (following := self._next or next(self._decoded, None)) is not None:
            self._next = following
            if following[0] > number:
                return
            self._next = None
            if following[0] == number:
                yield following[1].result()


def _jobs(number: int, path: Path, frame_numbers: Sequence[int], maximum_megapixels: float) -> Iterator[Job[Frame]]:
    """What there is to do for each frame; an error while the file is read takes the place of the frame that it was read for."""
    try:
        with _opened(path, maximum_megapixels) as pixel_data:
            header = pixel_data.header
            for frame_number in frame_numbers:
                with _refusing(header):
                    encoded = pixel_data.read(frame_number - 1)
                compute = partial(_frame, header, encoded, frame_number, little_endian=pixel_data.little_endian)
                yield Job(compute=compute, size=len(encoded.data) + _BYTES_A_SAMPLE * encoded.samples, group=number)
    except UndecodableError as exc:
        yield Job(compute=partial(_fail, exc), size=0, group=number)


def _fail(error: UndecodableError) -> Frame:
    raise error


@contextmanager
def _opened(path: Path, maximum_megapixels: float) -> Iterator[PixelData]:
    with ExitStack() as opened:
        with _refusing(Dataset()):
            file = opened.enter_context(path.open("rb"))
            refuse_inflation(path)
            header = dcmread(file, stop_before_pixels=True)
        with _refusing(header):
            pixel_data = open_pixel_data(file, header, maximum_megapixels=maximum_megapixels)
        yield pixel_data


@contextmanager
def _refusing(header: Dataset) -> Iterator[None]:
    """Make an UndecodableError of whatever a file or its header can cause."""
    try:
        yield
    except (PixelDataError, CodecError) as exc:
        raise UndecodableError(f"{_subject(header)}: {exc}") from exc
    except InvalidDicomError as exc:
        raise UndecodableError(
            f"{_subject(header)}: no DICOM file (PS3.10: preamble and DICM are missing); have the sender check it"
        ) from exc
    except FAULTS as exc:
        raise UndecodableError(
            f"{_subject(header)}: the file cannot be read ({type(exc).__name__}); have the sender check and resend it"
        ) from exc


def _frame(header: Dataset, encoded: EncodedFrame, frame_number: int, *, little_endian: bool) -> Frame:
    with _refusing(header):
        stored, decoded_as = DECODERS.decode(encoded)
        rendering = _render(stored, decoded_as, header, frame_number - 1, little_endian=little_endian)
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
            padding=rendering.padding,
        )


def _render(stored: Stored, decoded_as: str, header: Dataset, frame_index: int, *, little_endian: bool) -> Rendering:
    try:
        if decoded_as in _GREY:
            return grey(stored, header, frame_index, little_endian=little_endian)
        if decoded_as == "PALETTE COLOR":
            return palette(stored, header, little_endian=little_endian)
        if decoded_as == "RGB":
            return colour(stored, header)
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

"""Synthetic whole slides: a pyramid of a picture, and slides of any size that repeat a few encoded tiles. The patient is CANARY^PHI."""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from inference.selection import SelectedInstance
from inference.slides.levels import SLIDE_STORAGE
from tests.builders import patient_and_study, uid

Picture = NDArray[np.uint8]
Table = Literal["basic", "extended", "none"]

GLASS = (244, 242, 245)
TISSUE = (196, 130, 190)
LESION = (92, 60, 150)
_PIXEL_DATA = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_ITEM, _END = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, kw_only=True)
class LevelFacts:
    """What the header of a level says. `kind`: third value of Image Type."""

    rows: int
    columns: int
    tile: tuple[int, int] = (256, 256)
    spacing_um: float | None = 0.5
    frames: int | None = None
    kind: str = "VOLUME"
    series: str = "2.25.88"
    study: str = "2.25.7"
    number: int = 1

    @property
    def down(self) -> int:
        return -(-self.rows // self.tile[0])

    @property
    def across(self) -> int:
        return -(-self.columns // self.tile[1])


def header_of(level: LevelFacts, **attributes: object) -> Dataset:
    """The header of a TILED_FULL level in colour (PS3.3 A.32.8); keyword arguments set or (None) remove attributes."""
    header = patient_and_study(level.study)
    header.SOPClassUID, header.SOPInstanceUID = SLIDE_STORAGE, uid("slide", level.series, level.kind, level.number)
    header.SeriesInstanceUID, header.FrameOfReferenceUID = level.series, uid("glass", level.series)
    header.Modality, header.ImageType, header.InstanceNumber = "SM", ["ORIGINAL", "PRIMARY", level.kind, "NONE"], level.number
    header.Manufacturer, header.ContainerIdentifier, header.BurnedInAnnotation = "Phantom Works", "CANARY-ID", "NO"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "YBR_FULL_422", 0
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.Rows, header.Columns = level.tile
    header.NumberOfFrames = level.down * level.across if level.frames is None else level.frames
    header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = level.rows, level.columns
    header.TotalPixelMatrixFocalPlanes, header.NumberOfOpticalPaths = 1, 1
    header.DimensionOrganizationType, header.LossyImageCompression = "TILED_FULL", "01"
    if level.spacing_um is not None:
        measures, group = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [level.spacing_um / 1000] * 2, 0.001
        group.PixelMeasuresSequence = [measures]
        header.SharedFunctionalGroupsSequence = [group]
    for keyword, value in attributes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def write_level(path: Path, header: Dataset, frames: Iterator[bytes], *, table: Table = "basic") -> SelectedInstance:
    """Write encapsulated JPEG frames, one fragment each, without ever holding them; return the instance as a route would select it."""
    count = int(header.NumberOfFrames)
    with _opened(path, header, JPEGBaseline8Bit, count if table == "extended" else 0) as file:
        offsets, lengths, table_at = _write_frames(file, frames, entries=count if table == "basic" else 0)
    if table != "none":
        _fill_in(path, offsets, lengths, table_at, table)
    return SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True))


def jpeg(pixels: Picture, *, quality: int = 85) -> bytes:
    """One encoded frame, of even length."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:2")
    data = buffer.getvalue()
    return data + b"\0" * (len(data) % 2)


def tiles_of(picture: Picture, tile: tuple[int, int]) -> Iterator[Picture]:
    """The frames of a picture in the order of TILED_FULL, padded with white at the right and at the bottom."""
    rows, columns = picture.shape[:2]
    for top in range(0, rows, tile[0]):
        for left in range(0, columns, tile[1]):
            frame = np.full((*tile, 3), 255, dtype=np.uint8)
            part = picture[top : top + tile[0], left : left + tile[1]]
            frame[: part.shape[0], : part.shape[1]] = part
            yield frame


def pyramid(
    folder: Path,
    picture: Picture,
    *,
    spacing_um: float = 0.5,
    tile: tuple[int, int] = (128, 128),
    factors: Sequence[int] = (1, 4),
    table: Table = "basic",
    series: str = "2.25.88",
    **attributes: object,
) -> tuple[SelectedInstance, ...]:
    """Write the levels of a slide, each `factors` times smaller than the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, factor in enumerate(factors, start=1):
        level = np.asarray(Image.fromarray(picture).reduce(factor)) if factor > 1 else picture
        facts = LevelFacts(
            rows=level.shape[0], columns=level.shape[1], tile=tile, spacing_um=spacing_um * factor, series=series, number=number
        )
        frames = (jpeg(frame) for frame in tiles_of(level, tile))
        written.append(write_level(folder / f"level-{number}.dcm", header_of(facts, **attributes), frames, table=table))
    return tuple(written)


def section(rows: int, columns: int, *blobs: tuple[float, float, float, tuple[int, int, int]]) -> Picture:
    """Glass with discs of a colour: row, column and radius as shares of rows, columns and the shorter side. Grained like tissue."""
    grain = np.random.default_rng(7).normal(0, 6, (rows, columns, 1))
    picture = np.full((rows, columns, 3), GLASS, dtype=np.float64)
    row, column = np.mgrid[0:rows, 0:columns]
    for down, across, radius, colour in blobs:
        inside = (row - down * rows) ** 2 + (column - across * columns) ** 2 < (radius * min(rows, columns)) ** 2
        picture[inside] = colour
        picture[inside] += grain[inside]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def repeated(level: LevelFacts, tiles: Sequence[bytes], which: Callable[[int, int], int]) -> Iterator[bytes]:
    """Frames of a level of any size: `which` says for a row and column of frames the number of the tile."""
    for row in range(level.down):
        for column in range(level.across):
            yield tiles[which(row, column)]


@contextmanager
def _opened(path: Path, header: Dataset, transfer_syntax: str, extended: int) -> Iterator[BinaryIO]:
    if extended:
        header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths = b"\0" * 8 * extended, b"\0" * 8 * extended
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = transfer_syntax
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    dcmwrite(path, header, enforce_file_format=True)
    with path.open("r+b") as file:
        file.seek(0, io.SEEK_END)
        file.write(_PIXEL_DATA)
        yield file
        file.write(_END)


def _write_frames(file: BinaryIO, frames: Iterator[bytes], *, entries: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64], int]:
    file.write(_ITEM + struct.pack("<L", 4 * entries))
    table_at = file.tell()
    file.write(b"\0" * 4 * entries)
    first, offsets, lengths = file.tell(), [], []
    for frame in frames:
        offsets.append(file.tell() - first)
        lengths.append(len(frame))
        file.write(_ITEM + struct.pack("<L", len(frame)))
        file.write(frame)
    return np.array(offsets, dtype=np.uint64), np.array(lengths, dtype=np.uint64), table_at


def _fill_in(path: Path, offsets: NDArray[np.uint64], lengths: NDArray[np.uint64], table_at: int, table: Table) -> None:
    with path.open("r+b") as file:
        if table == "basic":
            file.seek(table_at)
            file.write(offsets.astype("<u4").tobytes())
            return
        head = file.read(table_at)
        at = head.index(struct.pack("<HH2s", 0x7FE0, 0x0001, b"OV"))
        file.seek(at + 12)
        file.write(offsets.astype("<u8").tobytes())
        file.seek(8 + 4, io.SEEK_CUR)
        file.write(lengths.astype("<u8").tobytes())


def write_native(path: Path, header: Dataset, frames: Sequence[Picture]) -> SelectedInstance:
    """Write a level that is not compressed."""
    header.PhotometricInterpretation, header.LossyImageCompression = "RGB", "00"
    header.PixelData = b"".join(frame.tobytes() for frame in frames)
    header["PixelData"].VR = "OB"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)
    return SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True))

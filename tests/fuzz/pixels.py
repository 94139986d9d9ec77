"""Files whose pixel data and the header of it contradict each other: sizes, bits, frames, samples, lengths, offset tables, codestreams.

A file gives frames of good numbers or an UndecodableError, and takes no more memory than a frame of the size that is allowed.
"""

import io
import random
import struct
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from inference.frames import UndecodableError, frame_count, read_frames
from tests.builders import CANARIES, ct_slice, phantom, radiograph
from tests.encodings import DEFLATED_IMAGE_FRAME, deflated, encapsulated
from tests.fuzz.mutation import INTERESTING, Mutator
from tests.peak_memory import peak_kb

MAXIMUM_MEGAPIXELS = 0.25
# A frame of that size: 0.75 million samples of 8 bytes, stored, as values and as displayed, and what a decoder needs beside.
_LARGEST_GROWTH_KB = 80_000
_US = ("SamplesPerPixel", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
_US += ("PixelPaddingValue", "PixelPaddingRangeLimit")
_TEXTS = {
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR", "ARGB", ""),
    "NumberOfFrames": ("0", "-1", "1", "2", "3", "4", "1000000", "2147483647", "99999999999", "x", "1e9"),
    "WindowWidth": ("0", "1", "0.5", "-1", "1e38", "nan", "x"),
    "WindowCenter": ("1e38", "-1e38", "inf", "1\\2"),
    "RescaleSlope": ("0", "-1", "1e38", "1e-38", "nan", "x"),
    "RescaleIntercept": ("1e38", "-1e38", "inf"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID", "CUBIC"),
    "PresentationLUTShape": ("INVERSE", "IDENTITY", "X"),
}
_SYNTAXES = tuple(
    UID(f"1.2.840.10008.1.2{rest}")
    for rest in ("", ".1", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".4.201", ".1.98")
)


def corpus() -> tuple[bytes, ...]:
    """Return small files of each kind of encoding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(_files())


def read(data: bytes) -> str:
    """Every frame that a header claims (at most 4): good numbers or UndecodableError, without the patient and without much memory."""
    before = peak_kb()
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.write(data)
        file.flush()
        outcome = _outcome(Path(file.name))
    grown = peak_kb() - before
    assert grown < _LARGEST_GROWTH_KB, f"a file of {len(data)} bytes took {grown} KB"
    return outcome


def _outcome(path: Path) -> str:
    shown = 0
    try:
        for number in (1, 2, 3, 4):
            for frame in read_frames(path, [number], maximum_megapixels=MAXIMUM_MEGAPIXELS):
                assert frame.pixels.dtype == np.float32
                assert frame.pixels.size, "a frame without pixels"
                assert 0 <= frame.pixels.min() <= frame.pixels.max() <= 1
                shown += 1
    except UndecodableError as exc:
        words = str(exc)
        assert not any(canary in words for canary in CANARIES), "a message quotes the data set"
        what = words.rsplit("): ", 1)[-1]
        return f"{shown} shown, " + "".join(letter for letter in what if not letter.isdigit())[:40]
    return f"{shown} shown"


def make(mutator: Mutator) -> bytes:
    """Return a file with a changed header, changed fragments, or changed bytes anywhere."""
    rng = mutator.rng
    kind = rng.random()
    if kind < 0.3:
        return mutator.changed()
    data = rng.choice(mutator.corpus)
    if kind < 0.75 and DEFLATED_IMAGE_FRAME.encode() not in data:  # which pydicom cannot write
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _with_another_header(rng, data)
    return _with_other_pixel_data(rng, bytearray(data))


def _with_another_header(rng: random.Random, data: bytes) -> bytes:
    header = dcmread(io.BytesIO(data))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.6:
            keyword = rng.choice(_US)
            small = rng.choice((0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 24, 31, 32, 64))
            value = rng.choice((small, small, rng.choice(INTERESTING) & 0xFFFF))
            header.add_new(keyword, "US", value)
        elif rng.random() < 0.9:
            keyword = rng.choice(tuple(_TEXTS))
            header.add_new(keyword, "LO", rng.choice(_TEXTS[keyword]))
        else:
            now = header.file_meta.TransferSyntaxUID
            header.file_meta.TransferSyntaxUID = rng.choice([uid for uid in _SYNTAXES if uid.is_encapsulated == now.is_encapsulated])
    return _bytes(header)


def _with_other_pixel_data(rng: random.Random, data: bytearray) -> bytes:
    """Offset tables, item lengths and the first bytes of codestreams, which is where sizes stand."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = rng.choice((1, 2, 4))
        place = rng.randrange(at, min(len(data), at + rng.choice((40, 100, 400)))) if at > 0 else rng.randrange(len(data))
        value = rng.choice((*INTERESTING, len(data), len(data) - at, rng.randrange(1 << 16)))
        data[place : place + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("big", "little")))
    return bytes(data)


def _files() -> list[bytes]:
    ramp = (phantom(32) // 4).astype(np.uint16)
    found = [_bytes(_plain(ramp, uid)) for uid in (UID("1.2.840.10008.1.2"), ExplicitVRLittleEndian, UID("1.2.840.10008.1.2.1.99"))]
    found += [_compressed(_plain(ramp), uid) for uid in (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless)]
    found += [_compressed(_colour(), uid) for uid in (RLELossless, JPEG2000Lossless, JPEGLSLossless)]
    found += [_frames(uid, table) for uid in (RLELossless, JPEGLSLossless, JPEG2000Lossless) for table in ("empty", "basic", "extended")]
    found += [_by_dcmtk(option) for option in ("+eb", "+ee", "+el", "+e1")]
    found += [_bytes(_colour()), _bytes(_palette()), _bytes(_bits()), _deflated_frame()]
    return [one for one in found if one]


def _plain(pixels: np.ndarray, transfer_syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    header = ct_slice(pixels=pixels, BitsStored=12, HighBit=11)
    header.add_new("PixelPaddingValue", "US", 0)
    return _with_meta(header, transfer_syntax)


def _colour() -> Dataset:
    header = radiograph(pixels=np.zeros((32, 32), np.uint8))
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.PixelData = bytes(range(256)) * 12
    return _with_meta(header)


def _palette() -> Dataset:
    header = radiograph(pixels=np.arange(256, dtype=np.uint8).reshape(16, 16), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        segments = [0, 1, 0, 1, 255, 65535]
        header.add_new(f"Segmented{name}PaletteColorLookupTableData", "OW", struct.pack("<6H", *segments))
    return _with_meta(header)


def _bits() -> Dataset:
    header = radiograph(pixels=np.zeros((5, 7), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    header.NumberOfFrames, header.PixelData = 3, bytes(range(14))
    return _with_meta(header)


def _frames(transfer_syntax: UID, table: str) -> bytes:
    """Three frames of two fragments each, or of one in RLE."""
    one = dcmread(io.BytesIO(_compressed(_plain(phantom(32)), transfer_syntax)))
    frame = get_frame(one.PixelData, 0, number_of_frames=1)
    fragments = 1 if transfer_syntax == RLELossless or table == "extended" else 2
    if table == "extended":
        one.PixelData, one.ExtendedOffsetTable, one.ExtendedOffsetTableLengths = encapsulate_extended([frame] * 3)
    else:
        one.PixelData = encapsulate([frame] * 3, fragments_per_frame=fragments, has_bot=table == "basic")
    one.NumberOfFrames = 3
    return _bytes(one)


def _deflated_frame() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        header = _plain(phantom(24))
        return encapsulated(Path(folder), header, [deflated(header.PixelData)], DEFLATED_IMAGE_FRAME).read_bytes()


def _by_dcmtk(option: str) -> bytes:
    pixels = phantom(24)
    header = radiograph(pixels=(pixels // 16).astype(np.uint8)) if option == "+eb" else radiograph(pixels=pixels, BitsStored=12, HighBit=11)
    with tempfile.TemporaryDirectory() as folder:
        plain, compressed = Path(folder) / "plain.dcm", Path(folder) / "compressed.dcm"
        plain.write_bytes(_bytes(_with_meta(header)))
        try:
            subprocess.run(["dcmcjpeg", "+un", option, str(plain), str(compressed)], check=True, capture_output=True)
        except FileNotFoundError:
            return b""
        return compressed.read_bytes()


def _compressed(header: Dataset, transfer_syntax: UID) -> bytes:
    options = {JPEGLSNearLossless: {"jls_error": 2}, RLELossless: {"encoding_plugin": "pydicom"}}.get(transfer_syntax, {})
    header.compress(transfer_syntax, generate_instance_uid=False, **options)
    return _bytes(header)


def _with_meta(header: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    for number, keyword in enumerate(("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")):
        if keyword in header:
            setattr(header, keyword, f"2.25.{number + 1}")  # a seed makes the same inputs again
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = transfer_syntax
    assert frame_count(header) == int(header.get("NumberOfFrames", 1))
    return header


def _bytes(header: Dataset) -> bytes:
    syntax, buffer = header.file_meta.TransferSyntaxUID, io.BytesIO()
    if "PixelData" in header:
        header["PixelData"].is_undefined_length = syntax.is_encapsulated
        header["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    implicit = syntax == "1.2.840.10008.1.2"
    dcmwrite(buffer, header, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()

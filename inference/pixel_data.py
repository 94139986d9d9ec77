"""The pixel data of one file: compared with what the header claims, then decoded one frame at a time with the plug-ins we name."""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL.Image import DecompressionBombError
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inference.attributes import UNUSABLE, number, text, uid
from inference.codestreams import pixels_claimed

_JPEG = ("pillow", "gdcm")
_JPEG_LS = ("pyjpegls", "gdcm")
_JPEG_2000 = ("pylibjpeg", "gdcm", "pillow")
# Named, because pydicom left to itself takes every plug-in that is installed, and its pylibjpeg plug-in reads JPEG and JPEG-LS with a GPL
# library (JPEG 2000 with a BSD one).
DECODING_PLUGINS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": ("gdcm",),
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    "1.2.840.10008.1.2.5": ("pydicom",),
}

NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian})

# What pydicom and the decoders raise. MemoryError is not among them: memory that runs out is worth another attempt, a broken file is not.
FAULTS = (*UNUSABLE, RuntimeError, AssertionError, ImportError, SystemError, InvalidDicomError, DecompressionBombError, zlib.error)

_KEYWORDS = {(0x7FE0, 0x0010): "PixelData", (0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloatPixelData"}
_EXPLICIT_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})
_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FRAGMENT_HEADER_BYTES = 8
_LONGEST_INFLATED_BYTES = 1 << 30
_META_GROUP_LENGTH_END = 144
_CHUNK_BYTES = 1 << 20
_RESEND = "ask the sender to send it again"
_NO_PIXEL_DATA = "the object has no pixel data; exclude it by a route if such objects are expected"


class PixelDataError(Exception):
    """Why the pixel data cannot be had, and what to do, in words without any value but sizes and plug-in names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a header says about its pixel data (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    frames: int
    photometric_interpretation: str

    @property
    def frame_bits(self) -> int:
        """The length of one native frame in bits. YBR_FULL_422 halves two of three samples (PS3.3 C.7.6.3.1.2)."""
        bits = self.rows * self.columns * self.samples_per_pixel * self.bits_allocated
        return bits * 2 // 3 if self.photometric_interpretation == "YBR_FULL_422" else bits


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelData:
    """Pixel data that was found and whose size is plausible. `source` is the open file at its value, or a data set that was inflated."""

    header: Dataset
    claim: Claim
    keyword: str
    vr: str
    transfer_syntax: UID
    source: BinaryIO | Dataset
    offset: int

    @property
    def little_endian(self) -> bool:
        return self.transfer_syntax.is_little_endian

    def decode(self, frame_index: int) -> tuple[npt.NDArray[np.generic], str]:
        """One frame (0-based), shape (rows, columns) or (rows, columns, samples), and its photometric interpretation after decoding.

        YBR_FULL and YBR_FULL_422 come out as RGB. The values are as stored otherwise, unused bits cleared and the sign extended.

        Raises:
            PixelDataError: there is no such frame, no plug-in reads the transfer syntax, or all that could failed.
        """
        if not 0 <= frame_index < self.claim.frames:
            raise PixelDataError(f"there is no frame {frame_index + 1}: the header says {self.claim.frames}")
        if self.transfer_syntax in NATIVE:
            return self._decode_with("", frame_index)
        self._refuse_oversized_codestream(frame_index)
        available = get_decoder(self.transfer_syntax).available_plugins
        return self._first_success([plugin for plugin in DECODING_PLUGINS[self.transfer_syntax] if plugin in available], frame_index)

    def _first_success(self, plugins: Sequence[str], frame_index: int) -> tuple[npt.NDArray[np.generic], str]:
        failures: list[Exception] = []
        for plugin in plugins:
            try:
                return self._decode_with(plugin, frame_index)
            except FAULTS as exc:
                failures.append(exc)
        if not failures:
            raise PixelDataError("the decoder for this transfer syntax is not installed; install it, or have the sender use another")
        raise PixelDataError(
            f"the compressed frame is damaged or of a kind that no decoder reads ({', '.join(plugins)}); {_RESEND}"
        ) from failures[0]

    def _decode_with(self, plugin: str, frame_index: int) -> tuple[npt.NDArray[np.generic], str]:
        decoder = get_decoder(self.transfer_syntax)
        if isinstance(self.source, Dataset):
            array, properties = decoder.as_array(self.source, index=frame_index)
        else:
            self.source.seek(self.offset)
            options = as_pixel_options(self.header, number_of_frames=self.claim.frames)
            options |= {"pixel_keyword": self.keyword, "transfer_syntax_uid": self.transfer_syntax, "pixel_vr": self.vr}
            array, properties = decoder.as_array(self.source, index=frame_index, decoding_plugin=plugin, **options)
        return array, str(properties["photometric_interpretation"])

    def _refuse_oversized_codestream(self, frame_index: int) -> None:
        """A codestream may claim another size than the header, and decoders allocate by the codestream."""
        if isinstance(self.source, Dataset):
            return
        self.source.seek(self.offset)
        offsets = as_pixel_options(self.header).get("extended_offsets")
        frame = get_frame(self.source, frame_index, extended_offsets=offsets, number_of_frames=self.claim.frames)
        claimed = pixels_claimed(frame)
        if claimed is not None and claimed > self.claim.rows * self.claim.columns:
            raise PixelDataError(f"the compressed frame claims {claimed} pixels, its header fewer; {_RESEND}")


def frame_count(header: Dataset) -> int:
    """How many frames the header claims; 1 if it says nothing, or something that is no positive number (PS3.3 C.7.6.6)."""
    claimed = number(header, "NumberOfFrames")
    return int(claimed) if claimed is not None and claimed >= 1 else 1


def open_pixel_data(file: BinaryIO, header: Dataset, *, maximum_megapixels: float) -> PixelData:
    """The pixel data of `file`, which stands where `header` was read to, and stays open while frames are decoded.

    Raises:
        PixelDataError: there is none, the transfer syntax is not supported, or the header claims more than the file holds or
            `maximum_megapixels` (millions of pixels in one frame) allow.
    """
    transfer_syntax = UID(uid(header.file_meta, "TransferSyntaxUID"))
    if transfer_syntax not in NATIVE and transfer_syntax not in DECODING_PLUGINS:
        raise PixelDataError("this transfer syntax is not supported; have the sender use Explicit VR Little Endian")
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return _inflated(file, maximum_megapixels)
    keyword, vr, length = _element(file, transfer_syntax)
    claim = _claim(header, keyword, maximum_megapixels)
    offset = file.tell()
    held = file.seek(0, os.SEEK_END) - offset
    if transfer_syntax in NATIVE:
        _refuse_short(claim, min(length, held))
    elif length != _UNDEFINED_LENGTH:
        raise PixelDataError(f"the pixel data is not encapsulated, as this transfer syntax demands; {_RESEND}")
    elif claim.frames * _FRAGMENT_HEADER_BYTES > held:
        raise PixelDataError(f"the header claims {claim.frames} frames, and the file is too short for them; {_RESEND}")
    return PixelData(header=header, claim=claim, keyword=keyword, vr=vr, transfer_syntax=transfer_syntax, source=file, offset=offset)


def refuse_inflation(path: Path) -> None:
    """Make sure that a deflated data set does not inflate beyond 1 GiB, since pydicom inflates all of it to read the header (PS3.5 A.5).

    Raises:
        PixelDataError: it would.
    """
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as file:
        file.seek(_META_GROUP_LENGTH_END + int(meta.FileMetaInformationGroupLength))
        inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (chunk := inflater.unconsumed_tail or file.read(_CHUNK_BYTES)):
            total += len(inflater.decompress(chunk, _CHUNK_BYTES))
            if total > _LONGEST_INFLATED_BYTES:
                raise PixelDataError("the deflated data set inflates beyond 1 GiB; have the sender use Explicit VR Little Endian")


def _inflated(file: BinaryIO, maximum_megapixels: float) -> PixelData:
    file.seek(0)
    header = dcmread(file)
    keyword = next((keyword for keyword in _KEYWORDS.values() if keyword in header), None)
    if keyword is None:
        raise PixelDataError(_NO_PIXEL_DATA)
    claim = _claim(header, keyword, maximum_megapixels)
    value = header[keyword].value
    _refuse_short(claim, len(value) if isinstance(value, bytes) else 0)
    return PixelData(
        header=header, claim=claim, keyword=keyword, vr="OW", transfer_syntax=DeflatedExplicitVRLittleEndian, source=header, offset=0
    )


def _element(file: BinaryIO, transfer_syntax: UID) -> tuple[str, str, int]:
    """Keyword, VR and length of the pixel data element; leaves `file` at its value (PS3.5 7.1).

    The bytes decide if there is a VR: some senders write Implicit VR under an explicit transfer syntax, and pydicom reads their headers.
    """
    order = "<" if transfer_syntax.is_little_endian else ">"
    try:
        group, element, vr = struct.unpack(f"{order}HH2s", file.read(6))
        keyword = _KEYWORDS[group, element]
        if vr in _EXPLICIT_VRS:
            (length,) = struct.unpack(f"{order}xxL", file.read(6))
            return keyword, vr.decode("ascii"), int(length)
        (length,) = struct.unpack(f"{order}L", vr + file.read(2))
        return keyword, "OW", int(length)
    except (struct.error, KeyError):
        raise PixelDataError(_NO_PIXEL_DATA) from None


def _claim(header: Dataset, keyword: str, maximum_megapixels: float) -> Claim:
    counts = [number(header, name) for name in ("Rows", "Columns", "SamplesPerPixel")]
    bits = _FLOAT_BITS.get(keyword) or number(header, "BitsAllocated")
    rows, columns, samples, bits_allocated = (int(count) if count is not None and count >= 1 else 0 for count in (*counts, bits))
    if not rows or not columns or not samples or not bits_allocated:
        raise PixelDataError(
            "Rows, Columns, Samples per Pixel or Bits Allocated is missing or no positive number; have the sender correct it"
        )
    if rows * columns > maximum_megapixels * 1e6:
        raise PixelDataError(
            f"a frame has {rows * columns / 1e6:.1f} megapixels, the limit is {maximum_megapixels:g}; "
            "raise the limit if such images are expected"
        )
    return Claim(
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=bits_allocated,
        frames=frame_count(header),
        photometric_interpretation=text(header, "PhotometricInterpretation"),
    )


def _refuse_short(claim: Claim, held: int) -> None:
    wanted = (claim.frame_bits * claim.frames + 7) // 8
    if wanted > held:
        raise PixelDataError(f"the header claims {wanted} bytes of pixel data, the file holds {held}; {_RESEND}")

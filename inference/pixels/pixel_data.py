"""The pixel data of one file: compared with what the header claims, then read one frame at a time."""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inference.attributes import number, text, uid
from inference.pixels.codecs import DECODING_PLUGINS, ENCAPSULATED, FRAMES_IN_NATIVE_ENCODING, RLE_LOSSLESS, EncodedFrame
from inference.pixels.codestreams import pixels_claimed
from inference.pixels.encapsulated import EncapsulatedFrames, EncapsulationError, extended_offset_table, open_encapsulated

NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian})

_KEYWORDS = {(0x7FE0, 0x0010): "PixelData", (0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloatPixelData"}
_EXPLICIT_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})
_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FRAGMENT_HEADER_BYTES = 8
_LONGEST_RUN = 64  # RLE: two bytes stand for 128 at most (PS3.5 G.3.1)
_LONGEST_INFLATED_BYTES = 1 << 30
_META_GROUP_LENGTH_END = 144
_CHUNK_BYTES = 1 << 20
_BITS_OF_A_BYTE = 8
_RESEND = "ask the sender to send it again"
_NO_PIXEL_DATA = "the object has no pixel data; exclude it by a route if such objects are expected"


class PixelDataError(Exception):
    """Why the pixel data cannot be had, and what to do, in words without any value but sizes and plug-in names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a header says about its pixel data (PS3.3 C.7.6.3). `bits_stored` and `pixel_representation` are 0 for floats."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    planar_configuration: int
    frames: int
    photometric_interpretation: str

    @property
    def frame_bits(self) -> int:
        """The length of one native frame in bits. YBR_FULL_422 halves two of three samples (PS3.3 C.7.6.3.1.2)."""
        bits = self.rows * self.columns * self.samples_per_pixel * self.bits_allocated
        return bits * 2 // 3 if self.photometric_interpretation == "YBR_FULL_422" else bits


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelData:
    """Pixel data that was found and whose size is plausible. `source`: the open file, or the value where a data set was inflated."""

    header: Dataset
    claim: Claim
    keyword: str
    vr: str
    transfer_syntax: UID
    source: BinaryIO | bytes
    offset: int
    encapsulated: EncapsulatedFrames | None = None

    @property
    def little_endian(self) -> bool:
        return self.transfer_syntax != ExplicitVRBigEndian

    def read(self, frame_index: int) -> EncodedFrame:
        """One frame (0-based) as it lies in the file; nothing of the others is kept.

        Raises:
            PixelDataError: there is no such frame, it is cut off, or it cannot hold what the header claims.
        """
        if not 0 <= frame_index < self.claim.frames:
            raise PixelDataError(f"there is no frame {frame_index + 1}: the header says {self.claim.frames}")
        claim, vr = self.claim, self.vr
        if self.encapsulated is not None:
            data = self._fragments(self.encapsulated, frame_index)
        elif self._is_swapped:
            data, vr = self._swapped(frame_index), "OB"
        else:
            data = self._bits(frame_index * claim.frame_bits, claim.frame_bits)
        return EncodedFrame(
            data=data,
            transfer_syntax=str(self.transfer_syntax),
            rows=claim.rows,
            columns=claim.columns,
            samples_per_pixel=claim.samples_per_pixel,
            bits_allocated=claim.bits_allocated,
            bits_stored=claim.bits_stored,
            high_bit=claim.high_bit,
            pixel_representation=claim.pixel_representation,
            planar_configuration=claim.planar_configuration,
            photometric_interpretation=claim.photometric_interpretation,
            keyword=self.keyword,
            vr=vr,
        )

    @property
    def _is_swapped(self) -> bool:
        """True for bytes in pairs, big endian (OW, PS3.5 8.1.1): a frame of odd length begins in the middle of a pair."""
        return not self.little_endian and self.vr == "OW" and self.claim.bits_allocated == _BITS_OF_A_BYTE

    def _swapped(self, frame_index: int) -> bytes:
        length = self.claim.frame_bits // _BITS_OF_A_BYTE
        start = frame_index * length
        first = start - start % 2
        pairs = np.frombuffer(self._bytes(first, start + length + (start + length) % 2 - first), "u2").byteswap().tobytes()
        return pairs[start - first :][:length]

    def _bits(self, start: int, length: int) -> bytes:
        """Frames of single bits follow each other without a gap (PS3.5 8.1.1), so one may begin inside a byte."""
        first, skipped = divmod(start, _BITS_OF_A_BYTE)
        data = self._bytes(first, (skipped + length + _BITS_OF_A_BYTE - 1) // _BITS_OF_A_BYTE)
        if not skipped:
            return data
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[skipped : skipped + length]
        return np.packbits(bits, bitorder="little").tobytes()

    def _bytes(self, start: int, length: int) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[self.offset + start :][:length]
        self.source.seek(self.offset + start)
        return self.source.read(length)

    def _fragments(self, encapsulated: EncapsulatedFrames, frame_index: int) -> bytes:
        """A codestream may claim another size than the header, and decoders allocate by the codestream."""
        try:
            data = encapsulated.frame(frame_index)
        except EncapsulationError as exc:
            raise PixelDataError(f"{exc}; {_RESEND}") from exc
        claim = self.claim
        pixels = claim.rows * claim.columns
        claimed = pixels_claimed(data) if self.transfer_syntax not in FRAMES_IN_NATIVE_ENCODING else None
        if claimed is not None and claimed > pixels:
            raise PixelDataError(f"the compressed frame claims {claimed} pixels, its header fewer; {_RESEND}")
        if self.transfer_syntax == RLE_LOSSLESS and _LONGEST_RUN * len(data) < claim.frame_bits // _BITS_OF_A_BYTE:
            raise PixelDataError(f"{len(data)} compressed bytes cannot hold a frame of {pixels} pixels; {_RESEND}")
        return data


def frame_count(header: Dataset) -> int:
    """How many frames the header claims; 1 if it says nothing, or something that is no positive number (PS3.3 C.7.6.6)."""
    claimed = number(header, "NumberOfFrames")
    return int(claimed) if claimed is not None and claimed >= 1 else 1


def open_pixel_data(file: BinaryIO, header: Dataset, *, maximum_megapixels: float) -> PixelData:
    """The pixel data of `file`, which stands where `header` was read to, and stays open while frames are read.

    Raises:
        PixelDataError: there is none, the transfer syntax is not supported, or the header claims more than the file holds or
            `maximum_megapixels` (millions of pixels in one frame) allow.
    """
    transfer_syntax = UID(uid(header.file_meta, "TransferSyntaxUID"))
    if transfer_syntax not in NATIVE and transfer_syntax not in ENCAPSULATED:
        raise PixelDataError("this transfer syntax is not supported; have the sender use Explicit VR Little Endian")
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return _inflated(file, maximum_megapixels)
    keyword, vr, length = _element(file, transfer_syntax)
    claim = _claim(header, keyword, maximum_megapixels)
    offset = file.tell()
    end = file.seek(0, os.SEEK_END)
    encapsulated = None
    if transfer_syntax in NATIVE:
        _refuse_short(claim, min(length, end - offset))
    elif length != _UNDEFINED_LENGTH:
        raise PixelDataError(f"the pixel data is not encapsulated, as this transfer syntax demands; {_RESEND}")
    elif claim.frames * _FRAGMENT_HEADER_BYTES > end - offset:
        raise PixelDataError(f"the header claims {claim.frames} frames, and the file is too short for them; {_RESEND}")
    else:
        encapsulated = _encapsulated(file, header, claim, offset, end)
    return PixelData(
        header=header,
        claim=claim,
        keyword=keyword,
        vr=vr,
        transfer_syntax=transfer_syntax,
        source=file,
        offset=offset,
        encapsulated=encapsulated,
    )


def _encapsulated(file: BinaryIO, header: Dataset, claim: Claim, offset: int, end: int) -> EncapsulatedFrames:
    file.seek(offset)
    extended = extended_offset_table(header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
    try:
        return open_encapsulated(file, end=end, frames=claim.frames, extended=extended)
    except EncapsulationError as exc:
        raise PixelDataError(f"{exc}; {_RESEND}") from exc


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
    value = value if isinstance(value, bytes) else b""
    _refuse_short(claim, len(value))
    return PixelData(
        header=header, claim=claim, keyword=keyword, vr="OW", transfer_syntax=DeflatedExplicitVRLittleEndian, source=value, offset=0
    )


def _element(file: BinaryIO, transfer_syntax: UID) -> tuple[str, str, int]:
    """Keyword, VR and length of the pixel data element; leaves `file` at its value (PS3.5 7.1).

    The bytes decide if there is a VR: some senders write Implicit VR under an explicit transfer syntax, and pydicom reads their headers.
    """
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
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
    bits_stored, representation = (int(_count(header, name, keyword)) for name in ("BitsStored", "PixelRepresentation"))
    return Claim(
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=int(number(header, "HighBit") or bits_stored - 1),
        pixel_representation=representation,
        planar_configuration=_planar_configuration(header, samples),
        frames=frame_count(header),
        photometric_interpretation=text(header, "PhotometricInterpretation"),
    )


def _count(header: Dataset, name: str, keyword: str) -> float:
    if keyword != "PixelData":
        return 0
    found = number(header, name)
    if found is None:
        raise PixelDataError("Bits Stored or Pixel Representation is missing or no number; have the sender correct it")
    return found


def _planar_configuration(header: Dataset, samples: int) -> int:
    """Source: PS3.3 C.7.6.3.1.3. Codestreams say for themselves how their samples lie; elsewhere a header without it is refused."""
    found = number(header, "PlanarConfiguration")
    if found is not None or samples == 1 or UID(uid(header.file_meta, "TransferSyntaxUID")) in DECODING_PLUGINS:
        return int(found or 0)
    raise PixelDataError("Planar Configuration is missing in a colour image; have the sender correct it")


def _refuse_short(claim: Claim, held: int) -> None:
    wanted = (claim.frame_bits * claim.frames + _BITS_OF_A_BYTE - 1) // _BITS_OF_A_BYTE
    if wanted > held:
        raise PixelDataError(f"the header claims {wanted} bytes of pixel data, the file holds {held}; {_RESEND}")

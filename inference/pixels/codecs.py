"""One encoded frame to its stored values, with the plug-ins that we name; a function of its argument, so that any process can run it."""

import zlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL.Image import DecompressionBombError
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import Decoder, ExplicitVRBigEndianDecoder, ExplicitVRLittleEndianDecoder, get_decoder
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

from inference.attributes import UNUSABLE
from inference.pixels import jpeg_extended

_JPEG = ("pillow", "gdcm")
_JPEG_LS = ("pyjpegls", "gdcm")
_JPEG_2000 = ("pylibjpeg", "gdcm", "pillow")
# Named, because pydicom left to itself takes every plug-in that is installed, and its pylibjpeg plug-in reads JPEG and JPEG-LS with a GPL
# library (JPEG 2000 with a BSD one, RLE with an MIT one).
DECODING_PLUGINS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": (*_JPEG, jpeg_extended.NAME),
    "1.2.840.10008.1.2.4.57": ("gdcm",),
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),
}
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
# Frames of native encoding, one a fragment (PS3.5 A.4, A.4.13): pydicom has no decoder for these, and none is needed.
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
FRAMES_IN_NATIVE_ENCODING = frozenset({ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME})
ENCAPSULATED = frozenset({*DECODING_PLUGINS, *FRAMES_IN_NATIVE_ENCODING})

# What a decoder may make of values that it need not give back exactly can leave the range of Bits Stored; then it is cut off, not wrapped.
_LOSSY = frozenset({"1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"})
_YBR, _YBR_BITS = frozenset({"YBR_FULL", "YBR_FULL_422"}), 8  # what the conversion is defined for (PS3.3 C.7.6.3.1.2)
_PANIC = "PanicException"  # of pyo3, which has no name to import
_ITEM = b"\xfe\xff\x00\xe0"
_EMPTY_OFFSET_TABLE = _ITEM + bytes(4)

# What pydicom and the decoders raise. MemoryError is not among them: memory that runs out is worth another attempt, a broken file is not.
FAULTS = (*UNUSABLE, RuntimeError, AssertionError, ImportError, SystemError, InvalidDicomError, DecompressionBombError, zlib.error)

Stored = npt.NDArray[Any]  # any integer or float type: what the header allocates


class CodecError(Exception):
    """Why a frame cannot be decoded, in words without any value."""


class EncodedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as it lies in the file, and what its header says about it (PS3.3 C.7.6.3). `vr` and `keyword` are of the pixel data."""

    data: bytes
    transfer_syntax: str
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    planar_configuration: int
    photometric_interpretation: str
    keyword: str
    vr: str

    @property
    def samples(self) -> int:
        """How many samples it has in all."""
        return self.rows * self.columns * self.samples_per_pixel

    @property
    def is_native(self) -> bool:
        """True if the samples lie there as the header says, compressed by nothing but Deflate."""
        return self.transfer_syntax not in DECODING_PLUGINS


def decode(frame: EncodedFrame) -> tuple[Stored, str]:
    """Stored values, shape (rows, columns) or (rows, columns, samples), and the photometric interpretation that they have now.

    YBR_FULL and YBR_FULL_422 come out as RGB. The values are of Bits Stored: other bits cleared, the sign extended (PS3.5 8.1.1).

    Raises:
        CodecError: no plug-in reads the transfer syntax, or all that could failed.
    """
    if frame.photometric_interpretation in _YBR and frame.bits_stored > _YBR_BITS:
        raise CodecError(f"{frame.photometric_interpretation} of more than 8 bits is not supported; have the sender use RGB")
    if frame.is_native:
        return _native(frame)
    decoder = _decoder(frame.transfer_syntax)
    plugins = [name for name in DECODING_PLUGINS[frame.transfer_syntax] if name in decoder.available_plugins]
    if not plugins:
        raise CodecError("the decoder for this transfer syntax is not installed; install it, or have the sender use another")
    item = _EMPTY_OFFSET_TABLE + _ITEM + len(frame.data).to_bytes(4, "little") + frame.data
    failures: list[BaseException] = []
    for plugin in plugins:
        try:
            values, interpretation = _decoded(decoder, frame, item, plugin)
            return _within_bits_stored(values, frame), interpretation
        except FAULTS as exc:
            failures.append(exc)
        except BaseException as exc:  # the RLE decoder is Rust: it panics about damaged data, and a panic is no Exception
            if type(exc).__name__ != _PANIC:
                raise
            failures.append(exc)
    raise CodecError(
        f"the compressed frame is damaged or of a kind that no decoder reads ({', '.join(plugins)}); ask the sender to send it again"
    ) from failures[0]


def _decoder(transfer_syntax: str) -> Decoder:
    decoder = get_decoder(UID(transfer_syntax))
    if jpeg_extended.is_available(transfer_syntax) and jpeg_extended.NAME not in decoder.available_plugins:
        decoder.add_plugin(jpeg_extended.NAME, (jpeg_extended.__name__, jpeg_extended.decode_frame.__name__))
    return decoder


def _native(frame: EncodedFrame) -> tuple[Stored, str]:
    data = _inflated(frame) if frame.transfer_syntax == DEFLATED_IMAGE_FRAME else frame.data
    big_endian = frame.transfer_syntax == EXPLICIT_BIG_ENDIAN
    decoder = ExplicitVRBigEndianDecoder if big_endian else ExplicitVRLittleEndianDecoder
    return _decoded(decoder, frame, data, "")


def _inflated(frame: EncodedFrame) -> bytes:
    """A raw Deflate stream (RFC 1951), of which no more is inflated than a frame has."""
    wanted = (frame.samples * frame.bits_allocated + 7) // 8
    try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame.data, wanted)
    except zlib.error as exc:
        raise CodecError("the deflated frame is damaged; ask the sender to send it again") from exc
    if len(data) < (wanted * 2 // 3 if frame.photometric_interpretation == "YBR_FULL_422" else wanted):
        raise CodecError("the deflated frame is shorter than its header says; ask the sender to send it again")
    return data


def _decoded(decoder: Decoder, frame: EncodedFrame, data: bytes, plugin: str) -> tuple[Stored, str]:
    options: dict[str, Any] = {
        "rows": frame.rows,
        "columns": frame.columns,
        "number_of_frames": 1,
        "samples_per_pixel": frame.samples_per_pixel,
        "bits_allocated": frame.bits_allocated,
        "photometric_interpretation": frame.photometric_interpretation,
        "pixel_keyword": frame.keyword,
        "pixel_vr": frame.vr,
        "planar_configuration": frame.planar_configuration,
    }
    shift = 0
    if frame.keyword == "PixelData":
        shift = _shift(frame)
        options |= {"bits_stored": frame.bits_stored + shift, "pixel_representation": frame.pixel_representation}
    array, properties = decoder.as_array(data, index=0, decoding_plugin=plugin, **options)
    return (array >> shift if shift else array), str(properties["photometric_interpretation"])


def _shift(frame: EncodedFrame) -> int:
    """How far above the lowest bit the stored bits begin (PS3.5 8.1.1), where cells are kept as they are: natively and in RLE."""
    above = frame.high_bit + 1 - frame.bits_stored
    cells_are_kept = frame.is_native or frame.transfer_syntax == RLE_LOSSLESS
    return above if cells_are_kept and frame.samples_per_pixel == 1 and 0 < above <= frame.bits_allocated - frame.bits_stored else 0


def _within_bits_stored(values: Stored, frame: EncodedFrame) -> Stored:
    """A codestream can have more bits than Bits Stored, with overlays in them (PS3.5 8.1.2); pydicom clears them in other encodings."""
    if frame.transfer_syntax not in JPEG2000TransferSyntaxes and frame.transfer_syntax not in JPEGLSTransferSyntaxes:
        return values
    bits = frame.bits_stored
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if frame.pixel_representation else (0, (1 << bits) - 1)
    if not values.size or (values.min() >= lowest and values.max() <= highest):
        return values
    if frame.transfer_syntax in _LOSSY:
        return np.clip(values, lowest, highest)
    unused = 8 * values.dtype.itemsize - bits
    return (values << unused) >> unused

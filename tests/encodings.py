"""The same synthetic picture in every encoding, made by the tests' peers: pydicom's encoders, DCMTK, openjpeg and zlib."""

import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ExplicitVRBigEndian, RLELossless

from tests.builders import ct_slice, radiograph, write_file

CODESTREAMS = Path(__file__).parent / "codestreams"
ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME = UID("1.2.840.10008.1.2.1.98"), UID("1.2.840.10008.1.2.8.1")
HTJ2K = tuple(UID(f"1.2.840.10008.1.2.4.{last}") for last in (201, 202, 203))
BY_DCMTK = {
    "1.2.840.10008.1.2.4.50": ("dcmcjpeg", "+eb"),
    "1.2.840.10008.1.2.4.51": ("dcmcjpeg", "+ee"),
    "1.2.840.10008.1.2.4.57": ("dcmcjpeg", "+el"),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", "+e1"),
    "1.2.840.10008.1.2.4.80": ("dcmcjpls", "+el"),
    "1.2.840.10008.1.2.4.81": ("dcmcjpls", "+en", "+md", "2"),
    "1.2.840.10008.1.2.5": ("dcmcrle",),
}


def waves(rows=61, columns=67, *, highest=4095):
    """Smooth hills up to `highest`, uint16; an odd number of odd rows, so that a frame of bytes has an odd length."""
    row, column = np.mgrid[0:rows, 0:columns]
    return np.rint((np.sin(row / 9) + np.cos(column / 7) + 2) / 4 * highest).astype(np.uint16)


def htj2k_picture():
    """What the codestreams in the folder of that name show."""
    row, column = np.mgrid[0:48, 0:40]
    return (row * 53 + column * 31 + ((row // 8 + column // 8) % 2) * 300).astype(np.uint16)


def twelve_bits(pixels=None, **attributes):
    """A CT slice of 12 bits stored."""
    return ct_slice(pixels=waves() if pixels is None else pixels, **({"BitsStored": 12, "HighBit": 11} | attributes))


def eight_bits(pixels=None, **attributes):
    """A radiograph of 8 bits without a window."""
    pixels = waves(highest=255) if pixels is None else pixels
    return radiograph(pixels=pixels.astype(np.uint8), WindowCenter=None, WindowWidth=None, **attributes)


def rainbow():
    """Three different channels, uint8 (61, 67, 3)."""
    grey = waves(highest=255)
    return np.stack([grey, np.roll(grey, 20, axis=1), 255 - grey], axis=-1).astype(np.uint8)


def colour(pixels=None, **attributes):
    """A radiograph of 8-bit RGB, by pixel; `pixels` has shape (rows, columns, 3)."""
    pixels = rainbow() if pixels is None else pixels
    header = eight_bits(pixels[..., 0])
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.PixelData = pixels.astype(np.uint8).tobytes()
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def several(frames, build=twelve_bits, **attributes):
    """A multi-frame object."""
    header = build(frames[0], **attributes)
    header.NumberOfFrames = len(frames)
    header.PixelData = np.stack(frames).astype(np.uint8 if header.BitsAllocated == 8 else np.uint16).tobytes()
    return header


def by_dcmtk(folder, header, transfer_syntax, *options):
    """Compress with DCMTK; the codestreams of a multi-frame object lie in one fragment each unless options say otherwise."""
    plain = write_file(folder / "plain.dcm", header)
    command = BY_DCMTK[transfer_syntax]
    target = folder / "by-dcmtk.dcm"
    subprocess.run([*command, *options, str(plain), str(target)], check=True, capture_output=True)
    return target


def by_pydicom(folder, header, transfer_syntax, **options):
    """Compress with pydicom's encoders: RLE, JPEG-LS (pyjpegls), JPEG 2000 (openjpeg)."""
    path = write_file(folder / "by-pydicom.dcm", header)
    compressed = dcmread(path)
    if transfer_syntax == RLELossless:
        options |= {"encoding_plugin": "pydicom"}  # GDCM's encoder aborts over frames of an odd length
    compressed.compress(transfer_syntax, generate_instance_uid=False, **options)
    return write_file(path, compressed, transfer_syntax=transfer_syntax)


def write_big_endian(path, header):
    """Write a header whose pixel data are in the order of Explicit VR Big Endian already."""
    write_file(path, header)
    header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    header.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=False)
    return path


def rewritten(path, **attributes):
    """The same file with another header."""
    header = dcmread(path)
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    header.save_as(path, enforce_file_format=True)
    return path


def encapsulated(folder, header, frames, transfer_syntax, **attributes):
    """Write codestreams as they are, one fragment a frame, with an empty offset table."""
    with_fragments(header, encapsulate(frames, has_bot=False))
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    if transfer_syntax != DEFLATED_IMAGE_FRAME:
        return write_file(folder / "encapsulated.dcm", header, transfer_syntax=transfer_syntax)
    path = write_file(folder / "encapsulated.dcm", header, transfer_syntax=ENCAPSULATED_UNCOMPRESSED)
    named = path.read_bytes().replace(ENCAPSULATED_UNCOMPRESSED.encode(), DEFLATED_IMAGE_FRAME.encode() + b"\0", 1)  # pydicom knows none
    path.write_bytes(named)
    return path


def with_fragments(header, value):
    """Give `header` a value of encapsulated pixel data."""
    header.PixelData = value
    header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
    return header


def native_frames(header):
    """The frames of an uncompressed header, as bytes."""
    length = len(header.PixelData) // int(header.get("NumberOfFrames", 1))
    return [header.PixelData[start : start + length] for start in range(0, len(header.PixelData), length)]


def deflated(frame):
    """One frame, compressed as PS3.5 A.4.13 says."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(frame) + deflater.flush()


def codestreams(path):
    """The codestreams of the frames in a file."""
    header = dcmread(path)
    return list(generate_frames(header.PixelData, number_of_frames=int(header.get("NumberOfFrames", 1))))


def has(command):
    return shutil.which(command) is not None

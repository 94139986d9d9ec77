"""JPEG Extended with 12-bit samples (process 4) by GDCM, as a plug-in for pydicom, whose own declines these.

GDCM chooses one of its three JPEG libraries by Bits Allocated, so it is told 12: told 16 it writes a complaint to the standard error and
then reads the frame all the same.
"""

import gdcm
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit

NAME = "gdcm-12-bit"
DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("python-gdcm>=3.0.24",)}
_BITS = 12


def is_available(uid: str) -> bool:
    """True for the one transfer syntax that this reads."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(codestream: bytes, runner: DecodeRunner) -> bytes:
    """The samples of one frame, 16 bits each, little endian.

    Raises:
        ValueError: the header speaks of other than 9 to 12 bits, or GDCM cannot read the codestream.
    """
    if not 8 < runner.bits_stored <= _BITS:  # noqa: PLR2004 - 8 bits are Pillow's
        raise ValueError("not 9 to 12 bits")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    interpretation = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(interpretation))
    if runner.samples_per_pixel > 1:
        image.SetPlanarConfiguration(runner.planar_configuration)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(runner.transfer_syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(runner.samples_per_pixel, _BITS, _BITS, _BITS - 1, 0))
    samples: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(samples) != 2 * runner.rows * runner.columns * runner.samples_per_pixel:
        raise ValueError("GDCM could not read the codestream")
    return samples

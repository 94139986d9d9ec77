"""DCMTK's renderer shows the same picture as we do, to one grey level in 255."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless, RLELossless

from inference.frames import UndecodableError, read_frames
from tests.builders import ct_slice, radiograph, write_file

pytestmark = pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="DCMTK is not installed")

WINDOW_OF_THE_HEADER = ("+Wi", "1")


def rendered_by_dcmtk(path, *options, command="dcm2pnm"):
    done = subprocess.run([command, "-q", *options, str(path)], capture_output=True, check=False)
    return np.asarray(Image.open(io.BytesIO(done.stdout))).astype(float) if done.returncode == 0 and done.stdout else None


def rendered_by_us(path):
    (frame,) = read_frames(path, [1], maximum_megapixels=100)
    return frame


def ramp():
    return np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)


@pytest.mark.parametrize(
    "header",
    [
        ct_slice(pixels=ramp()),
        radiograph(pixels=ramp()),
        radiograph(pixels=ramp(), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
        radiograph(pixels=ramp(), VOILUTFunction="SIGMOID"),
        radiograph(pixels=ramp(), BitsStored=12, HighBit=11),
    ],
    ids=["CT", "DX", "MONOCHROME1", "sigmoid", "12 bits"],
)
def test_the_same_grey_picture(tmp_path, header):
    path = write_file(tmp_path / "x.dcm", header)
    assert np.abs(rendered_by_us(path).pixels * 255 - rendered_by_dcmtk(path, *WINDOW_OF_THE_HEADER)).max() <= 1


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless])
def test_the_same_picture_after_compression(tmp_path, transfer_syntax):
    header = ct_slice(pixels=ramp())
    path = write_file(tmp_path / "x.dcm", header)
    theirs = rendered_by_dcmtk(path, *WINDOW_OF_THE_HEADER)
    header.compress(transfer_syntax, generate_instance_uid=False)
    write_file(path, header, transfer_syntax=transfer_syntax)
    assert np.abs(rendered_by_us(path).pixels * 255 - theirs).max() <= 1


@pytest.mark.skipif("DICOM_NODE_SHARED" not in os.environ, reason="needs the shared development data")
@pytest.mark.filterwarnings("ignore")
def test_the_development_data_looks_the_same():
    """Left out: 1-bit segmentations (DCMTK shows 1 as mid-grey) and JPEG in YBR that its header calls RGB (DCMTK believes the header)."""
    folder = Path(os.environ["DICOM_NODE_SHARED"]) / "data" / "dicom"
    compared = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "itkpocus_phantom.dcm"):
        try:
            frame = rendered_by_us(path)
        except UndecodableError:
            continue
        options = options_for(frame)
        theirs = None if options is None else rendered_by_dcmtk(path, *options, command="dcmj2pnm")
        if theirs is None or theirs.shape != frame.pixels.shape:
            continue
        shown = frame.pixels > 0 if "pixel padding shown black" in frame.steps else np.full(frame.pixels.shape, fill_value=True)
        assert np.abs(frame.pixels * 255 - theirs)[shown].mean() <= 1, path.name
        compared += 1
    assert compared >= 100


def options_for(frame):
    steps = " ".join(frame.steps)
    if frame.pixels.ndim == 3 or "8-bit values" in steps:
        return ()
    if "VOI LUT (header)" in steps:
        return ("+Wl", "1")
    return WINDOW_OF_THE_HEADER if "(header)" in steps else None

"""Files as frames: pictures as a viewer shows them, DICOM as the node reads it, and reasons where there is nothing to see."""

import numpy as np
import pytest
from PIL import Image

from dicom_node.evaluation.pictures import UnusableImageError, read_picture
from inference.frames import read_frames
from tests.builders import CANARIES, radiograph_file
from tests.labelled import labelled


def read(path, **facts):
    return read_picture(labelled(path, **facts), maximum_megapixels=1)


def refusal(path, **facts):
    with pytest.raises(UnusableImageError) as told:
        read(path, **facts)
    return told.value


def ramp(side=16):
    return np.arange(side * side, dtype=np.uint8).reshape(side, side)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_grey_picture_is_shown_from_black_to_white(tmp_path, suffix):
    Image.fromarray(ramp()).save(tmp_path / f"a.{suffix}")
    picture = read(tmp_path / f"a.{suffix}")
    assert picture.frame.pixels.dtype == np.float32
    assert picture.frame.pixels == pytest.approx(ramp() / 255)
    assert (picture.name, picture.frame.modality) == (f"a.{suffix}", "CR")


def test_sixteen_bits_are_kept(tmp_path):
    stored = np.array([[0, 257], [32896, 65535]], dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").frame.pixels == pytest.approx(stored / 65535)


def test_colour_stays_colour_and_equal_channels_become_grey(tmp_path):
    grey = np.repeat(ramp()[..., None], 3, axis=2)
    colour = grey.copy()
    colour[0, 0] = (255, 0, 0)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(colour).save(tmp_path / "colour.png")
    assert read(tmp_path / "grey.png").frame.pixels.shape == (16, 16)
    assert read(tmp_path / "colour.png").frame.pixels.shape == (16, 16, 3)


def test_a_jpeg_is_turned_as_its_header_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn clockwise
    Image.fromarray(np.zeros((8, 16), dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").frame.pixels.shape == (16, 8)


def test_an_opaque_picture_is_shown_and_a_transparent_one_refused(tmp_path):
    Image.fromarray(ramp()).convert("RGBA").save(tmp_path / "opaque.png")
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "glass.png")
    assert read(tmp_path / "opaque.png").frame.pixels == pytest.approx(ramp() / 255)
    assert "transparent" in str(refusal(tmp_path / "glass.png"))


def test_dicom_is_read_as_the_node_reads_it_and_named_by_its_uid(tmp_path):
    path = radiograph_file(tmp_path / "CANARY.dcm", PhotometricInterpretation="MONOCHROME1")
    picture = read(path)
    (frame,) = read_frames(path, [1], maximum_megapixels=1)
    assert (picture.frame.pixels == frame.pixels).all()
    assert "inverted (MONOCHROME1)" in picture.frame.steps
    assert picture.name == frame.ref.sop_instance_uid


def test_dicom_without_pixels_is_refused_without_its_name(tmp_path):
    told = refusal(radiograph_file(tmp_path / "CANARY.dcm", PixelData=None))
    assert "no pixel data" in str(told)
    assert not any(canary in f"{told}{told.name}" for canary in CANARIES)


def test_files_that_cannot_be_used_say_why(tmp_path):
    (tmp_path / "letter.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    Image.new("L", (1001, 1000)).save(tmp_path / "large.png")
    Image.new("F", (4, 4)).save(tmp_path / "float.tiff")
    assert str(refusal(tmp_path / "absent.png")) == "the file cannot be read (No such file or directory)"
    assert "neither a DICOM file" in str(refusal(tmp_path / "letter.png"))
    assert refusal(tmp_path / "letter.png").name == "letter.png"
    assert refusal(tmp_path / "half.png")
    assert "the limit is 1 megapixels" in str(refusal(tmp_path / "large.png"))
    assert "convert the file" in str(refusal(tmp_path / "float.tiff"))
    assert "only DICOM files have several" in str(refusal(tmp_path / "large.png", frame_number=2))


def test_a_file_that_may_be_dicom_is_not_named(tmp_path):
    assert refusal(tmp_path / "Doe^John").name == ""

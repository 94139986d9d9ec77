"""`dicom-node frames`: every object is on the sheet, with what was done to it in words, or the reason why there is no frame."""

import json

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage
from typer.testing import CliRunner

from dicom_node.commands import app
from tests.builders import CANARIES, ct_slice, radiograph, uid, write_file
from tests.embedded import MODEL

RUNNER = CliRunner()


def asked(*arguments):
    return RUNNER.invoke(app, ["frames", *map(str, arguments)])


@pytest.fixture
def study(tmp_path):
    """A radiograph behind a shutter, a CT slice, a report and a letter."""
    folder = tmp_path / "study"
    folder.mkdir()
    header = radiograph()
    header.ShutterShape = "RECTANGULAR"
    header.ShutterUpperHorizontalEdge, header.ShutterLowerHorizontalEdge = 9, 56
    header.ShutterLeftVerticalEdge, header.ShutterRightVerticalEdge = 17, 48
    write_file(folder / "a.dcm", header)
    write_file(folder / "b.dcm", ct_slice())
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality, report.PatientName = ComprehensiveSRStorage, uid(), "SR", CANARIES[0]
    write_file(folder / "c.dcm", report)
    (folder / "letter.txt").write_text(f"Dear {CANARIES[0]}")
    return folder


def test_each_object_is_told_with_size_transfer_syntax_and_steps_or_the_reason(study):
    answer = asked(study, "--json")
    assert answer.exit_code == 0
    radiograph_, ct, report, letter = json.loads(answer.stdout)
    assert (radiograph_["rows"], radiograph_["columns"], radiograph_["crop"]) == (48, 32, [8, 16])
    assert radiograph_["steps"] == ["window 2000/4000 (header)", "cropped to the Display Shutter of the header: 48 x 32 of 64 x 64"]
    assert radiograph_["transfer_syntax"] == "Explicit VR Little Endian"
    assert ct["steps"] == ["rescaled to HU", "window 40/400 (header)"]
    assert "has no pixel data" in report["reason"]
    assert letter["reason"]
    assert [one["number"] for one in (radiograph_, ct, report, letter)] == [1, 2, 3, 4]
    assert not any(canary in answer.output for canary in CANARIES)


def test_the_sheet_holds_a_tile_for_each_object(study, tmp_path):
    sheet = tmp_path / "sheet.png"
    answer = asked(study, "--output", sheet)
    assert answer.exit_code == 0
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[1] == 4 * 230 + 10
    assert np.ptp(picture[10:230, 10:230]) > 100


def test_a_sheet_of_many_objects_goes_on_on_further_pages(tmp_path):
    for number in range(37):
        write_file(tmp_path / f"{number:02}.dcm", ct_slice(number=number))
    assert asked(tmp_path, "--output", tmp_path / "sheet.png").exit_code == 0
    assert Image.open(tmp_path / "sheet-2.png").size[0] == 240


def test_a_models_own_views_and_size_are_shown(study, tmp_path):
    sheet = tmp_path / "sheet.png"
    answer = asked(study, "--model", MODEL, "--output", sheet, "--json")
    assert answer.exit_code == 0
    assert sheet.exists()
    assert "no model 'nobody'; installed: gatekeeper" in asked(study, "--model", "nobody").output.replace("\n", " ")


def test_several_frames_of_one_object_are_spread_evenly(tmp_path):
    frames = np.stack([np.full((8, 8), 100 * number, dtype=np.uint16) for number in range(10)])
    header = ct_slice(pixels=frames[0], NumberOfFrames=10)
    header.PixelData = frames.tobytes()
    write_file(tmp_path / "ct.dcm", header)
    assert [one["frame_number"] for one in json.loads(asked(tmp_path, "--frames-each", 2, "--json").stdout)] == [3, 8]


def test_where_nothing_can_be_shown_the_command_fails_and_says_why_for_each(tmp_path):
    write_file(tmp_path / "broken.dcm", radiograph(PixelData=b"\0" * 8))
    answer = asked(tmp_path, "--json")
    assert answer.exit_code == 1
    (one,) = json.loads(answer.stdout)
    assert "the file holds 8" in one["reason"]


def test_a_folder_that_cannot_be_written_to_is_told(study, tmp_path):
    answer = asked(study, "--output", tmp_path / "nowhere" / "sheet.png")
    assert answer.exit_code == 1
    assert "cannot write" in answer.output

"""`dicom-node routes` and `dicom-node check-config`, as a person or a script runs them."""

import json
from pathlib import Path

import typer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from config import load
from dicom_node.commands import routes
from dicom_node.commands.check_config import check_config
from tests.builders import radiograph_header as radiograph

SHIPPED = load(None)[1].routes
RUNNER = CliRunner()

checking = typer.Typer()
checking.command()(check_config)


def save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_routes_explain_tells_a_folder_study_by_study(tmp_path: Path) -> None:
    save(radiograph("CHEST"), tmp_path / "a.dcm")
    save(radiograph("HAND", "1.2.9"), tmp_path / "b.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    result = RUNNER.invoke(routes.app, ["explain", str(tmp_path), "--json"])
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert {study["study_instance_uid"]: [route["route"] for route in study["routes"]] for study in answer["studies"]} == {
        "1.2.3": ["chest-radiograph"],
        "1.2.9": ["hand-radiograph"],
    }
    assert answer["unreadable"] == [str(tmp_path / "notes.txt")]
    assert "CANARY" not in result.output


def test_routes_explain_prints_the_rules_for_a_person(tmp_path: Path) -> None:
    result = RUNNER.invoke(routes.app, ["explain", str(save(radiograph(), tmp_path / "a.dcm"))])
    assert result.exit_code == 0
    assert "chest-radiograph: selected" in result.output
    assert "yes Modality is one of CR, DX, RG: Modality matched (DX)" in result.output
    assert "CANARY" not in result.output


def test_routes_explain_fails_if_nothing_is_dicom_and_is_asked_wrongly_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert RUNNER.invoke(routes.app, ["explain", str(tmp_path)]).exit_code == 1
    assert RUNNER.invoke(routes.app, ["explain", str(tmp_path / "absent")]).exit_code == 2


def test_routes_list_names_every_route_in_order() -> None:
    result = RUNNER.invoke(routes.app, ["list", "--json"])
    assert [route["name"] for route in json.loads(result.stdout)] == [route.name for route in SHIPPED]
    assert "not-analysed" in RUNNER.invoke(routes.app, ["list"]).output


def test_check_config_says_ok_or_tells_every_mistake(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("receive: {calling_ae_titles: [CT1]}\n")
    assert RUNNER.invoke(checking, [str(good)]).output.startswith("OK: ")
    bad = tmp_path / "bad.yaml"
    bad.write_text("work: {batch: 1}\nnode: {sight: north}\n")
    result = RUNNER.invoke(checking, [str(bad)])
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.output.splitlines()] == ["work.batch", "node.sight"]
    as_json = RUNNER.invoke(checking, [str(bad), "--json"])
    assert as_json.exit_code == 1
    assert [(one["line"], one["field"]) for one in json.loads(as_json.stdout)["mistakes"]] == [(1, "work.batch"), (2, "node.sight")]


def test_check_config_says_that_nobody_may_send_yet() -> None:
    result = RUNNER.invoke(checking, [])
    assert result.exit_code == 1
    assert "receive.calling_ae_titles: nobody may associate" in result.output

"""The commands that need no running node, as their users call them."""

import json

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from dicom_node.commands import app
from dicom_node.demo.studies import DATA_FOLDER
from tests.builders import CANARIES, radiograph_file, uid
from tests.node.running import run

RUNNER = CliRunner()
COMMANDS = (
    *("demo", "serve", "receive", "work", "deliver", "schedule", "send", "analyse", "frames", "status", "requeue"),
    *("routes", "models", "flags", "audit", "check-config", "evaluate", "train-embedded", "probe", "version"),
)


def test_help_lists_every_command_and_each_shows_an_example():
    listed = RUNNER.invoke(app, ["--help"]).stdout
    assert [name for name in COMMANDS if name not in listed] == []
    for name in COMMANDS:
        if name not in {"routes", "models", "flags", "audit"}:
            assert "Example:" in RUNNER.invoke(app, [name, "--help"]).stdout, name


def test_version_names_the_node_and_what_its_results_depend_on():
    versions = json.loads(run("version", "--json").stdout)
    assert {"dicom-node", "python", "pydicom", "torch", "open_clip_torch"} <= set(versions)


def test_analyse_writes_a_report_and_a_table_without_any_pacs(tmp_path):
    done = run("analyse", DATA_FOLDER / "01-chest-normal-adult", "--reports", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Not a diagnosis" in done.stdout
    (report,) = (tmp_path / "out").glob("*.dcm")
    assert dcmread(report).VerificationFlag == "UNVERIFIED"


def test_analyse_as_json_gives_scores_with_their_provenance(tmp_path):
    broken = tmp_path / "letter.txt"
    broken.write_text("no DICOM at all")
    study = uid()
    done = run("analyse", radiograph_file(tmp_path / "a.dcm", study_uid=study), broken, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [analysis["study_instance_uid"] for analysis in answer["analyses"]] == [study]
    assert [skipped["path"] for skipped in answer["skipped"]] == [str(broken)]
    assert not any(canary in done.stdout + done.stderr for canary in CANARIES)


def test_analyse_of_nothing_that_is_dicom_fails_with_words(tmp_path):
    (tmp_path / "letter.txt").write_text("no DICOM at all")
    done = run("analyse", tmp_path)
    assert done.returncode == 1
    assert "none of 1 files is a DICOM instance" in done.stderr


def test_a_mistake_in_the_settings_is_named_with_file_line_and_field(tmp_path):
    settings = tmp_path / "node.yaml"
    settings.write_text("receive:\n  port: 11112\n  calling_ae_titels: [CT1]\n")
    done = run("check-config", settings)
    assert done.returncode == 1
    assert f"{settings}:3: receive.calling_ae_titels" in "".join((done.stdout + done.stderr).split("\n"))


def test_a_node_that_nobody_may_send_to_does_not_start(tmp_path):
    settings = tmp_path / "node.yaml"
    settings.write_text("node: {data_folder: here}\n")
    done = run("serve", "--config", settings)
    assert done.returncode == 1
    assert "nobody may associate" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["requeue", "1.2.3"], ["probe"]])
def test_asking_a_node_that_never_ran_says_so(command, tmp_path):
    settings = tmp_path / "node.yaml"
    settings.write_text("node: {data_folder: here}\n")
    done = run(*command, "--config", settings)
    assert done.returncode == 1
    assert "no node has run here yet" in done.stderr
    assert not (tmp_path / "here").exists()


def test_a_damaged_ledger_is_told_and_left_alone(tmp_path):
    (tmp_path / "here").mkdir()
    ledger = tmp_path / "here" / "ledger.sqlite"
    ledger.write_bytes(b"this is no database" * 100)
    settings = tmp_path / "node.yaml"
    settings.write_text("node: {data_folder: here}\n")
    done = run("status", "--config", settings)
    assert done.returncode == 1
    assert "cannot open the ledger" in done.stderr
    assert ledger.read_bytes() == b"this is no database" * 100

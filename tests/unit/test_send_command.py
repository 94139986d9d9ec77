"""`dicom-node send`: exit codes and what it prints."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from dicom_node.commands import app
from tests.receiving import CALLED, CALLING, ct_slice, receiving, write_file


def test_the_command_ends_with_0_if_everything_was_accepted_and_says_so(tmp_path: Path) -> None:
    write_file(tmp_path / "slice.dcm", ct_slice())
    with capture_logs(), receiving(tmp_path / "node") as node:
        to = f"127.0.0.1:{node.port}"
        done = CliRunner().invoke(
            app, ["send", str(tmp_path / "slice.dcm"), "--to", to, "--called", CALLED, "--calling", CALLING, "--json"]
        )
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["accepted"] == 1
    assert answer["files"][0]["status"] == "0x0000"


def test_the_command_ends_with_1_if_something_was_not_sent(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    with receiving(tmp_path / "node") as node:
        done = CliRunner().invoke(app, ["send", str(tmp_path / "notes.txt"), "--to", f"127.0.0.1:{node.port}"])
    assert done.exit_code == 1
    assert "not sent" in done.stdout


@pytest.mark.parametrize("to", ["nowhere", "host:", ":104", "host:0", "host:99999"])
def test_the_command_ends_with_2_if_it_was_asked_wrongly(tmp_path: Path, to: str) -> None:
    (tmp_path / "a").touch()
    assert CliRunner().invoke(app, ["send", str(tmp_path / "a"), "--to", to]).exit_code == 2

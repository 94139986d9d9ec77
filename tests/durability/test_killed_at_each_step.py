"""SIGKILL between every effect and its record: what was acknowledged still ends in exactly one report."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread

from dicom_node.demo.archive import Archive
from dicom_node.emulator import send_files
from dicom_node.ledger import Ledger
from tests.builders import radiograph_file
from tests.durability.one_process_node import KILLABLE
from tests.waiting import eventually

NODE = Path(__file__).with_name("one_process_node.py")
ROOT = Path(__file__).parents[2]
QUALITY_ONLY = {"name": "quality-only", "when": [{"attribute": "Modality", "equals": "DX"}]}
ROUTES = {"routes": [QUALITY_ONLY, {"name": "rest", "no_analysis": "no route"}]}


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as archive:
        yield archive


@pytest.fixture
def settings_file(tmp_path, archive):
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(ROUTES))
    settings = {
        "node": {"data_folder": "node"},
        "receive": {"host": "127.0.0.1", "port": 0, "calling_ae_titles": ["XRAY"], "reserve_mb": 0},
        "settle": {"quiet_s": 0.5},
        "work": {"parallel_studies": 1, "retry_s": 0.1},
        "deliver": {"retry_s": 0.1},
        "routes_file": "routes.yaml",
        "destinations": [{"name": "archive", "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE", "kind": "c-store"}],
    }
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def start(settings_file, point):
    (settings_file.parent / "node" / "receive.port").unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, NODE, settings_file, point], env=environment)


def port_of(settings_file, process):
    path = settings_file.parent / "node" / "receive.port"
    eventually(lambda: process.poll() is not None or (path.exists() and path.read_text()), "the node listens", timeout_s=60)
    return int(path.read_text())


def send(settings_file, process, path):
    (sent,) = send_files([path], host="127.0.0.1", port=port_of(settings_file, process), called="DICOM-NODE", calling="XRAY")
    return sent.accepted


@pytest.mark.parametrize("method", KILLABLE)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_node_that_is_killed_reports_every_acknowledged_study_once(moment, method, tmp_path, settings_file, archive):
    study = radiograph_file(tmp_path / "study.dcm")
    doomed = start(settings_file, f"{moment}:{method}")
    try:
        send(settings_file, doomed, study)
        assert doomed.wait(timeout=60) == -signal.SIGKILL
    finally:
        doomed.kill()
    survivor = start(settings_file, "never")
    try:
        assert send(settings_file, survivor, study), "a modality that got no answer sends again"
        ledger = Ledger(f"sqlite:///{tmp_path / 'node' / 'ledger.sqlite'}")
        eventually(lambda: states(ledger) == ["DELIVERED"], "the report is delivered", timeout_s=60)
    finally:
        survivor.send_signal(signal.SIGTERM)
        survivor.wait(timeout=30)
    (report,) = archive.received()
    assert dcmread(report.path).StudyInstanceUID == dcmread(study).StudyInstanceUID
    (row,) = ledger.study_rows()
    assert (row.revision, row.instances) == (1, 1)
    assert files(tmp_path / "node" / "objects" / "incoming") == []
    assert len(files(tmp_path / "node" / "objects" / "received")) == 1
    ledger.close()


def states(ledger):
    return [item.state for row in ledger.study_rows() for item in row.work_items]


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]

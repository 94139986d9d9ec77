"""The demonstration's archive, asked by DCMTK."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.demo.archive import Archive
from tests.peers.reports import structured_report

SYSTEM_PATH = "/usr/bin:/usr/local/bin:/opt/homebrew/bin"  # pynetdicom installs programs of the same names in the environment
pytestmark = pytest.mark.skipif(shutil.which("storescu", path=SYSTEM_PATH) is None, reason="DCMTK is not installed (apt-get install dcmtk)")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", ae_title="PACS") as running:
        yield running


def dcmtk(program: str, archive: Archive, *arguments: str) -> int:
    path = shutil.which(program, path=SYSTEM_PATH)
    assert path is not None
    command = [path, "-aet", "A-MODALITY", "-aec", archive.ae_title, *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode


def store(archive: Archive, *files: Path) -> int:
    # --required: DCMTK 3.6.7 proposes Comprehensive 3D SR only when a file needs it.
    return dcmtk("storescu", archive, "--required", archive.host, str(archive.port), *map(str, files))


def test_it_answers_c_echo(archive: Archive) -> None:
    assert dcmtk("echoscu", archive, archive.host, str(archive.port)) == 0


def test_it_lists_what_it_got_in_order_with_who_sent_it_and_how_often(archive: Archive, tmp_path: Path) -> None:
    files = []
    for uid in ("2.25.2", "2.25.1"):
        files.append(tmp_path / f"{uid}.dcm")
        files[-1].write_bytes(structured_report(uid))
    assert store(archive, *files, files[0]) == 0
    received = archive.received()
    assert [(stored.sop_instance_uid, stored.times_received) for stored in received] == [("2.25.2", 2), ("2.25.1", 1)]
    assert {(stored.sop_class_uid, stored.calling_ae_title) for stored in received} == {(Comprehensive3DSRStorage, "A-MODALITY")}
    assert [dcmread(stored.path) for stored in received] == [dcmread(file) for file in files]
    assert received[0].received_at < received[1].received_at


def test_waiting_ends_with_the_object_or_with_the_time(archive: Archive, tmp_path: Path) -> None:
    assert not archive.wait_for(lambda received: len(received) == 1, timeout_s=0.05)
    (tmp_path / "report.dcm").write_bytes(structured_report("2.25.1"))
    assert store(archive, tmp_path / "report.dcm") == 0
    assert archive.wait_for(lambda received: len(received) == 1, timeout_s=5)

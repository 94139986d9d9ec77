"""DCMTK's storescu and echoscu as senders: what they sent is what lies in the store."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_node.emulator import files_in, send_files
from dicom_node.keeping.part10 import read_file_meta
from tests.receiving import CALLED, CALLING, ct_slice, receiving, write_file

SHARED = os.environ.get("DICOM_NODE_SHARED", "")


def dcmtk(tool: str) -> str:
    """Return the path of a DCMTK tool; pynetdicom installs scripts of the same names beside Python, which are not meant."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(tool, path=folder)
        if found and b"dcmtk" in subprocess.run([found, "--version"], capture_output=True, check=False).stdout:
            return found
    pytest.skip(f"DCMTK's {tool} is not installed")


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([dcmtk(tool), *arguments], capture_output=True, text=True, timeout=60, check=False)


def data_set_of(path: Path) -> bytes:
    with path.open("rb") as file:
        read_file_meta(file)
        return file.read()


def test_echoscu_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        answer = run("echoscu", "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(node.port))
    assert answer.returncode == 0, answer.stderr


def test_storescu_sends_a_series_over_two_associations_at_once(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{number:02}.dcm", ct_slice(generate_uid(), rows=128)) for number in range(10)]
    tool = dcmtk("storescu")
    with receiving(tmp_path / "node") as node:
        command = [tool, "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(node.port)]
        senders = [subprocess.Popen([*command, *map(str, paths[half::2])]) for half in range(2)]
        assert [sender.wait(timeout=60) for sender in senders] == [0, 0]
        assert len(node.kept_data_sets()) == 10
        for instance in node.recorder.instances:
            assert dcmread(node.store.absolute(instance.path)).pixel_array[0, 0] == 7


def test_storescu_is_told_why_it_may_not_associate(tmp_path: Path) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    with receiving(tmp_path / "node") as node:
        stranger = run("storescu", "-aet", "STRANGER", "-aec", CALLED, "127.0.0.1", str(node.port), str(path))
        wrong_number = run("storescu", "-aet", CALLING, "-aec", "SOMEBODY", "127.0.0.1", str(node.port), str(path))
    assert "Calling AE Title Not Recognized" in stranger.stderr
    assert "Called AE Title Not Recognized" in wrong_number.stderr


def test_storescu_sees_the_status_of_a_refused_instance(tmp_path: Path) -> None:
    data_set = ct_slice()
    del data_set.StudyInstanceUID
    path = write_file(tmp_path / "odd.dcm", data_set)
    with receiving(tmp_path / "node") as node:
        answer = run("storescu", "-v", "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(node.port), str(path))
    assert "A900" in answer.stdout + answer.stderr or "DataSetDoesNotMatchSOPClass" in answer.stdout + answer.stderr


@pytest.mark.skipif(not SHARED, reason="DICOM_NODE_SHARED is not set")
def test_every_real_file_is_accounted_for_and_kept_byte_for_byte(tmp_path: Path) -> None:
    paths = files_in([Path(SHARED) / "data" / "dicom"])
    with receiving(tmp_path) as node:
        results = send_files(paths, host="127.0.0.1", port=node.port, called=CALLED, calling=CALLING, associations=2)
        kept = node.kept_data_sets().values()
    statuses = Counter(sent.status for sent in results)
    assert set(statuses) <= {0x0000, 0xA900, None}
    assert statuses[0x0000] >= 0.9 * len(paths)
    assert all(sent.reason for sent in results if not sent.accepted)
    accepted = {data_set_of(sent.path) for sent in results if sent.accepted}
    assert accepted == set(kept)

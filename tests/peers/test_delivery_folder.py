"""Results into a folder."""

import threading
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from config.destinations import FolderDestination
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, open_channel
from tests.peers.reports import outgoing, structured_report

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report(UID))
    return path


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


def channel_to(folder: Path) -> DeliveryChannel:
    return open_channel(FolderDestination(name="share", folder=folder), calling_ae_title="DICOM-NODE")


def test_the_file_lies_there_whole_under_its_uid_and_nothing_else(report: Path, outbox: Path) -> None:
    receipt = channel_to(outbox).deliver(outgoing(report, SR, UID))
    assert (receipt.destination, receipt.status, receipt.accepted, receipt.warning) == ("share", "written", True, False)
    assert [path.name for path in outbox.iterdir()] == [f"{UID}.dcm"]
    assert (outbox / f"{UID}.dcm").read_bytes() == report.read_bytes()


def test_the_same_content_again_is_success_and_leaves_the_file_alone(report: Path, outbox: Path) -> None:
    channel = channel_to(outbox)
    channel.deliver(outgoing(report, SR, UID))
    before = (outbox / f"{UID}.dcm").stat()
    receipt = channel.deliver(outgoing(report, SR, UID))
    assert (receipt.status, receipt.accepted) == ("present", True)
    after = (outbox / f"{UID}.dcm").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_another_content_under_the_same_uid_is_never_overwritten(report: Path, outbox: Path) -> None:
    (outbox / f"{UID}.dcm").write_bytes(b"somebody else's")
    with pytest.raises(failures.ResultConflictError, match=UID):
        channel_to(outbox).deliver(outgoing(report, SR, UID))
    assert (outbox / f"{UID}.dcm").read_bytes() == b"somebody else's"
    assert len(list(outbox.iterdir())) == 1


def test_many_senders_of_one_result_leave_one_whole_file(report: Path, outbox: Path) -> None:
    statuses: list[str] = []
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        statuses.append(channel_to(outbox).deliver(outgoing(report, SR, UID)).status)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ["present"] * 7 + ["written"]
    assert [path.read_bytes() for path in outbox.iterdir()] == [report.read_bytes()]


def test_a_folder_that_is_not_there_is_a_share_that_is_not_mounted(report: Path, tmp_path: Path) -> None:
    with pytest.raises(failures.DestinationUnreachableError, match=r"ENOENT.*mounted"):
        channel_to(tmp_path / "share").deliver(outgoing(report, SR, UID))
    assert not (tmp_path / "share").exists()


def test_a_result_whose_file_is_gone_is_named(outbox: Path, tmp_path: Path) -> None:
    with pytest.raises(failures.ResultMissingError, match=UID):
        channel_to(outbox).deliver(outgoing(tmp_path / "gone.dcm", SR, UID))


@pytest.mark.parametrize("uid", ["../../escape", "1.2/3", "", "1." + "2" * 64, "1.02", "1.2\n"])
def test_what_is_no_uid_never_becomes_a_path(report: Path, outbox: Path, uid: str) -> None:
    with pytest.raises(failures.ResultUnsuitableError):
        channel_to(outbox).deliver(outgoing(report, SR, uid))
    assert list(outbox.iterdir()) == []

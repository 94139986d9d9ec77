"""Results to an archive over a real association."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage, ImplicitVRLittleEndian

from config.destinations import CStoreDestination
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, open_channel
from dicom_node.demo.archive import Archive
from tests.peers.reports import outgoing, structured_report
from tests.peers.scripted import ABORT, SILENCE, scripted_archive, silent_listener, unused_port

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report(UID))
    return path


def channel_to(port: int, *, ae_title: str = "ARCHIVE", timeout_s: float = 5) -> DeliveryChannel:
    destination = CStoreDestination(name="pacs", host="127.0.0.1", port=port, ae_title=ae_title, timeout_s=timeout_s)
    return open_channel(destination, calling_ae_title="DICOM-NODE")


def encoded_data_set(part_10: bytes) -> bytes:
    group_length_end = 144
    return part_10[group_length_end + int.from_bytes(part_10[140:144], "little") :]


def test_the_archive_holds_the_data_set_byte_for_byte_as_it_lies_in_the_store(report: Path, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        receipt = channel_to(archive.port).deliver(outgoing(report, SR, UID))
        (stored,) = archive.received()
    assert (receipt.destination, receipt.status, receipt.accepted, receipt.warning) == ("pacs", "0x0000", True, False)
    assert (stored.sop_class_uid, stored.sop_instance_uid, stored.calling_ae_title) == (SR, UID, "DICOM-NODE")
    assert encoded_data_set(stored.path.read_bytes()) == encoded_data_set(report.read_bytes())
    assert stored.received_at <= receipt.at


def test_sending_again_after_a_crash_leaves_one_object_in_the_archive(report: Path, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        channel = channel_to(archive.port)
        assert [channel.deliver(outgoing(report, SR, UID)).accepted for _ in range(2)] == [True, True]
        (stored,) = archive.received()
    assert stored.times_received == 2


def test_an_archive_that_takes_only_implicit_vr_gets_the_same_content_in_it(report: Path) -> None:
    with scripted_archive(0x0000, sop_class_uid=SR, transfer_syntaxes=(ImplicitVRLittleEndian,)) as (port, requests):
        assert channel_to(port).deliver(outgoing(report, SR, UID)).accepted
    assert requests[0].context.transfer_syntax == ImplicitVRLittleEndian
    assert requests[0].dataset == dcmread(report)


def test_explicit_vr_is_preferred_where_both_are_taken(report: Path) -> None:
    with scripted_archive(0x0000, sop_class_uid=SR, transfer_syntaxes=(ImplicitVRLittleEndian, "1.2.840.10008.1.2.1")) as (port, requests):
        channel_to(port).deliver(outgoing(report, SR, UID))
    assert requests[0].context.transfer_syntax == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_is_accepted_and_marked(report: Path, status: int) -> None:
    with scripted_archive(status, sop_class_uid=SR) as (port, _):
        receipt = channel_to(port).deliver(outgoing(report, SR, UID))
    assert (receipt.status, receipt.accepted, receipt.warning) == (f"0x{status:04X}", True, True)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, failures.StoreFailedError),
        (0xA7FE, failures.StoreFailedError),
        (0x0110, failures.StoreFailedError),
        (0x0124, failures.StoreFailedError),
        (0xB123, failures.StoreFailedError),
        (0x4711, failures.StoreFailedError),
        (0xA900, failures.StoreRefusedError),
        (0xA9FE, failures.StoreRefusedError),
        (0x0117, failures.StoreRefusedError),
        (0x0122, failures.StoreRefusedError),
        (0xC000, failures.StoreRefusedError),
        (0xC123, failures.StoreRefusedError),
    ],
)
def test_any_other_status_is_not_delivered_and_kept_as_it_came(report: Path, status: int, error: type[failures.DeliveryError]) -> None:
    with (
        scripted_archive(status, sop_class_uid=SR) as (port, _),
        pytest.raises(error, match=f"pacs answered 0x{status:04X} for {UID}") as info,
    ):
        channel_to(port).deliver(outgoing(report, SR, UID))
    assert info.value.status == f"0x{status:04X}"
    assert type(info.value) is error


def test_an_archive_without_the_sop_class_is_named_with_what_to_do(report: Path) -> None:
    with (
        scripted_archive(0x0000, sop_class_uid=CTImageStorage) as (port, requests),
        pytest.raises(failures.PresentationContextRefusedError, match=r"Comprehensive 3D SR Storage .* enable that SOP class"),
    ):
        channel_to(port).deliver(outgoing(report, SR, UID))
    assert not requests


def test_an_archive_that_does_not_know_us_is_named_with_its_reason(report: Path) -> None:
    with (
        scripted_archive(0x0000, sop_class_uid=SR, calling_ae_titles=("SOMEBODY-ELSE",)) as (port, _),
        pytest.raises(failures.AssociationRejectedError, match=r"Rejected Permanent.*[Cc]alling AE title not recognised.*'DICOM-NODE'"),
    ):
        channel_to(port).deliver(outgoing(report, SR, UID))


def test_nobody_at_the_port_is_unreachable(report: Path) -> None:
    with pytest.raises(failures.DestinationUnreachableError, match=r"pacs is not reachable at 127\.0\.0\.1"):
        channel_to(unused_port()).deliver(outgoing(report, SR, UID))


def test_a_name_that_does_not_resolve_is_unreachable(report: Path) -> None:
    destination = CStoreDestination(name="pacs", host="no-such-archive.invalid", port=104, ae_title="ARCHIVE", timeout_s=2)
    with pytest.raises(failures.DestinationUnreachableError, match="no-such-archive"):
        open_channel(destination, calling_ae_title="DICOM-NODE").deliver(outgoing(report, SR, UID))


def test_a_peer_that_takes_the_connection_and_says_nothing_is_an_aborted_association(report: Path) -> None:
    with silent_listener() as port, pytest.raises(failures.AssociationAbortedError, match="did not answer"):
        channel_to(port, timeout_s=0.3).deliver(outgoing(report, SR, UID))


def test_an_archive_that_never_answers_the_c_store_is_an_empty_answer(report: Path) -> None:
    with scripted_archive(SILENCE, sop_class_uid=SR) as (port, requests), pytest.raises(failures.EmptyAnswerError, match=UID) as info:
        channel_to(port, timeout_s=0.4).deliver(outgoing(report, SR, UID))
    assert len(requests) == 1
    assert info.value.status == ""


def test_an_abort_in_the_middle_is_an_empty_answer(report: Path) -> None:
    with scripted_archive(ABORT, sop_class_uid=SR) as (port, _), pytest.raises(failures.EmptyAnswerError, match=UID):
        channel_to(port).deliver(outgoing(report, SR, UID))


def test_a_result_whose_file_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(failures.ResultMissingError, match=UID):
        channel_to(unused_port()).deliver(outgoing(tmp_path / "gone.dcm", SR, UID))


@pytest.mark.parametrize("content", [b"", b"no DICOM", structured_report("2.25.99")])
def test_a_file_that_is_not_that_result_never_leaves_the_node(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.dcm"
    path.write_bytes(content)
    with Archive(tmp_path / "archive") as archive:
        with pytest.raises(failures.ResultUnsuitableError, match=UID):
            channel_to(archive.port).deliver(outgoing(path, SR, UID))
        assert archive.received() == ()


def test_no_failure_names_the_patient(report: Path) -> None:
    with scripted_archive(0xA900, sop_class_uid=SR) as (port, _), pytest.raises(failures.StoreRefusedError) as info:
        channel_to(port).deliver(outgoing(report, SR, UID))
    assert "CANARY" not in str(info.value)

"""Which SOP class an archive gets a report in: the richest that it takes, found once and remembered."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)

from config.destinations import CStoreDestination
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, Outgoing, open_channel
from dicom_node.demo.archive import Archive
from reporting import as_variant
from tests.conformance.sr_documents import analysis, encode
from tests.peers.reports import outgoing, structured_report
from tests.peers.scripted import cutting_relay, picky_archive
from tests.peers.sending import Outbox, delivering

ALL = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)
REPORT = encode(analysis())


@pytest.fixture
def report(tmp_path: Path) -> Outgoing:
    path = tmp_path / "report.dcm"
    path.write_bytes(REPORT.data)
    return outgoing(path, REPORT.sop_class_uid, REPORT.sop_instance_uid)


def archive_at(port: int, **settings: object) -> CStoreDestination:
    return CStoreDestination.model_validate(
        {"name": "pacs", "host": "127.0.0.1", "port": port, "ae_title": "SCRIPTED", "timeout_s": 5} | settings
    )


def channel_to(port: int, **settings: object) -> DeliveryChannel:
    return open_channel(archive_at(port, **settings), calling_ae_title="DICOM-NODE")


@pytest.mark.parametrize("taken", [ALL, ALL[1:], ALL[2:], ALL[3:], (BasicTextSRStorage, EnhancedSRStorage)])
def test_the_richest_that_is_accepted_is_sent_in_one_association(report: Outgoing, taken: Sequence[str]) -> None:
    richest = next(uid for uid in ALL if uid in taken)
    expected = as_variant(REPORT.data, richest)
    with picky_archive(dict.fromkeys(taken, 0x0000)) as (port, requests, proposals):
        receipt = channel_to(port).deliver(report)
    assert (receipt.status, receipt.sop_class_uid, receipt.sop_instance_uid) == ("0x0000", richest, expected.sop_instance_uid)
    assert proposals == [ALL]
    (request,) = requests
    assert request.dataset.SOPInstanceUID == expected.sop_instance_uid


def test_once_it_is_known_only_that_one_is_proposed(report: Outgoing, tmp_path: Path) -> None:
    known = outgoing(report.path, report.sop_class_uid, report.sop_instance_uid, accepted_as=EnhancedSRStorage)
    with picky_archive({EnhancedSRStorage: 0x0000}) as (port, _, proposals):
        assert channel_to(port).deliver(known).sop_class_uid == EnhancedSRStorage
    assert proposals == [(EnhancedSRStorage,)]


def test_an_archive_that_changed_its_mind_is_offered_everything_again(report: Outgoing) -> None:
    known = outgoing(report.path, report.sop_class_uid, report.sop_instance_uid, accepted_as=EnhancedSRStorage)
    with picky_archive({ComprehensiveSRStorage: 0x0000}) as (port, _, proposals):
        assert channel_to(port).deliver(known).sop_class_uid == ComprehensiveSRStorage
    assert proposals == [(EnhancedSRStorage,), ALL]


def test_a_class_that_is_accepted_and_then_not_supported_is_followed_by_the_next(report: Outgoing) -> None:
    answers = {Comprehensive3DSRStorage: 0x0122, ComprehensiveSRStorage: 0x0122, EnhancedSRStorage: 0xB000}
    with picky_archive(answers) as (port, requests, proposals):
        receipt = channel_to(port).deliver(report)
    assert (receipt.status, receipt.warning, receipt.sop_class_uid) == ("0xB000", True, EnhancedSRStorage)
    assert (len(requests), len(proposals)) == (3, 1)


def test_another_failure_is_not_answered_with_a_poorer_report(report: Outgoing) -> None:
    answers = {Comprehensive3DSRStorage: 0xA900, ComprehensiveSRStorage: 0x0000}
    with picky_archive(answers) as (port, requests, _), pytest.raises(failures.StoreRefusedError, match="0xA900"):
        channel_to(port).deliver(report)
    assert len(requests) == 1


def test_only_what_the_destination_may_get_is_proposed(report: Outgoing) -> None:
    with picky_archive(dict.fromkeys(ALL, 0x0000)) as (port, _, proposals):
        receipt = channel_to(port, variants=("enhanced", "comprehensive")).deliver(report)
    assert proposals == [(ComprehensiveSRStorage, EnhancedSRStorage)]
    assert receipt.sop_class_uid == ComprehensiveSRStorage


def test_an_archive_that_takes_none_is_named_with_all_that_was_offered(report: Outgoing) -> None:
    with (
        picky_archive({SecondaryCaptureImageStorage: 0x0000}) as (port, requests, _),
        pytest.raises(
            failures.PresentationContextRefusedError, match=r"Comprehensive 3D SR Storage.*Basic Text SR Storage.*enable"
        ) as info,
    ):
        channel_to(port).deliver(report)
    assert not requests
    assert failures.judge(info.value) is failures.Verdict.GIVE_UP


def test_the_probe_says_as_what_reports_are_taken_and_stores_nothing(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        told = open_channel(archive_at(archive.port, ae_title="ARCHIVE"), calling_ae_title="DICOM-NODE").probe()
        assert archive.received() == ()
    assert told == "C-ECHO 0x0000, reports as comprehensive-3d, comprehensive, enhanced, basic-text"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "node")
    yield box
    box.ledger.close()


def due(outbox: Outbox, revision: int) -> str:
    """Make one more report due and return its SOP Instance UID."""
    made = encode(analysis(revision=revision))
    outbox.add(
        outbox.keep(made.data, uid=made.sop_instance_uid, sop_class_uid=made.sop_class_uid, destinations=("pacs",)),
        study=f"2.25.{revision}",
    )
    return made.sop_instance_uid


def test_what_an_archive_takes_is_remembered_over_a_restart(outbox: Outbox) -> None:
    with picky_archive({ComprehensiveSRStorage: 0x0000}) as (port, requests, proposals):
        first = due(outbox, 1)
        with delivering(outbox, archive_at(port)):
            outbox.wait_for({first: "ACCEPTED"})
        second = due(outbox, 2)
        with delivering(outbox, archive_at(port)):
            outbox.wait_for({first: "ACCEPTED", second: "ACCEPTED"})
        third = due(outbox, 3)
        with delivering(outbox, archive_at(port), capability_days=0):
            outbox.wait_for({first: "ACCEPTED", second: "ACCEPTED", third: "ACCEPTED"})
    assert proposals == [ALL, (ComprehensiveSRStorage,), ALL], "after a time everything is offered anew"
    assert [record.sent_sop_class_uid for record in outbox.records()] == [ComprehensiveSRStorage] * 3
    assert [record.sent_sop_instance_uid for record in outbox.records()] == [request.dataset.SOPInstanceUID for request in requests]


def test_text_without_codes_is_the_last_resort_and_loudly_logged(outbox: Outbox) -> None:
    uid = due(outbox, 1)
    with (
        structlog.testing.capture_logs() as logs,
        picky_archive({BasicTextSRStorage: 0x0000}) as (port, requests, _),
        delivering(outbox, archive_at(port)),
    ):
        outbox.wait_for({uid: "ACCEPTED"})
    (line,) = [log for log in logs if log["event"] == "report_sent_as_plain_text"]
    assert line["log_level"] == "error"
    assert requests[0].dataset.SOPClassUID == BasicTextSRStorage


@pytest.fixture
def large(tmp_path: Path) -> Outgoing:
    path = tmp_path / "large.dcm"
    path.write_bytes(structured_report("2.25.9", text="long " * 1_500_000))
    return outgoing(path, Comprehensive3DSRStorage, "2.25.9")


def test_an_archive_that_ends_the_connection_in_the_middle_of_an_object_has_not_got_it(large: Outgoing, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive, cutting_relay(archive.port, after_bytes=2_000_000) as port:
        with pytest.raises(failures.DeliveryError) as info:
            channel_to(port).deliver(large)
        assert archive.received() == ()
    assert isinstance(info.value, failures.EmptyAnswerError | failures.AssociationAbortedError)
    assert failures.judge(info.value) is failures.Verdict.RETRY


def test_an_archive_that_stops_reading_in_the_middle_of_an_object_does_not_hold_the_lane_for_ever(large: Outgoing, tmp_path: Path) -> None:
    started = time.monotonic()
    with Archive(tmp_path / "archive") as archive, cutting_relay(archive.port, after_bytes=2_000_000, freeze=True) as port:
        with pytest.raises(failures.DeliveryError) as info:
            channel_to(port, timeout_s=1).deliver(large)
        assert archive.received() == ()
    assert failures.judge(info.value) is failures.Verdict.RETRY
    assert time.monotonic() - started < 15


def test_the_bandwidth_limit_holds_and_is_no_time_out(tmp_path: Path) -> None:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report("2.25.9", text="long " * 30_000))
    with Archive(tmp_path / "archive") as archive:
        started = time.monotonic()
        receipt = channel_to(archive.port, maximum_bytes_per_s=100_000, timeout_s=1, ae_title="ARCHIVE").deliver(
            outgoing(path, Comprehensive3DSRStorage, "2.25.9", kind="secondary-capture")
        )
    assert receipt.status == "0x0000"
    assert time.monotonic() - started > 150_000 / 100_000

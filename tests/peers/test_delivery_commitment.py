"""Storage commitment: what an archive takes the duty to keep, what it refuses, and what it never answers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom.uid import Comprehensive3DSRStorage
from pynetdicom.dimse import DIMSEServiceProvider

from config.destinations import CStoreDestination, StorageCommitmentSection
from dicom_node.delivery.commitment import CommitmentAsker
from dicom_node.ledger.commitments import CommitmentRequest
from tests.peers.orthanc import Modality, OrthancPeer, find_orthanc
from tests.peers.reports import structured_report
from tests.peers.scripted import unused_port
from tests.peers.scripted_commitment import CommittingArchive, committing_archive, report_to
from tests.peers.sending import Outbox, delivering
from tests.waiting import eventually

SR = str(Comprehensive3DSRStorage)
ONE, TWO = "2.25.1001", "2.25.1002"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "node")
    box.add(
        *(box.keep(structured_report(uid), uid=uid, sop_class_uid=SR, destinations=("pacs",), kind=f"kind-{uid}") for uid in (ONE, TWO))
    )
    yield box
    box.ledger.close()


def archive_at(archive_port: int, ae_title: str = "ARCHIVE", **commitment: float) -> CStoreDestination:
    section = StorageCommitmentSection.model_validate({"wait_s": 0.5, **commitment})
    return CStoreDestination(name="pacs", host="127.0.0.1", port=archive_port, ae_title=ae_title, timeout_s=5, storage_commitment=section)


def test_a_report_on_the_same_association_commits_what_it_names(outbox: Outbox) -> None:
    with committing_archive(CommittingArchive()) as archive, delivering(outbox, archive_at(archive.port)):
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
    assert sorted(archive.stored) == [ONE, TWO]
    assert set(archive.answers) == {0x0000}
    (first, second) = outbox.records()
    assert (first.status, first.commit_requests, second.commit_requests) == ("0x0000", 1, 1)
    assert f"committed: pacs: {ONE} is kept" in outbox.events()


def test_a_report_on_an_association_of_the_archives_own_commits_too(outbox: Outbox) -> None:
    archive = CommittingArchive(report_to=unused_port())
    with (
        committing_archive(archive),
        delivering(outbox, archive_at(archive.port, wait_s=0), commitment_port=archive.report_to),
    ):
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
    assert set(archive.answers) == {0x0000}


def test_no_release_overtakes_the_answer_to_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    send = DIMSEServiceProvider.send_msg

    def send_slowly(provider: DIMSEServiceProvider, primitive: Any, context_id: int) -> None:
        time.sleep(0.2)
        send(provider, primitive, context_id)

    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", send_slowly)
    request = CommitmentRequest(delivery_id=1, study_instance_uid="2.25.42", sop_class_uid=SR, sop_instance_uid=ONE, requests=1)
    with committing_archive(CommittingArchive()) as archive:
        destination = archive_at(archive.port)
        asker = CommitmentAsker(destination, StorageCommitmentSection(), calling_ae_title="DICOM-NODE")
        asker.ask("2.25.1", (request,), lambda _event: (0x0000, None))
    assert archive.answers == [0x0000]


def test_several_instances_are_asked_for_in_one_transaction(outbox: Outbox) -> None:
    with committing_archive(CommittingArchive(reports=False)) as archive:
        with delivering(outbox, archive_at(archive.port, report_timeout_s=3600, wait_s=0)):
            outbox.wait_for({ONE: "ACCEPTED", TWO: "ACCEPTED"})
            eventually(lambda: sum(len(instances) for _, instances in archive.requests) == 2, "both were asked for")
        assert len({transaction for transaction, _ in archive.requests}) == len(archive.requests)


def test_without_a_report_the_archive_is_asked_again_in_a_new_transaction_and_in_the_end_an_operator(outbox: Outbox) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        committing_archive(CommittingArchive(reports=False)) as archive,
        delivering(outbox, archive_at(archive.port, report_timeout_s=0, maximum_requests=3, wait_s=0)),
    ):
        eventually(lambda: [log for log in logs if log["event"] == "commitment_given_up"][1:], "both were given up")
    assert len({transaction for transaction, _ in archive.requests}) == len(archive.requests)
    assert outbox.states() == {ONE: "ACCEPTED", TWO: "ACCEPTED"}, "what was accepted stays accepted; it is never called committed"
    assert {record.error for record in outbox.records()} == {"no storage commitment report after 3 requests"}


def test_an_instance_that_the_archive_does_not_have_is_sent_again(outbox: Outbox) -> None:
    archive = CommittingArchive(reasons={TWO: 0x0112})
    with committing_archive(archive), delivering(outbox, archive_at(archive.port)):
        eventually(lambda: archive.stored.count(TWO) >= 2, "it was sent again")
        archive.reasons.clear()
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
    assert archive.stored.count(ONE) == 1
    assert any("not committed, Failure Reason 0x0112: it does not have the instance" in event for event in outbox.events())


@pytest.mark.parametrize(
    ("reason", "state", "words"),
    [
        (0x0119, "FAILED", "Failure Reason 0x0119: it has that UID as another SOP class"),
        (0x0122, "ACCEPTED", "Failure Reason 0x0122: it commits itself to no instance of that SOP class"),
    ],
)
def test_a_refusal_is_recorded_with_its_reason_and_the_others_are_committed(outbox: Outbox, reason: int, state: str, words: str) -> None:
    archive = CommittingArchive(reasons={TWO: reason})
    with (
        structlog.testing.capture_logs() as logs,
        committing_archive(archive),
        delivering(outbox, archive_at(archive.port)),
    ):
        eventually(lambda: [log for log in logs if log["event"] == "result_not_committed"], "an operator was told")
        outbox.wait_for({ONE: "COMMITTED", TWO: state})
    assert words in str(outbox.records()[1].error)
    assert archive.stored.count(TWO) == 1


@pytest.mark.parametrize(("of_one", "of_two"), [(0x0110, 0x0213), (0x0131, 0x4711)])
def test_a_reason_that_may_pass_is_asked_about_again(outbox: Outbox, of_one: int, of_two: int) -> None:
    archive = CommittingArchive(reasons={ONE: of_one, TWO: of_two})
    with committing_archive(archive), delivering(outbox, archive_at(archive.port)):
        eventually(lambda: len({uid for _, instances in archive.requests[2:] for uid in instances}) == 2, "both were asked about again")
        archive.reasons.clear()
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
    assert sorted(archive.stored) == [ONE, TWO]


def test_an_n_action_that_fails_is_tried_again(outbox: Outbox) -> None:
    archive = CommittingArchive(action_status=0x0110)
    with structlog.testing.capture_logs() as logs, committing_archive(archive), delivering(outbox, archive_at(archive.port)):
        eventually(lambda: [log for log in logs if log["event"] == "commitment_not_asked"], "the failure is told")
        archive.action_status = 0x0000
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
    assert {log["status"] for log in logs if log["event"] == "commitment_not_asked"} == {"0x0110"}


def test_a_report_of_success_that_does_not_name_an_instance_commits_nothing(outbox: Outbox) -> None:
    archive = CommittingArchive(lose=True)
    with committing_archive(archive), delivering(outbox, archive_at(archive.port, report_timeout_s=3600)):
        eventually(lambda: sum(len(instances) for _, instances in archive.requests) == 2, "both were asked for")
        eventually(lambda: len(archive.answers) == len(archive.requests), "it reported on each request")
    assert outbox.states() == {ONE: "ACCEPTED", TWO: "ACCEPTED"}


def test_nobody_can_report_on_a_transaction_that_was_not_told_to_him(outbox: Outbox) -> None:
    archive = CommittingArchive(reports=False)
    with committing_archive(archive), delivering(outbox, archive_at(archive.port, wait_s=0), commitment_port=0) as ports:
        outbox.wait_for({ONE: "ACCEPTED", TWO: "ACCEPTED"})
        eventually(lambda: archive.requests, "it was asked")
        classes = {ONE: SR, TWO: SR}
        event_type, guessed = archive.information("2.25.4711", (ONE, TWO), classes)
        assert report_to(ports[0], event_type, guessed) == 0x0115
        _, told = archive.information(archive.requests[0][0], (ONE, TWO, "2.25.666"), classes)
        assert report_to(ports[0], 3, told) == 0x0113
        assert outbox.states() == {ONE: "ACCEPTED", TWO: "ACCEPTED"}
        assert report_to(ports[0], 1, told, says_its_role=False) == 0x0000, "of instances that were never sent nothing is recorded"
        assert report_to(ports[0], 1, told) == 0x0000, "a report that comes twice changes nothing"
    assert outbox.states() == {ONE: "COMMITTED", TWO: "COMMITTED"}
    assert len([event for event in outbox.events() if event.startswith("committed")]) == 2


def test_a_restart_between_request_and_report_loses_nothing(outbox: Outbox) -> None:
    archive = CommittingArchive(reports=False)
    with committing_archive(archive):
        with delivering(outbox, archive_at(archive.port, wait_s=0)):
            outbox.wait_for({ONE: "ACCEPTED", TWO: "ACCEPTED"})
            eventually(lambda: sum(len(instances) for _, instances in archive.requests) == 2, "both were asked for")
        with delivering(outbox, archive_at(archive.port, wait_s=0), commitment_port=0) as ports:
            for transaction_uid, instances in archive.requests:
                event_type, report = archive.information(transaction_uid, instances, {})
                assert report_to(ports[0], event_type, report) == 0x0000
    assert outbox.states() == {ONE: "COMMITTED", TWO: "COMMITTED"}


@pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed (apt-get install orthanc)")
def test_orthanc_commits_itself_to_what_it_stored(outbox: Outbox, tmp_path: Path) -> None:
    port = unused_port()
    with (
        OrthancPeer(tmp_path / "orthanc", modalities=[Modality(name="node", ae_title="DICOM-NODE", port=port)]) as orthanc,
        delivering(outbox, archive_at(orthanc.dicom_port, "ORTHANC", wait_s=0), commitment_port=port),
    ):
        outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
        assert orthanc.count_instances() == 2


@pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed (apt-get install orthanc)")
def test_what_orthanc_lost_before_it_was_asked_is_sent_again(outbox: Outbox, tmp_path: Path) -> None:
    port = unused_port()
    with OrthancPeer(tmp_path / "orthanc", modalities=[Modality(name="node", ae_title="DICOM-NODE", port=port)]) as orthanc:
        with delivering(outbox, archive_at(orthanc.dicom_port, "ORTHANC", port=unused_port())):  # nobody hears the request
            outbox.wait_for({ONE: "ACCEPTED", TWO: "ACCEPTED"})
        orthanc.ask("DELETE", f"/instances/{orthanc.find(TWO)}")
        with delivering(outbox, archive_at(orthanc.dicom_port, "ORTHANC", wait_s=0), commitment_port=port):
            outbox.wait_for({ONE: "COMMITTED", TWO: "COMMITTED"})
        assert orthanc.find(TWO)

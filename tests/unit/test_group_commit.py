"""Nothing is answered with success before its batch is durable, its row follows, and one instance's failure is not that of its batch."""

import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from caio import linux_aio
from sqlalchemy.exc import OperationalError

from dicom_node.keeping.kernel_synchroniser import KernelSynchroniser
from dicom_node.keeping.object_store import NamedFile, ObjectStore
from dicom_node.ledger import Ledger, Recorded
from dicom_node.receiving.arriving_data_set import Answer, ArrivingDataSet, Status, StoreRequest
from dicom_node.receiving.group_commit import GroupCommit
from dicom_node.receiving.reception import Reception
from dicom_node.receiving.storage_session import Submission
from dicom_node.study import Arrival, ReceivedInstance
from dicom_node.upper_layer import pdus
from tests.associating import CT, EXPLICIT, RELEASE_RQ, Requestor, echo, store
from tests.fakes import FakeInstanceRecorder
from tests.receiving import ct_slice, encoded, receiving, wait_until


class SlowRecorder(FakeInstanceRecorder):
    """Has to be waited for, and does not commit before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may_commit = threading.Event()
        self.asked = threading.Semaphore(0)

    def record_newcomers(self, arrivals: Sequence[Arrival]) -> bool:
        return self.may_commit.is_set() and super().record_newcomers(arrivals)

    def record_instances(self, arrivals: Sequence[Arrival]) -> list[str]:
        self.asked.release()
        assert self.may_commit.wait(20)
        return super().record_instances(arrivals)


def say_instance(port: int, number: int) -> Requestor:
    peer = Requestor(port)
    peer.associate()
    uid = f"2.25.{number + 1}"
    peer.say(store(1, uid, encoded(ct_slice(uid))))
    return peer


def hears_nothing(peer: Requestor) -> bool:
    peer.socket.settimeout(0.05)
    try:
        peer.hear()
    except TimeoutError:
        return True
    finally:
        peer.socket.settimeout(10)
    return False


def hears_status(peer: Requestor) -> int | None:
    answer = peer.hear()
    assert answer is not None
    return answer.status


def hears_release(peer: Requestor) -> bool:
    answer = peer.hear()
    return answer is not None and answer.kind == pdus.RELEASE_RP


@pytest.fixture(params=[512, 1 << 26, 1], ids=["the kernel synchronises", "the kernel refuses", "there is no room"])
def synchronised_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who synchronises: the kernel's threads, or the committing thread: more requests than fs.aio-max-nr are asked for, or too few."""
    monkeypatch.setattr("dicom_node.keeping.kernel_synchroniser._AT_ONCE", request.param)


@pytest.mark.usefixtures("synchronised_by")
def test_nobody_is_answered_before_the_batch_is_durable_and_then_everybody_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end, waited, to_disk, collect = threading.Event(), threading.Semaphore(0), ObjectStore.synchronise_all, KernelSynchroniser.collect

    def synchronise_all(store: ObjectStore, files: Sequence[NamedFile]) -> None:
        waited.release()
        assert may_end.wait(20)
        to_disk(store, files)

    def collect_later(kernel: KernelSynchroniser) -> None:
        waited.release()
        if may_end.is_set():
            collect(kernel)
        else:
            time.sleep(0.001)  # the descriptor stays readable

    monkeypatch.setattr(ObjectStore, "synchronise_all", synchronise_all)
    monkeypatch.setattr(KernelSynchroniser, "collect", collect_later)
    with receiving(tmp_path) as node:
        peers = [say_instance(node.port, 0)]
        assert waited.acquire(timeout=10)
        peers += [say_instance(node.port, number) for number in range(1, 9)]
        wait_until(lambda: len(node.files("received")) == 9)
        assert all(hears_nothing(peer) for peer in peers)
        may_end.set()
        assert [hears_status(peer) for peer in peers] == [Status.SUCCESS] * 9
        for peer in peers:
            peer.socket.close()
        wait_until(lambda: len(node.recorder.instances) == 9)
        assert node.files("incoming") == []


def test_without_the_compiled_part_of_the_library_a_thread_synchronises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.keeping.kernel_synchroniser.linux_aio", None)  # as the library has it then
    assert KernelSynchroniser.if_possible() is None
    with receiving(tmp_path) as node:
        for number in range(2):
            with say_instance(node.port, number) as peer:
                assert hears_status(peer) == Status.SUCCESS


@pytest.mark.parametrize(("failing", "says"), [("file", "EPIPE"), ("folder", "EPIPE"), ("folder", "EAGAIN")])
def test_what_the_kernel_could_not_synchronise_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, says: str
) -> None:
    """In place of one fsync, a write to a pipe that nobody reads: the kernel tells its failure as it tells that of an fsync.

    Or it takes only the first of two, because the second means a descriptor that is not open.
    """
    if KernelSynchroniser.if_possible() is None:
        pytest.skip("this kernel synchronises nothing")
    operation = linux_aio.Operation
    reading, pipe = os.pipe()
    os.close(reading)

    def fsync(descriptor: int) -> linux_aio.Operation:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) != (failing == "folder"):
            return operation.fsync(descriptor)
        return operation.write(b"x", pipe, 0) if says == "EPIPE" else operation.fsync(1 << 30)

    with receiving(tmp_path) as node, os.fdopen(pipe):
        with say_instance(node.port, 0) as peer:
            assert hears_status(peer) == Status.SUCCESS, "in a new folder: the committing thread does it"
        monkeypatch.setattr(linux_aio, "Operation", SimpleNamespace(fsync=fsync))
        with say_instance(node.port, 1) as peer:
            refused = peer.hear()
        assert refused is not None
        assert refused.status == Status.OUT_OF_RESOURCES
        assert f"cannot write: {says}".encode() in refused.body
        monkeypatch.undo()
        with say_instance(node.port, 1) as peer:
            assert hears_status(peer) == Status.SUCCESS
        wait_until(lambda: [one.sop_instance_uid for one in node.recorder.instances] == ["2.25.1", "2.25.2"])


def test_the_row_of_a_new_instance_follows_its_answer_soon(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        peer = say_instance(node.port, 0)
        assert hears_status(peer) == Status.SUCCESS
        wait_until(lambda: len(node.recorder.instances) == 1)
        peer.socket.close()


def test_an_association_is_released_when_the_rows_are_there(tmp_path: Path) -> None:
    recorder = SlowRecorder()
    with receiving(tmp_path, recorder=recorder) as node:
        peer = say_instance(node.port, 0)
        assert hears_status(peer) == Status.SUCCESS
        peer.say(RELEASE_RQ)
        assert recorder.asked.acquire(timeout=10)
        assert hears_nothing(peer)
        recorder.may_commit.set()
        assert hears_release(peer)
        assert len(recorder.instances) == 1


def test_an_instance_that_may_be_known_is_answered_after_its_row(tmp_path: Path) -> None:
    recorder = SlowRecorder()
    with receiving(tmp_path, recorder=recorder) as node:
        recorder.may_commit.set()
        peers = [say_instance(node.port, 0)]
        assert hears_status(peers[0]) == Status.SUCCESS
        wait_until(lambda: len(recorder.instances) == 1)
        recorder.may_commit.clear()
        peers.append(say_instance(node.port, 0))
        assert recorder.asked.acquire(timeout=10)
        assert hears_nothing(peers[1])
        recorder.may_commit.set()
        assert hears_status(peers[1]) == Status.SUCCESS
        assert len(recorder.instances) == 1
        for peer in peers:
            peer.socket.close()


def test_while_the_ledger_takes_no_row_nobody_is_told_success_and_afterwards_every_row_is_there(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder(failure=OperationalError("INSERT", {}, Exception("disk full")))
    with receiving(tmp_path, recorder=recorder) as node:
        with say_instance(node.port, 0) as first:
            assert hears_status(first) == Status.SUCCESS, "its file says all"
            first.say(RELEASE_RQ)
            assert hears_release(first), "the ledger was waited for once"
        for number in range(1, 40):
            with say_instance(node.port, number) as refused:
                assert hears_status(refused) == Status.OUT_OF_RESOURCES
        recorder.failure = None
        with say_instance(node.port, 40) as last:
            assert hears_status(last) == Status.SUCCESS
        wait_until(lambda: {one.sop_instance_uid for one in recorder.instances} == {"2.25.1", "2.25.41"})


def test_an_owed_row_is_tried_again_without_anybody_sending(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder(failure=OperationalError("INSERT", {}, Exception("disk full")))
    with receiving(tmp_path, recorder=recorder) as node, say_instance(node.port, 0) as peer:
        assert hears_status(peer) == Status.SUCCESS
        wait_until(lambda: recorder.failed >= 2)
        recorder.failure = None
        wait_until(lambda: len(recorder.instances) == 1)


def test_the_last_rows_are_written_when_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.receiving.scp._RECORDED_WITHIN_S", 1000.0)
    with receiving(tmp_path) as node:
        peer = say_instance(node.port, 0)
        assert hears_status(peer) == Status.SUCCESS
        peer.socket.close()
        assert node.recorder.instances == []
    assert len(node.recorder.instances) == 1


def test_what_comes_while_a_batch_is_written_is_the_next_batch() -> None:
    may_commit, batches = threading.Event(), []

    def commit(batch: Sequence[Submission]) -> None:
        batches.append(len(batch))
        assert may_commit.wait(20)

    commits = GroupCommit(commit, lambda _: None)
    commits.start()
    submission = cast("Submission", object())
    commits.submit(submission)
    wait_until(lambda: batches == [1])
    for _ in range(100):
        commits.submit(submission)
    may_commit.set()
    commits.stop()
    assert batches == [1, 64, 36]


def test_a_locked_ledger_holds_up_nobody_but_those_whose_rows_it_is_to_take(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with (
        closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other,
        receiving(tmp_path / "node", recorder=ledger) as node,
    ):
        other.execute("BEGIN IMMEDIATE")
        before = say_instance(node.port, 0)
        assert hears_status(before) == Status.SUCCESS
        time.sleep(0.1)  # the row of the first is due, and waited for
        storing = say_instance(node.port, 1)
        wait_until(lambda: len(list((tmp_path / "node/received").rglob("*.dcm"))) == 2)
        echoing = Requestor(node.port)
        echoing.associate()
        for _ in range(3):
            echoing.say(echo())
            assert hears_status(echoing) == Status.SUCCESS
        assert hears_nothing(storing)
        other.execute("ROLLBACK")
        assert hears_status(storing) == Status.SUCCESS
        wait_until(lambda: len(ledger.known_paths()) == 2)


def reception(folder: Path, recorder: FakeInstanceRecorder) -> Reception:
    return Reception(
        ae_title="NODE",
        store=ObjectStore(folder),
        recorder=recorder,
        clock=lambda: datetime.now(UTC),
        reserve_bytes=0,
        urgent_calling_ae_titles=(),
    )


def arriving(received_by: Reception, number: int, content: bytes | None = None) -> ArrivingDataSet:
    uid = f"2.25.{number + 1}"
    request = StoreRequest(
        sop_class_uid=CT, sop_instance_uid=uid, abstract_syntax_uid=CT, transfer_syntax_uid=EXPLICIT, calling_ae_title="CT-1"
    )
    one = received_by.begin(request)
    one.write(memoryview(content if content is not None else encoded(ct_slice(uid))))
    return one


def complete(received_by: Reception, batch: Sequence[ArrivingDataSet]) -> list[Answer]:
    """Do with a batch what the threads of a receiver do."""
    for one in batch:
        received_by.prepare(one)
    received_by.synchronise(batch)
    for wait in (False, True):
        received_by.record(batch, wait=wait)
    for one in batch:
        one.discard()
    return [one.answer for one in batch if one.answer is not None]


def test_each_of_a_batch_gets_its_own_answer_in_order(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder()
    received_by = reception(tmp_path, recorder)
    batch = [
        arriving(received_by, 0),
        arriving(received_by, 1, b"no data set at all"),
        arriving(received_by, 2, encoded(ct_slice("2.25.99"))),
        arriving(received_by, 3),
        arriving(received_by, 3),
    ]
    answers = complete(received_by, batch)
    assert [answer.status for answer in answers] == [0x0000, 0xC000, 0xA900, 0x0000, 0x0000]
    assert [answer.recorded for answer in answers] == ["new", "", "", "new", "new"]
    assert len(recorder.instances) == 2
    assert len(recorder.quarantined) == 1
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_file_that_cannot_be_placed_fails_alone(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder()
    received_by = reception(tmp_path, recorder)
    batch = [arriving(received_by, number) for number in range(3)]
    Path(batch[1].file().path).unlink()
    answers = complete(received_by, batch)
    assert [answer.status for answer in answers] == [0x0000, 0xA700, 0x0000]
    assert answers[1].comment == f"cannot write: {errno.errorcode[errno.ENOENT]}"
    assert len(recorder.instances) == 2


def test_a_ledger_that_fails_lets_nobody_in_the_next_batch_believe_in_success(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder(failure=OperationalError("INSERT", {}, Exception("database is locked")))
    received_by = reception(tmp_path, recorder)
    complete(received_by, [arriving(received_by, 0)])
    answers = complete(received_by, [arriving(received_by, number) for number in range(1, 4)])
    assert {(answer.status, answer.comment) for answer in answers} == {(0xA700, "cannot record the instance: OperationalError")}


def test_the_ledger_is_asked_to_tidy_up_now_and_then_and_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Untidy(FakeInstanceRecorder):
        def checkpoint(self) -> None:
            asked.append(len(self.instances))
            raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr("dicom_node.receiving.reception._RECORDED_BETWEEN_CHECKPOINTS", 3)
    received_by = reception(tmp_path, Untidy())
    for number in range(7):
        complete(received_by, [arriving(received_by, number)])
        received_by.tidy()
    assert asked == [3, 6]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


def instance(number: int, *, study: str = "1.2", digest: str = "d", at: int = 0) -> ReceivedInstance:
    return ReceivedInstance(
        study_instance_uid=study,
        series_instance_uid="1.2.3",
        sop_instance_uid=f"1.2.3.{number}",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT,
        modality="CT",
        calling_ae_title="CT-1",
        received_at=datetime(2026, 1, 5, 12, 0, at, 123456, tzinfo=UTC),
        digest=digest,
        size_bytes=1,
        path=Path(f"received/{number}-{digest}"),
        expected_instances=number or None,
    )


def test_a_batch_is_recorded_as_its_instances_would_be_one_by_one(tmp_path: Path, ledger: Ledger) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'other.sqlite'}")
    arrivals = [
        Arrival(instance=instance(1), urgent=False),
        Arrival(instance=instance(2, study="1.3", at=1), urgent=True),
        Arrival(instance=instance(3, at=2), urgent=True),
        Arrival(instance=instance(1, at=3), urgent=False),
        Arrival(instance=instance(4, at=4), urgent=False),
        Arrival(instance=instance(4, digest="e", at=5), urgent=False),
    ]
    together = ledger.record_instances(arrivals)
    alone = tuple(other.record_instance(arrival.instance, urgent=arrival.urgent) for arrival in arrivals)
    assert together == alone
    assert together == (Recorded.NEW, Recorded.NEW, Recorded.NEW, Recorded.DUPLICATE, Recorded.NEW, Recorded.NEW_VERSION)
    assert [(study, ledger.known_paths()) for study in ledger.open_studies()] == [
        (study, other.known_paths()) for study in other.open_studies()
    ]


def test_newcomers_are_recorded_together_as_they_would_be_one_by_one(tmp_path: Path, ledger: Ledger) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'other.sqlite'}")
    batches = [
        [Arrival(instance=instance(1), urgent=False), Arrival(instance=instance(5, study="1.3", at=1), urgent=True)],
        [
            Arrival(instance=instance(3, at=2), urgent=True),
            Arrival(instance=instance(2, at=3), urgent=False),
            Arrival(instance=instance(0, study="1.3", at=4), urgent=False),
        ],
    ]
    for batch in batches:
        assert ledger.record_instances(batch) == (Recorded.NEW,) * len(batch)
        for arrival in batch:
            other.record_instance(arrival.instance, urgent=arrival.urgent)
    assert ledger.open_studies() == other.open_studies()
    assert ledger.known_paths() == other.known_paths()
    assert [(study.urgent, study.expected_instances) for study in ledger.open_studies()] == [(True, 2), (True, 5)]


def test_arrivals_close_to_each_other_are_one_moment_unless_they_say_something_new(ledger: Ledger) -> None:
    def arrives(number: int, milliseconds: int, *, urgent: bool = False, expected: int | None = None) -> tuple[int, bool, int | None]:
        at = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        one = replace(instance(number), received_at=at, expected_instances=expected)
        assert ledger.record_newcomers([Arrival(instance=one, urgent=urgent)])
        (study,) = ledger.open_studies()
        assert study.instances == number
        return study.last_arrival.microsecond // 1000, study.urgent, study.expected_instances

    assert arrives(1, 0) == (0, False, None)
    assert arrives(2, 50) == (0, False, None)
    assert arrives(3, 60, urgent=True) == (60, True, None)
    assert arrives(4, 70, expected=9) == (70, True, 9)
    assert arrives(5, 169, urgent=True, expected=9) == (70, True, 9)
    assert arrives(6, 170) == (170, True, 9)


def test_a_newcomer_is_not_one_if_it_is_known_or_somebody_must_be_waited_for(tmp_path: Path, ledger: Ledger) -> None:
    assert ledger.record_newcomers([Arrival(instance=instance(1), urgent=False)])
    both = [Arrival(instance=instance(number), urgent=False) for number in (2, 1)]
    assert not ledger.record_newcomers(both)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not ledger.record_newcomers(both[:1])
        other.execute("ROLLBACK")
    assert len(ledger.known_paths()) == 1
    assert ledger.record_instances(both) == (Recorded.NEW, Recorded.DUPLICATE)


def test_an_instance_may_be_known_if_it_has_a_row_or_nobody_can_tell(tmp_path: Path, ledger: Ledger) -> None:
    assert not ledger.may_know("1.2.3.1")
    assert ledger.record_newcomers([Arrival(instance=instance(1), urgent=False)])
    assert ledger.may_know("1.2.3.1")
    assert not ledger.may_know("1.2.3.2")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not ledger.may_know("1.2.3.2"), "who writes holds up nobody who reads"
        other.execute("ROLLBACK")
    ledger.record_instances([Arrival(instance=instance(2), urgent=False)])
    assert ledger.may_know("1.2.3.2"), "also of what others wrote since"
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("ALTER TABLE instances RENAME TO elsewhere")
        assert ledger.may_know("1.2.3.3")


def test_what_was_recorded_at_once_goes_to_the_database_when_asked(tmp_path: Path, ledger: Ledger) -> None:
    def in_database() -> int:
        alone = shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "alone.sqlite")
        with closing(sqlite3.connect(alone)) as copied:
            return int(copied.execute("SELECT count(*) FROM instances").fetchone()[0])

    ledger.checkpoint()
    for number in range(300):
        assert ledger.record_newcomers([Arrival(instance=instance(number), urgent=False)])
    assert in_database() == 0, "nobody who receives waits for that"
    ledger.checkpoint()
    assert in_database() == 300


def test_an_instance_of_a_settled_study_opens_it_again(ledger: Ledger) -> None:
    ledger.record_instances([Arrival(instance=instance(1), urgent=False)])
    (open_study,) = ledger.open_studies()
    assert ledger.settle(open_study, why="quiet", now=instance(1, at=9).received_at)
    ledger.record_instances([Arrival(instance=instance(2, at=10), urgent=False), Arrival(instance=instance(3, at=11), urgent=False)])
    (again,) = ledger.open_studies()
    assert (again.first_arrival.second, again.last_arrival.second, again.instances) == (10, 11, 3)


def test_what_the_database_refuses_fails_alone(ledger: Ledger) -> None:
    ledger.record_instances([Arrival(instance=instance(1), urgent=False)])
    taken = instance(2, digest="x")
    object.__setattr__(taken, "path", instance(1).path)
    outcomes = ledger.record_instances([Arrival(instance=one, urgent=False) for one in (instance(3), taken, instance(4))])
    assert (outcomes[0], outcomes[2]) == (Recorded.NEW, Recorded.NEW)
    assert isinstance(outcomes[1], Exception)


def test_crash_durability_keeps_the_promises_that_need_no_disk(tmp_path: Path) -> None:
    stored = ObjectStore(tmp_path, power_loss=False)
    file = stored.incoming(b"x")
    file.write(b"content")
    assert stored.keep(file, Path("received/aa/one.dcm")) == Path("received/aa/one.dcm")
    assert (tmp_path / "received/aa/one.dcm").read_bytes() == b"xcontent"
    assert list((tmp_path / "incoming").iterdir()) == []

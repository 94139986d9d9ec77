"""Who goes first: urgent studies, but no routine study waits for ever; and nobody waits for a slow analysis or a dead destination."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.retention import PressureSection
from dicom_node import steps
from dicom_node.delivery import Receipt
from dicom_node.ledger import Ledger, Line, NewResult, NewWorkItem
from dicom_node.receiving.pressure import Pressure
from tests.builders import radiograph_file, uid
from tests.durability.modality import SUCCESS, Association, Instance, NotStoredError
from tests.receiving import receiving
from tests.unit.test_ledger import instance, settle
from tests.whole_node import whole_node

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PATIENCE_S = 600


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def waiting(ledger, study, *, urgent=False, since=NOON):
    ledger.record_instance(instance(study=study, at=since), urgent=urgent)
    for settled in settle(ledger):
        ledger.record_routing(settled, [NewWorkItem(route="r", selection=b"{}", inputs_digest="d")], now=since)


def claim(ledger, *, at=NOON, line=Line.ALL, lease_s=60):
    item = ledger.claim_work(owner="w", now=at, lease_s=lease_s, line=line, patience_s=PATIENCE_S, longest_wait_s=300)
    return None if item is None else item.study_instance_uid


def test_urgent_studies_go_first(ledger):
    waiting(ledger, "1.1")
    waiting(ledger, "1.2", urgent=True)
    assert [claim(ledger), claim(ledger)] == ["1.2", "1.1"]


def test_a_routine_study_that_waited_long_goes_before_newer_urgent_ones(ledger):
    waiting(ledger, "1.1")
    now = NOON + timedelta(seconds=PATIENCE_S)
    waiting(ledger, "1.2", urgent=True, since=now)
    waiting(ledger, "1.3", urgent=True, since=now)
    assert [claim(ledger, at=now) for _ in range(3)] == ["1.1", "1.2", "1.3"]


def test_however_many_urgent_studies_come_a_routine_one_is_not_starved(ledger):
    waiting(ledger, "1.1")
    for minute in range(20):
        now = NOON + timedelta(minutes=minute)
        waiting(ledger, f"2.{minute}", urgent=True, since=now)
        if claim(ledger, at=now, lease_s=9999) == "1.1":
            break
    assert minute == PATIENCE_S // 60


def test_a_lane_for_urgent_studies_takes_no_others_even_after_a_long_wait(ledger):
    waiting(ledger, "1.1")
    assert claim(ledger, at=NOON + timedelta(days=1), line=Line.URGENT) is None
    waiting(ledger, "1.2", urgent=True)
    assert claim(ledger, at=NOON + timedelta(days=1), line=Line.URGENT) == "1.2"


def test_an_urgent_study_does_not_wait_until_a_routine_one_is_done(tmp_path):
    with whole_node(tmp_path, receive={"urgent_calling_ae_titles": ["XRAY"]}, work={"parallel_studies": 1}) as node:
        waiting(node.ledger, "1.1", since=node.now)
        assert claim(node.ledger, at=node.now) == "1.1", "the only lane for all studies is busy with it"
        urgent = uid("urgent")
        node.receive(radiograph_file(tmp_path / "urgent.dcm", study_uid=urgent))
        node.pass_time(seconds=30)
        steps.settle(node.node)
        steps.route(node.node)
        assert node.worker.work_once(Line.URGENT)
        (row,) = node.ledger.study_rows(urgent)
        assert [item.state for item in row.work_items] == ["ANALYSED"]


def test_a_lease_from_before_the_clock_went_back_is_over(ledger):
    waiting(ledger, "1.1")
    assert claim(ledger, at=NOON + timedelta(days=2)) == "1.1"
    assert claim(ledger, at=NOON + timedelta(days=2)) is None
    assert claim(ledger, at=NOON) == "1.1"


def test_a_wait_from_before_the_clock_went_back_is_over(ledger):
    waiting(ledger, "1.1")
    later = NOON + timedelta(days=2)
    item = ledger.claim_work(owner="w", now=later, lease_s=60)
    ledger.record_work_failure(item, error="x", attempts=1, retry_at=later + timedelta(seconds=300), now=later)
    assert claim(ledger, at=later) is None
    assert claim(ledger, at=NOON) == "1.1"


def test_a_study_that_arrived_before_the_clock_went_back_settles_all_the_same(ledger):
    ledger.record_instance(instance(at=NOON + timedelta(days=2)), urgent=False)
    assert ledger.restamp_arrivals(NOON) == 1
    assert ledger.restamp_arrivals(NOON) == 0
    (study,) = ledger.open_studies()
    assert (study.first_arrival, study.last_arrival) == (NOON, NOON)


def test_the_answer_to_an_attempt_that_was_given_up_counts_when_it_comes(ledger):
    waiting(ledger, "1.1")
    ledger.record_analysis(ledger.claim_work(owner="w", now=NOON, lease_s=60), path=Path("a.json"), now=NOON)
    result = NewResult(kind="sr-findings", sop_class_uid="1.2", sop_instance_uid="9.1", path=Path("r"), digest="x", destinations=("pacs",))
    ledger.record_results(ledger.claim_work(owner="w", now=NOON, lease_s=60), [result], now=NOON)
    slow = ledger.claim_delivery(destination="pacs", owner="a", now=NOON, lease_s=60, learnt_since=NOON)
    later = NOON + timedelta(seconds=61)
    last = ledger.claim_delivery(destination="pacs", owner="b", now=later, lease_s=60, learnt_since=NOON)
    ledger.record_delivery_failure(last, reason="attempts exhausted", status="", retry_at=None, now=later)
    receipt = Receipt(destination="pacs", status="0x0000", accepted=True, warning=False, at=later)
    ledger.record_receipt(slow, receipt, now=later)
    ((item,),) = [row.work_items for row in ledger.study_rows()]
    assert (item.state, item.deliveries[0].state) == ("DELIVERED", "ACCEPTED")


class Room:
    """Free space and a queue, as a test says."""

    def __init__(self, free_mb=9999, waiting=0):
        self.free_mb, self.waiting, self.asked = free_mb, waiting, 0

    def free_bytes(self):
        self.asked += 1
        return self.free_mb * 1_000_000

    def waiting_studies(self, at_most):
        return min(self.waiting, at_most)


def pressure(room, now=lambda: 0.0):
    return Pressure(PressureSection(below_free_mb=100, maximum_waiting_studies=5), store=room, ledger=room, monotonic=now)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (Room(), ""),
        (Room(free_mb=99), "less than 100 MB are free"),
        (Room(waiting=6), "more than 5 studies wait for their analysis"),
        (Room(waiting=5), ""),
    ],
)
def test_the_node_says_why_it_has_no_room(room, words):
    assert pressure(room).why_wait() == words


def test_an_answer_is_used_again_for_a_moment_only():
    room, seconds = Room(), iter([0.0, 1.0, 3.0])
    looking = pressure(room, lambda: next(seconds))
    for _ in range(3):
        looking.why_wait()
    assert room.asked == 2


def test_new_associations_are_rejected_for_now_while_open_ones_go_on(tmp_path):
    room, first, second = Room(), *(Instance(radiograph_file(tmp_path / f"{n}.dcm")) for n in (1, 2))
    seconds = iter(range(0, 1000, 10))
    with receiving(tmp_path, why_wait=pressure(room, lambda: next(seconds)).why_wait) as node:
        opened = Association(first, port=node.port, calling="CT-1")
        room.free_mb = 1
        with pytest.raises(NotStoredError):
            Association(second, port=node.port, calling="CT-1")
        assert opened.store(first) == SUCCESS
        opened.release()
        room.free_mb = 9999
        again = Association(second, port=node.port, calling="CT-1")
        assert again.store(second) == SUCCESS
        again.release()


def test_the_sender_waits_neither_for_an_analysis_nor_for_a_dead_destination(tmp_path):
    with whole_node(tmp_path) as node:
        (tmp_path / "reports").rmdir()
        node.receive(radiograph_file(tmp_path / "1.dcm", study_uid=uid("slow")))
        node.report()
        holding, done = threading.Event(), threading.Event()

        def hold_a_lease():
            node.ledger.claim_work(owner="slow", now=node.now, lease_s=9999)
            holding.set()
            done.wait(30)

        slow = threading.Thread(target=hold_a_lease)
        slow.start()
        try:
            assert holding.wait(30)
            node.receive(*(radiograph_file(tmp_path / f"more-{n}.dcm") for n in range(5)))
        finally:
            done.set()
            slow.join()


def test_a_delivery_that_was_put_off_before_the_clock_went_back_is_due_again(ledger):
    later = NOON + timedelta(days=2)
    waiting(ledger, "1.1", since=later)
    ledger.record_analysis(ledger.claim_work(owner="w", now=later, lease_s=60), path=Path("a.json"), now=later)
    result = NewResult(kind="sr-findings", sop_class_uid="1.2", sop_instance_uid="9.1", path=Path("r"), digest="x", destinations=("pacs",))
    ledger.record_results(ledger.claim_work(owner="w", now=later, lease_s=60), [result], now=later)
    assert ledger.claim_delivery(destination="pacs", owner="a", now=NOON, lease_s=60) is None
    assert ledger.restamp_deliveries(now=NOON, longest_wait_s=900, lease_s=120) == 1
    assert ledger.restamp_deliveries(now=NOON, longest_wait_s=900, lease_s=120) == 0
    assert ledger.claim_delivery(destination="pacs", owner="a", now=NOON, lease_s=60) is not None

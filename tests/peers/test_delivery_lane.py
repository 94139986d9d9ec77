"""Lanes against real destinations: down, full, refusing, silent, and beside one that is dead."""

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from pydicom.uid import Comprehensive3DSRStorage

from config.destinations import CStoreDestination, DeliverSection, Destination, FolderDestination
from config.schema import NodeSection, Settings
from dicom_node.delivery import ClaimedDelivery, DeliveryChannel, Outgoing, Receipt, open_channel
from dicom_node.delivery.circuit import Circuit
from dicom_node.delivery.lane import IDLE_S, DeliveryOutcome, Lane, LaneTools
from dicom_node.delivery.process import run_deliver
from dicom_node.demo.archive import Archive
from dicom_node.failures import DestinationUnreachableError, StoreFailedError, StoreRefusedError
from dicom_node.lifecycle import CircuitState
from tests.fakes import FakeDeliveryLedger
from tests.peers.reports import structured_report
from tests.peers.scripted import SILENCE, scripted_archive, unused_port

SR = str(Comprehensive3DSRStorage)
DEADLINE_S = 15


@dataclass
class Results:
    """A folder of results, as the object store has it."""

    folder: Path

    def absolute(self, relative: Path) -> Path:
        return self.folder / relative

    def add(self, key: int, destination: str) -> ClaimedDelivery:
        uid = f"2.25.{key}"
        content = structured_report(uid)
        path = Path(f"{key}.dcm")
        self.absolute(path).write_bytes(content)
        return ClaimedDelivery(
            id=key,
            destination=destination,
            sop_class_uid=SR,
            sop_instance_uid=uid,
            path=path,
            study_instance_uid="2.25.42",
            work_item_id=key + 100,
            attempts=0,
            digest=hashlib.sha256(content).hexdigest(),
        )


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Observed:
    """What the metrics were told."""

    attempts: list[tuple[str, DeliveryOutcome]] = field(default_factory=list)

    def __call__(self, *, destination: str, outcome: DeliveryOutcome, seconds: float) -> None:
        assert seconds >= 0
        self.attempts.append((destination, outcome))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    (tmp_path / "store").mkdir()
    return Results(tmp_path / "store")


def archive_at(port: int, name: str = "pacs", timeout_s: float = 5) -> CStoreDestination:
    return CStoreDestination(name=name, host="127.0.0.1", port=port, ae_title="ARCHIVE", timeout_s=timeout_s)


def settings_for(*destinations: Destination, maximum_attempts: int = 200) -> Settings:
    return Settings(
        node=NodeSection(ae_title="DICOM-NODE"),
        deliver=DeliverSection(retry_s=0.1, maximum_retry_s=0.3, maximum_attempts=maximum_attempts),
        destinations=destinations,
    )


@contextmanager
def delivering(settings: Settings, ledger: FakeDeliveryLedger, results: Results, observed: Observed | None = None) -> Iterator[None]:
    """Run the deliver process's loop in a thread; it has to end when it is told to stop."""
    stop = threading.Event()
    options = {"observer": observed} if observed else {}
    thread = threading.Thread(target=run_deliver, args=(settings, ledger, results, stop), kwargs={"owner": "test", **options})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@dataclass
class ScriptedChannel:
    """A channel that raises what it is given, and otherwise accepts."""

    failures: dict[str, Exception] = field(default_factory=dict)
    delivered: list[str] = field(default_factory=list)

    def deliver(self, result: Outgoing) -> Receipt:
        if result.sop_instance_uid in self.failures:
            raise self.failures[result.sop_instance_uid]
        self.delivered.append(result.sop_instance_uid)
        return Receipt(destination="pacs", status="0x0000", accepted=True, warning=False, at=datetime(2026, 1, 2, tzinfo=UTC))

    def probe(self) -> str:
        return "never asked"


def lane_with(
    channel: DeliveryChannel, ledger: FakeDeliveryLedger, results: Results, clock: Clock, settings: DeliverSection | None = None
) -> Lane:
    tools = LaneTools(
        ledger=ledger,
        store=results,
        settings=settings or DeliverSection(retry_s=10, maximum_retry_s=900),
        owner="test",
        clock=clock,
        rng=random.Random(3),
        observer=Observed(),
    )
    return Lane("pacs", channel, tools)


def test_a_destination_that_was_down_gets_each_result_once_when_it_is_up(results: Results, tmp_path: Path) -> None:
    port = unused_port()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in (1, 2, 3)))
    with delivering(settings_for(archive_at(port)), ledger, results):
        assert ledger.wait_for(lambda: len(ledger.failures) >= 2, timeout_s=DEADLINE_S)
        with Archive(tmp_path / "archive", port=port) as archive:
            assert ledger.wait_for(lambda: len(ledger.receipts) == 3, timeout_s=DEADLINE_S)
            assert sorted(stored.sop_instance_uid for stored in archive.received()) == ["2.25.1", "2.25.2", "2.25.3"]
            assert {stored.times_received for stored in archive.received()} == {1}
    assert all("not reachable" in reason for _, reason, _, _ in ledger.failures)


def test_an_archive_that_was_full_gets_the_result_later(results: Results) -> None:
    observed = Observed()
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    with (
        scripted_archive(0xA700, 0xA700, 0x0000, sop_class_uid=SR) as (port, requests),
        delivering(settings_for(archive_at(port)), ledger, results, observed),
    ):
        assert ledger.wait_for(lambda: len(ledger.receipts) == 1, timeout_s=DEADLINE_S)
    assert [status for _, _, status, _ in ledger.failures] == ["0xA700", "0xA700"]
    assert len(requests) == 3
    assert [outcome for _, outcome in observed.attempts] == [DeliveryOutcome.RETRIED, DeliveryOutcome.RETRIED, DeliveryOutcome.ACCEPTED]


def test_a_warning_counts_as_accepted_and_is_logged_as_a_warning(results: Results) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    observed = Observed()
    with (
        structlog.testing.capture_logs() as logs,
        scripted_archive(0xB000, sop_class_uid=SR) as (port, _),
        delivering(settings_for(archive_at(port)), ledger, results, observed),
    ):
        assert ledger.wait_for(lambda: len(ledger.receipts) == 1, timeout_s=DEADLINE_S)
    assert observed.attempts == [("pacs", DeliveryOutcome.ACCEPTED_WITH_WARNING)]
    (line,) = [log for log in logs if log["event"] == "result_accepted_with_warning"]
    assert (line["log_level"], line["status"]) == ("warning", "0xB000")


def test_a_refused_object_waits_for_an_operator_and_is_not_sent_again(results: Results) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"), results.add(2, "pacs"))
    with (
        scripted_archive(0xC000, 0x0000, sop_class_uid=SR) as (port, requests),
        delivering(settings_for(archive_at(port)), ledger, results),
    ):
        assert ledger.wait_for(lambda: len(ledger.receipts) == 1, timeout_s=DEADLINE_S)
    assert [(key, status, retry_at) for key, _, status, retry_at in ledger.failures] == [(1, "0xC000", None)]
    assert len(requests) == 2


def test_a_dead_destination_never_holds_up_another(results: Results, tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    ledger = FakeDeliveryLedger(results.add(1, "silent"), *(results.add(key, "share") for key in range(2, 12)))
    with scripted_archive(SILENCE, sop_class_uid=SR) as (port, requests):
        settings = settings_for(archive_at(port, "silent", timeout_s=3), FolderDestination(name="share", folder=tmp_path / "outbox"))
        with delivering(settings, ledger, results):
            assert ledger.wait_for(lambda: len(ledger.receipts) == 10, timeout_s=DEADLINE_S)
            assert not ledger.failures, "the other lane was done before the silent one even gave up waiting"
    assert len(list((tmp_path / "outbox").iterdir())) == 10
    assert len(requests) <= 1


def next_step(lane: Lane, ledger: FakeDeliveryLedger, clock: Clock) -> float:
    """Take a step, then wait for as long as the lane does; return that time in seconds."""
    before = clock.now
    clock.advance(lane.step())
    clock.now = max(clock.now, ledger.circuit("pacs", now=clock.now).not_before)
    return (clock.now - before).total_seconds()


def test_after_a_failure_the_lane_pauses_so_that_a_dead_archive_is_not_hammered(results: Results) -> None:
    clock = Clock()
    everything = [results.add(key, "pacs") for key in range(50)]
    channel = ScriptedChannel({delivery.sop_instance_uid: DestinationUnreachableError("down") for delivery in everything})
    ledger = FakeDeliveryLedger(*everything)
    lane = lane_with(channel, ledger, results, clock)
    pauses_s = [next_step(lane, ledger, clock) for _ in range(20)]
    assert len(ledger.claims) == 20
    assert max(pauses_s) > 60, "pauses grow while the archive stays dead"
    assert max(pauses_s) <= 450
    assert sum(pauses_s[10:]) > sum(pauses_s[:10])


def test_a_week_without_the_archive_parks_nothing_and_costs_one_attempt_a_pause(results: Results) -> None:
    clock = Clock()
    everything = [results.add(key, "pacs") for key in range(20)]
    channel = ScriptedChannel({delivery.sop_instance_uid: DestinationUnreachableError("down") for delivery in everything})
    ledger = FakeDeliveryLedger(*everything)
    settings = DeliverSection(retry_s=10, maximum_retry_s=900, maximum_attempts=5)
    lane = lane_with(channel, ledger, results, clock, settings)
    until = clock.now + timedelta(days=7)
    while clock.now < until:
        next_step(lane, ledger, clock)
    assert all(retry_at is not None for _, _, _, retry_at in ledger.failures)
    assert len(ledger.claims) < 7 * 24 * 3600 / 200, "a probe every four minutes on average"
    channel.failures.clear()
    while len(channel.delivered) < 20:
        next_step(lane, ledger, clock)
    assert clock.now < until + timedelta(minutes=30)


def test_the_circuit_opens_after_some_failures_in_a_row_and_one_success_closes_it(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in range(1, 9)))
    channel = ScriptedChannel({f"2.25.{key}": DestinationUnreachableError("down") for key in range(1, 9)})
    lane = lane_with(channel, ledger, results, clock, DeliverSection(retry_s=10, maximum_retry_s=60, failures_to_open=3))
    states = []
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            next_step(lane, ledger, clock)
            states.append(ledger.circuit("pacs", now=clock.now).state)
        channel.failures.clear()
        while not channel.delivered:
            next_step(lane, ledger, clock)
    assert states == [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN, CircuitState.OPEN, CircuitState.OPEN]
    assert ledger.circuit("pacs", now=clock.now).state is CircuitState.CLOSED
    (opened,) = [log for log in logs if log["event"] == "destination_circuit_opened"]
    assert (opened["log_level"], opened["failures"], opened["reason"]) == ("error", 3, "down")
    (closed,) = [log for log in logs if log["event"] == "destination_circuit_closed"]
    assert closed["failures"] == 5


def test_while_the_circuit_is_open_nothing_is_claimed_before_its_time(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in range(1, 9)))
    channel = ScriptedChannel({f"2.25.{key}": DestinationUnreachableError("down") for key in range(1, 9)})
    lane = lane_with(channel, ledger, results, clock, DeliverSection(retry_s=3600, maximum_retry_s=36000, failures_to_open=1))
    lane.step()
    assert ledger.circuit("pacs", now=clock.now).is_waiting(clock.now)
    assert [lane.step() for _ in range(10)] == [IDLE_S] * 10
    assert len(ledger.claims) == 1


def test_a_destination_that_refuses_one_object_is_well(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in range(1, 9)))
    channel = ScriptedChannel({f"2.25.{key}": DestinationUnreachableError("down") for key in range(1, 9)})
    lane = lane_with(channel, ledger, results, clock, DeliverSection(retry_s=10, maximum_retry_s=60, failures_to_open=2))
    for _ in range(4):
        next_step(lane, ledger, clock)
    channel.failures = {f"2.25.{key}": StoreRefusedError("refused", status="0xC000") for key in range(1, 9)}
    while not any(retry_at is None for _, _, _, retry_at in ledger.failures):
        next_step(lane, ledger, clock)
    assert ledger.circuit("pacs", now=clock.now).state is CircuitState.CLOSED


def test_a_damaged_file_tells_nothing_about_a_destination_whose_circuit_is_open(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(results.add(1, "pacs"), results.add(2, "pacs"))
    channel = ScriptedChannel({"2.25.1": DestinationUnreachableError("down")})
    lane = lane_with(channel, ledger, results, clock, DeliverSection(retry_s=10, maximum_retry_s=60, failures_to_open=1))
    next_step(lane, ledger, clock)
    results.absolute(Path("2.dcm")).write_bytes(b"damaged")
    lane.step()
    assert [retry_at for key, _, _, retry_at in ledger.failures if key == 2] == [None]
    assert ledger.circuit("pacs", now=clock.now).state is CircuitState.OPEN
    assert not ledger.circuit("pacs", now=clock.now).is_waiting(clock.now), "the next result may be the probe"


def test_no_wait_is_longer_than_the_settings_allow(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    lane = lane_with(ScriptedChannel({"2.25.1": DestinationUnreachableError("down")}), ledger, results, clock)
    waits_s = []
    while len(ledger.failures) < 60:
        before, known = clock.now, len(ledger.failures)
        next_step(lane, ledger, clock)
        if len(ledger.failures) > known:
            _, _, _, retry_at = ledger.failures[-1]
            assert retry_at is not None
            waits_s.append((retry_at - before).total_seconds())
    assert max(waits_s) <= 900


def test_one_result_that_an_archive_never_takes_does_not_hold_up_the_others(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in range(1, 30)))
    channel = ScriptedChannel({"2.25.1": StoreFailedError("pacs answered 0x0110", status="0x0110")})
    lane = lane_with(channel, ledger, results, clock)
    while len(channel.delivered) < 28:
        next_step(lane, ledger, clock)
    assert clock.now - Clock().now < timedelta(minutes=5)


def test_after_a_success_the_pauses_start_short_again(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(*(results.add(key, "pacs") for key in range(1, 30)))
    down = {f"2.25.{key}": DestinationUnreachableError("down") for key in range(1, 30)}
    channel = ScriptedChannel(dict(down))
    lane = lane_with(channel, ledger, results, clock)
    for _ in range(12):
        next_step(lane, ledger, clock)
    channel.failures.clear()
    while not channel.delivered:
        next_step(lane, ledger, clock)
    channel.failures.update(down)
    assert 0 < next_step(lane, ledger, clock) <= 5


def test_when_attempts_are_used_up_an_operator_is_asked(results: Results) -> None:
    clock = Clock()
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    settings = DeliverSection(retry_s=1, maximum_retry_s=1, maximum_attempts=3)
    full = StoreFailedError("pacs answered 0xA700", status="0xA700")
    lane = lane_with(ScriptedChannel({"2.25.1": full}), ledger, results, clock, settings)
    for _ in range(12):
        clock.advance(lane.step() + 1)
    assert [retry_at is None for _, _, _, retry_at in ledger.failures] == [False, False, True]


def test_a_result_that_crashes_the_sender_each_time_is_given_up_without_another_try(results: Results) -> None:
    ledger = FakeDeliveryLedger(replace(results.add(1, "pacs"), attempts=200))
    channel = ScriptedChannel()
    lane_with(channel, ledger, results, Clock()).step()
    ((_, reason, _, retry_at),) = ledger.failures
    assert retry_at is None
    assert "crash" in reason
    assert not channel.delivered


@pytest.mark.parametrize("damage", [b"", structured_report("2.25.1")[:-20]])
def test_a_damaged_file_never_leaves_the_node(results: Results, damage: bytes) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    results.absolute(Path("1.dcm")).write_bytes(damage)
    channel = ScriptedChannel()
    lane_with(channel, ledger, results, Clock()).step()
    ((_, reason, _, retry_at),) = ledger.failures
    assert retry_at is None
    assert "damaged" in reason
    assert not channel.delivered


def test_an_error_nobody_foresaw_is_tried_again_and_its_message_is_not_kept(results: Results) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    lane_with(ScriptedChannel({"2.25.1": ValueError("CANARY^PHI")}), ledger, results, Clock()).step()
    ((_, reason, _, retry_at),) = ledger.failures
    assert retry_at is not None
    assert reason.startswith("ValueError in deliver")
    assert "CANARY" not in reason


def test_with_nothing_to_send_the_lane_looks_again_soon(results: Results) -> None:
    assert lane_with(ScriptedChannel(), FakeDeliveryLedger(), results, Clock()).step() == IDLE_S


def test_a_lane_that_broke_on_its_ledger_is_opened_again(results: Results, tmp_path: Path) -> None:
    class LockedOnce(FakeDeliveryLedger):
        broken = False

        def circuit(self, destination: str, *, now: datetime) -> Circuit:
            if not self.broken:
                self.broken = True
                raise OSError("the database is locked")
            return super().circuit(destination, now=now)

    (tmp_path / "outbox").mkdir()
    ledger = LockedOnce(results.add(1, "share"))
    with (
        structlog.testing.capture_logs() as logs,
        delivering(settings_for(FolderDestination(name="share", folder=tmp_path / "outbox")), ledger, results),
    ):
        assert ledger.wait_for(lambda: len(ledger.receipts) == 1, timeout_s=DEADLINE_S)
    assert [log["lane"] for log in logs if log["event"] == "lane_crashed"] == ["deliver-share"]


def test_the_process_stops_at_once_while_a_lane_pauses(results: Results) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"))
    settings = Settings(deliver=DeliverSection(retry_s=3600, maximum_retry_s=3600), destinations=(archive_at(unused_port()),))
    with delivering(settings, ledger, results):
        assert ledger.wait_for(lambda: len(ledger.failures) == 1, timeout_s=DEADLINE_S)


def test_every_log_line_names_the_study_and_the_result_and_never_the_patient(results: Results, tmp_path: Path) -> None:
    ledger = FakeDeliveryLedger(results.add(1, "pacs"), results.add(2, "pacs"))
    with (
        structlog.testing.capture_logs() as logs,
        scripted_archive(0xA700, 0xC000, 0x0000, sop_class_uid=SR) as (port, _),
        delivering(settings_for(archive_at(port)), ledger, results),
    ):
        assert ledger.wait_for(lambda: len(ledger.receipts) + len(ledger.failures) == 3, timeout_s=DEADLINE_S)
    assert {log["event"] for log in logs} == {"lane_opened", "delivery_postponed", "delivery_failed", "result_accepted", "lane_closed"}
    attempts = [log for log in logs if not log["event"].startswith("lane_")]
    assert all({"study_instance_uid", "work_item_id", "sop_instance_uid", "destination", "status"} <= set(log) for log in attempts)
    assert "CANARY" not in repr(logs)


def test_a_lane_sends_through_the_channel_that_its_destination_names(results: Results, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        ledger = FakeDeliveryLedger(results.add(1, "pacs"))
        channel = open_channel(archive_at(archive.port), calling_ae_title="DICOM-NODE")
        assert lane_with(channel, ledger, results, Clock()).step() == 0
        assert [stored.calling_ae_title for stored in archive.received()] == ["DICOM-NODE"]
    assert [receipt.status for _, receipt in ledger.receipts] == ["0x0000"]

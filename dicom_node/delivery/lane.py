"""The lane of one destination: claim a result, send it, record what the destination said. One thread a lane.

Sent and not recorded (a crash in between) means sent again, under the same SOP Instance UID: that is by design.
"""

import enum
import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from config.destinations import DeliverSection
from dicom_node.backoff import Backoff
from dicom_node.delivery import ClaimedDelivery, DeliveryChannel, Outgoing, Receipt
from dicom_node.delivery.circuit import Circuit
from dicom_node.delivery.variants import LAST_RESORT
from dicom_node.failpoints import failpoint
from dicom_node.failures import (
    NOT_HANDED_OVER,
    AttemptsExhaustedError,
    DeliveryError,
    PresentationContextRefusedError,
    ResultMissingError,
    ResultUnsuitableError,
    StoreRefusedError,
    Verdict,
    describe,
    judge,
)
from dicom_node.lifecycle import CircuitState

IDLE_S = 0.5
"""Seconds between looks at the ledger while there is nothing to send."""


class DeliveryOutcome(enum.StrEnum):
    """What became of one attempt."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_WARNING = "accepted with warning"
    RETRIED = "retried"
    FAILED = "failed"


class DeliveryLedger(Protocol):
    """What a lane asks of the ledger."""

    def claim_delivery(
        self, *, destination: str, owner: str, now: datetime, lease_s: float, learnt_since: datetime
    ) -> ClaimedDelivery | None: ...

    def hand_back_delivery(self, claimed: ClaimedDelivery, *, now: datetime) -> None: ...

    def record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, *, now: datetime, commit_at: datetime | None = None) -> None: ...

    def record_delivery_failure(
        self, claimed: ClaimedDelivery, *, reason: str, status: str, retry_at: datetime | None, now: datetime, counted: bool = True
    ) -> None: ...

    def circuit(self, destination: str, *, now: datetime) -> Circuit: ...

    def record_circuit(self, destination: str, circuit: Circuit) -> None: ...

    def close_circuit(self, destination: str, *, now: datetime) -> bool: ...

    def begin_probe(self, destination: str, *, now: datetime, lease_s: float) -> bool: ...

    def renew_leases(self, *, owner: str, now: datetime, lease_s: float) -> None: ...


class ResultFiles(Protocol):
    """What a lane asks of the object store."""

    def absolute(self, relative: Path) -> Path: ...


class DeliveryObserver(Protocol):
    """Told of every attempt, for the metrics."""

    def __call__(self, *, destination: str, outcome: DeliveryOutcome, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneTools:
    """What all lanes of one process share."""

    ledger: DeliveryLedger
    store: ResultFiles
    settings: DeliverSection
    owner: str
    clock: Callable[[], datetime]
    rng: random.Random
    observer: DeliveryObserver


class Lane:
    """Sends what is due to one destination.

    A failure of the destination breaks its circuit: the whole lane pauses, longer each time, and after some of them in a row it
    sends one result at a time to see whether the destination is well again. So a dead destination costs one attempt a pause and
    not one for each of the thousands that wait. A failed result comes back later than the lane does: one that an archive
    never takes cannot hold up the others.
    """

    def __init__(self, destination: str, channel: DeliveryChannel, tools: LaneTools, *, commits: bool = False) -> None:
        """Make the lane. `commits`: the destination is asked to commit itself to keeping what it accepts."""
        self._destination = destination
        self._channel = channel
        self._tools = tools
        self._commits = commits
        # Pause and further wait of the one result add up to the waits of the settings.
        self._backoff = Backoff(first_s=tools.settings.retry_s / 2, maximum_s=tools.settings.maximum_retry_s / 2)
        self._own_failures = 0
        self._log = structlog.get_logger().bind(destination=destination)

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; the object on its way is finished first."""
        self._log.info("lane_opened")
        while not stop.is_set():
            stop.wait(self.step())
        self._log.info("lane_closed")

    def step(self) -> float:
        """Deliver one result that is due, if any. Return the seconds to wait before the next step."""
        tools = self._tools
        now = tools.clock()
        circuit = tools.ledger.circuit(self._destination, now=now)
        if circuit.is_waiting(now):
            return min(IDLE_S, (circuit.not_before - now).total_seconds())
        claimed = tools.ledger.claim_delivery(
            destination=self._destination,
            owner=tools.owner,
            now=now,
            lease_s=tools.settings.lease_s,
            learnt_since=now - timedelta(days=tools.settings.capability_days),
        )
        if claimed is None:
            return IDLE_S
        failpoint("deliver.claimed")
        if circuit.state is not CircuitState.CLOSED:
            if not tools.ledger.begin_probe(self._destination, now=now, lease_s=tools.settings.lease_s):
                tools.ledger.hand_back_delivery(claimed, now=now)
                return IDLE_S
            circuit = tools.ledger.circuit(self._destination, now=now)
        return self._attempt(claimed, circuit)

    def _attempt(self, claimed: ClaimedDelivery, circuit: Circuit) -> float:
        log = self._log.bind(
            study_instance_uid=claimed.study_instance_uid,
            work_item_id=claimed.work_item_id,
            sop_instance_uid=claimed.sop_instance_uid,
            attempt=claimed.attempts,
        )
        started = time.monotonic()
        try:
            receipt = self._send(claimed)
            failpoint("deliver.sent")
        except Exception as exc:  # noqa: BLE001 - the worker loop: every failure becomes a verdict in the ledger
            outcome, pause_s = self._record_failure(claimed, exc, circuit, log)
        else:
            outcome, pause_s = self._record_receipt(claimed, receipt, circuit, log), 0.0
        self._tools.observer(destination=self._destination, outcome=outcome, seconds=time.monotonic() - started)
        return pause_s

    def _send(self, claimed: ClaimedDelivery) -> Receipt:
        if claimed.attempts > self._tools.settings.maximum_attempts:  # the last ones crashed, else the delivery were FAILED
            raise AttemptsExhaustedError(
                f"{claimed.attempts - 1} attempts to send {claimed.sop_instance_uid} ended in a crash or a lost lease"
            )
        path = self._tools.store.absolute(claimed.path)
        _require_intact(path, claimed)
        return self._channel.deliver(
            Outgoing(
                path=path,
                kind=claimed.kind,
                sop_class_uid=claimed.sop_class_uid,
                sop_instance_uid=claimed.sop_instance_uid,
                accepted_as=claimed.accepted_as,
                study_instance_uid=claimed.study_instance_uid,
            )
        )

    def _record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, circuit: Circuit, log: FilteringBoundLogger) -> DeliveryOutcome:
        now = self._tools.clock()
        self._tools.ledger.record_receipt(claimed, receipt, now=now, commit_at=now if self._commits else None)
        failpoint("deliver.recorded")
        self._own_failures = 0
        self._well(circuit)
        sent = {"sent_as": receipt.sop_class_uid} if receipt.sop_class_uid not in {"", claimed.sop_class_uid} else {}
        if receipt.sop_class_uid == LAST_RESORT:
            log.error("report_sent_as_plain_text", consequence="no codes arrive; enable a richer SR SOP class at the destination")
        if receipt.warning:
            log.warning("result_accepted_with_warning", status=receipt.status, **sent)
            return DeliveryOutcome.ACCEPTED_WITH_WARNING
        log.info("result_accepted", status=receipt.status, **sent)
        return DeliveryOutcome.ACCEPTED

    def _record_failure(
        self, claimed: ClaimedDelivery, exc: Exception, circuit: Circuit, log: FilteringBoundLogger
    ) -> tuple[DeliveryOutcome, float]:
        tools = self._tools
        retry = judge(exc) is Verdict.RETRY
        counted = not isinstance(exc, NOT_HANDED_OVER)
        exhausted = counted and claimed.attempts >= tools.settings.maximum_attempts
        reason, status = describe(exc), exc.status if isinstance(exc, DeliveryError) else ""
        pause_s = self._pause_s(exc, circuit, reason) if retry else self._answered(exc, circuit)
        wait_s = pause_s + self._backoff.delay_s(max(claimed.attempts, 1), tools.rng)
        now = tools.clock()
        retry_at = now + timedelta(seconds=wait_s) if retry and not exhausted else None
        tools.ledger.record_delivery_failure(claimed, reason=reason, status=status, retry_at=retry_at, now=now, counted=counted)
        if retry_at is None:
            log.error("delivery_failed", reason=reason, status=status, attempts_exhausted=retry, error=type(exc).__name__)
            return DeliveryOutcome.FAILED, min(pause_s, IDLE_S)
        log.warning("delivery_postponed", reason=reason, status=status, retry_s=round(wait_s, 3), error=type(exc).__name__)
        return DeliveryOutcome.RETRIED, pause_s if _is_ours(exc) else min(pause_s, IDLE_S)

    def _pause_s(self, exc: Exception, circuit: Circuit, reason: str) -> float:
        """Make the lane pause after a failure that may pass; return for how many seconds."""
        tools = self._tools
        if _is_ours(exc):
            self._own_failures += 1
            self._undecided(circuit)
            return self._backoff.delay_s(self._own_failures, tools.rng)
        pause_s = self._backoff.delay_s(circuit.failures + 1, tools.rng)
        broken = circuit.failed(reason=reason, wait_s=pause_s, failures_to_open=tools.settings.failures_to_open, now=tools.clock())
        tools.ledger.record_circuit(self._destination, broken)
        if broken.state is CircuitState.OPEN and circuit.state is CircuitState.CLOSED:
            self._log.error("destination_circuit_opened", failures=broken.failures, reason=reason)
        return pause_s

    def _answered(self, exc: Exception, circuit: Circuit) -> float:
        """A refusal comes from a destination that is well; what never got there says nothing of it."""
        if isinstance(exc, StoreRefusedError | PresentationContextRefusedError):
            self._well(circuit)
        else:
            self._undecided(circuit)
        return 0.0

    def _well(self, circuit: Circuit) -> None:
        if circuit.failures and self._tools.ledger.close_circuit(self._destination, now=self._tools.clock()):
            self._log.warning("destination_circuit_closed", failures=circuit.failures, open_since=circuit.changed_at.isoformat())

    def _undecided(self, circuit: Circuit) -> None:
        """Give the one attempt of an open circuit to the next result."""
        if circuit.state is CircuitState.HALF_OPEN:
            now = self._tools.clock()
            self._tools.ledger.record_circuit(self._destination, replace(circuit, state=CircuitState.OPEN, not_before=now))


def _is_ours(exc: Exception) -> bool:
    """Say whether a failure says nothing of the destination: of our own store, or one that nobody foresaw."""
    return not isinstance(exc, DeliveryError) or isinstance(exc, ResultMissingError)


def _require_intact(path: Path, claimed: ClaimedDelivery) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise ResultMissingError(f"the file of result {claimed.sop_instance_uid} is not in the object store; is it mounted?") from exc
    if claimed.digest and hashlib.sha256(content).hexdigest() != claimed.digest:
        raise ResultUnsuitableError(f"the file of result {claimed.sop_instance_uid} is damaged; check the disk and requeue the study")

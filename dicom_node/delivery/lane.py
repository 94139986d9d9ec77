"""The lane of one destination: claim a result, send it, record what the destination said. One thread a lane.

Sent and not recorded (a crash in between) means sent again, under the same SOP Instance UID: that is by design.
"""

import enum
import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from config.destinations import DeliverSection, Destination
from config.schema import Settings
from dicom_node.backoff import Backoff
from dicom_node.delivery import ClaimedDelivery, DeliveryChannel, Receipt, open_channel, utc_now
from dicom_node.failures import AttemptsExhaustedError, DeliveryError, ResultMissingError, ResultUnsuitableError, Verdict, describe, judge

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

    def claim_delivery(self, *, destination: str, owner: str, now: datetime, lease_s: float) -> ClaimedDelivery | None: ...

    def record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, *, now: datetime) -> None: ...

    def record_delivery_failure(
        self, claimed: ClaimedDelivery, *, reason: str, status: str, retry_at: datetime | None, now: datetime
    ) -> None: ...


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

    After a failure that may pass, the whole lane pauses, longer each time, so that a dead destination costs one attempt a
    pause and not one for each of the thousands that wait. The failed result comes back later than the lane does: one
    that an archive never takes cannot hold up the others.
    """

    def __init__(self, destination: str, channel: DeliveryChannel, tools: LaneTools) -> None:
        self._destination = destination
        self._channel = channel
        self._tools = tools
        # Pause and further wait of the one result add up to the waits of the settings.
        self._backoff = Backoff(first_s=tools.settings.retry_s / 2, maximum_s=tools.settings.maximum_retry_s / 2)
        self._failures = 0
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
        claimed = tools.ledger.claim_delivery(
            destination=self._destination, owner=tools.owner, now=tools.clock(), lease_s=tools.settings.lease_s
        )
        if claimed is None:
            return IDLE_S
        log = self._log.bind(
            study_instance_uid=claimed.study_instance_uid,
            work_item_id=claimed.work_item_id,
            sop_instance_uid=claimed.sop_instance_uid,
            attempt=claimed.attempts,
        )
        started = time.monotonic()
        try:
            receipt = self._send(claimed)
        except Exception as exc:  # noqa: BLE001 - the worker loop: every failure becomes a verdict in the ledger
            outcome, pause_s = self._record_failure(claimed, exc, log)
        else:
            outcome, pause_s = self._record_receipt(claimed, receipt, log), 0.0
        tools.observer(destination=self._destination, outcome=outcome, seconds=time.monotonic() - started)
        return pause_s

    def _send(self, claimed: ClaimedDelivery) -> Receipt:
        if claimed.attempts > self._tools.settings.maximum_attempts:  # the last ones crashed, else the delivery were FAILED
            raise AttemptsExhaustedError(
                f"{claimed.attempts - 1} attempts to send {claimed.sop_instance_uid} ended in a crash or a lost lease"
            )
        path = self._tools.store.absolute(claimed.path)
        _require_intact(path, claimed)
        return self._channel.deliver(path, claimed.sop_class_uid, claimed.sop_instance_uid)

    def _record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, log: FilteringBoundLogger) -> DeliveryOutcome:
        self._tools.ledger.record_receipt(claimed, receipt, now=self._tools.clock())
        self._failures = 0
        if receipt.warning:
            log.warning("result_accepted_with_warning", status=receipt.status)
            return DeliveryOutcome.ACCEPTED_WITH_WARNING
        log.info("result_accepted", status=receipt.status)
        return DeliveryOutcome.ACCEPTED

    def _record_failure(self, claimed: ClaimedDelivery, exc: Exception, log: FilteringBoundLogger) -> tuple[DeliveryOutcome, float]:
        tools = self._tools
        retry = judge(exc) is Verdict.RETRY
        exhausted = claimed.attempts >= tools.settings.maximum_attempts
        pause_s = self._pause_s() if retry else 0.0
        wait_s = pause_s + self._backoff.delay_s(max(claimed.attempts, 1), tools.rng)
        now = tools.clock()
        retry_at = now + timedelta(seconds=wait_s) if retry and not exhausted else None
        reason, status = describe(exc), exc.status if isinstance(exc, DeliveryError) else ""
        tools.ledger.record_delivery_failure(claimed, reason=reason, status=status, retry_at=retry_at, now=now)
        if retry_at is None:
            log.error("delivery_failed", reason=reason, status=status, attempts_exhausted=retry, error=type(exc).__name__)
            return DeliveryOutcome.FAILED, pause_s
        log.warning("delivery_postponed", reason=reason, status=status, retry_s=round(wait_s, 3), error=type(exc).__name__)
        return DeliveryOutcome.RETRIED, pause_s

    def _pause_s(self) -> float:
        self._failures += 1
        return self._backoff.delay_s(self._failures, self._tools.rng)


def _require_intact(path: Path, claimed: ClaimedDelivery) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise ResultMissingError(f"the file of result {claimed.sop_instance_uid} is not in the object store; is it mounted?") from exc
    if claimed.digest and hashlib.sha256(content).hexdigest() != claimed.digest:
        raise ResultUnsuitableError(f"the file of result {claimed.sop_instance_uid} is damaged; check the disk and requeue the study")


def _unobserved(*, destination: str, outcome: DeliveryOutcome, seconds: float) -> None:
    """Tell nobody."""


def run_deliver(
    settings: Settings,
    ledger: DeliveryLedger,
    store: ResultFiles,
    stop: threading.Event,
    *,
    owner: str,
    clock: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
    observer: DeliveryObserver = _unobserved,
) -> None:
    """Keep one lane open to each destination until `stop` is set. `owner` names this process in the leases."""
    tools = LaneTools(
        ledger=ledger,
        store=store,
        settings=settings.deliver,
        owner=owner,
        clock=clock,
        rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
        observer=observer,
    )
    threads = [
        threading.Thread(target=_keep_open, args=(destination, settings.node.ae_title, tools, stop), name=f"deliver-{destination.name}")
        for destination in settings.destinations
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()


def _keep_open(destination: Destination, calling_ae_title: str, tools: LaneTools, stop: threading.Event) -> None:
    log = structlog.get_logger().bind(destination=destination.name)
    while not stop.is_set():
        try:
            channel = open_channel(destination, calling_ae_title=calling_ae_title, clock=tools.clock)
            Lane(destination.name, channel, tools).run(stop)
        except Exception as exc:  # noqa: BLE001 - the worker loop: a lane that broke, for instance on its ledger, is opened again
            log.error("lane_crashed", reason=describe(exc), error=type(exc).__name__)  # noqa: TRY400 - a traceback may quote values
            stop.wait(max(tools.settings.retry_s, IDLE_S))

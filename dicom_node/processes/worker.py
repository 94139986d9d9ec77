"""The work process: claims work items, urgent first, and takes each one step further."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from dicom_node import steps
from dicom_node.backoff import Backoff
from dicom_node.failures import Verdict, describe, is_the_machines, judge
from dicom_node.ledger import LeaseLostError, Line, WorkItem
from dicom_node.lifecycle import WorkItemState
from dicom_node.node import Node
from dicom_node.telemetry import STEP_FAILURES, STEP_SECONDS

if TYPE_CHECKING:  # torch takes seconds to import
    from inference.device.shared_engine import SharedEngine

log = structlog.get_logger()

IDLE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Works on studies until it is stopped; `owner` is the name on its leases."""

    node: Node
    engine: "SharedEngine"
    owner: str
    stop: threading.Event
    rng: random.Random
    _held: set[int] = field(default_factory=set, init=False)
    """Work items in the lanes of this worker; the lock of the interpreter guards it."""

    def run(self) -> None:
        """Run as many lanes as studies may be in work at once, those for urgent ones beside them, and keep their leases alive."""
        work = self.node.settings.work
        lanes = [threading.Thread(target=self._lane, args=(Line.ALL,), name=f"work-{n}") for n in range(work.parallel_studies)]
        lanes += [threading.Thread(target=self._lane, args=(Line.URGENT,), name=f"urgent-{n}") for n in range(work.urgent_lanes)]
        keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        for thread in (*lanes, keeper):
            thread.start()
        for lane in lanes:
            lane.join()

    def _lane(self, line: Line) -> None:
        while not self.stop.is_set():
            try:
                worked = self.work_once(line)
            except Exception as exc:  # noqa: BLE001 - the worker loop goes on; the lease brings the item back
                log.error("work_lane_failed", reason=describe(exc))  # noqa: TRY400 - a traceback may quote values
                self.stop.wait(self.node.settings.work.retry_s)
                continue
            if not worked:
                self.stop.wait(IDLE_S)

    def _keep_leases(self) -> None:
        lease_s = self.node.settings.work.lease_s
        while not self.stop.wait(lease_s / 3):
            try:
                self.node.ledger.renew_work_leases(tuple(self._held), owner=self.owner, now=self.node.clock(), lease_s=lease_s)
            except Exception as exc:  # noqa: BLE001 - the next round tries again
                log.error("leases_not_renewed", reason=describe(exc))  # noqa: TRY400 - a traceback may quote values

    def work_once(self, line: Line = Line.ALL) -> bool:
        """Claim one work item and do its next step; False if there was nothing to do."""
        work = self.node.settings.work
        item = self.node.ledger.claim_work(
            owner=self.owner,
            now=self.node.clock(),
            lease_s=work.lease_s,
            line=line,
            patience_s=work.routine_wait_s,
            longest_wait_s=work.maximum_retry_s,
        )
        if item is None:
            return False
        self._held.add(item.id)
        try:
            self._step(item)
        finally:
            self._held.discard(item.id)
        return True

    def _step(self, item: WorkItem) -> None:
        with structlog.contextvars.bound_contextvars(
            study_instance_uid=item.study_instance_uid, revision=item.revision, route=item.route, work_item=item.id
        ):
            if item.state is WorkItemState.ROUTED:
                with self.engine.priority(urgent=item.urgent):
                    self._attempt("analyse", item, lambda: steps.analyse(self.node, self.engine, item))
            else:
                self._attempt("encode", item, lambda: steps.encode(self.node, item))

    def _attempt(self, step: str, item: WorkItem, do: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            if item.attempts > self.node.settings.work.maximum_attempts:
                self._exhausted(step, item, "the node stopped in the middle of every attempt")
            else:
                do()
                log.info("step_done", step=step, attempts=item.attempts, seconds=round(time.monotonic() - started, 3))
        except LeaseLostError as exc:
            log.warning("lease_lost", step=step, reason=str(exc))
        except Exception as exc:  # noqa: BLE001 - the worker loop: every failure becomes a verdict in the ledger
            self._failed(step, item, exc)
        finally:
            STEP_SECONDS.labels(step).observe(time.monotonic() - started)

    def _failed(self, step: str, item: WorkItem, exc: Exception) -> None:
        work = self.node.settings.work
        verdict = judge(exc)
        STEP_FAILURES.labels(step, verdict.value).inc()
        log.error("step_failed", step=step, verdict=verdict.value, attempts=item.attempts, reason=describe(exc))
        blameless = is_the_machines(exc)
        if verdict is not Verdict.RETRY or (item.attempts >= work.maximum_attempts and not blameless):
            self._exhausted(step, item, describe(exc))
            return
        pause_s = Backoff(first_s=work.retry_s, maximum_s=work.maximum_retry_s).delay_s(item.attempts, self.rng)
        now: datetime = self.node.clock()
        retry_at = now + timedelta(seconds=pause_s)
        attempts = item.attempts - 1 if blameless else item.attempts
        self.node.ledger.record_work_failure(item, error=describe(exc), attempts=attempts, retry_at=retry_at, now=now)

    def _exhausted(self, step: str, item: WorkItem, reason: str) -> None:
        """A study that cannot be analysed is reported as such; only a report that cannot be made waits for an operator."""
        log.error("attempts_exhausted", step=step, attempts=item.attempts, reason=reason)
        if step == "analyse":
            steps.record_failed_analysis(self.node, item, reason)
        else:
            self.node.ledger.record_work_failure(item, error=reason, attempts=item.attempts, retry_at=None, now=self.node.clock())

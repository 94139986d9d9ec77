"""The lane of storage commitment: asks one destination to keep what it accepted, and again where no report came. One thread each."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import structlog

from config.destinations import DeliverSection, StorageCommitmentSection
from dicom_node.backoff import Backoff
from dicom_node.delivery.commitment import CommitmentAsker, CommitmentReports, new_transaction_uid
from dicom_node.failures import NOT_HANDED_OVER, DeliveryError, describe

IDLE_S = 1.0


class CommitmentLane:
    """Asks for what is due."""

    def __init__(
        self,
        destination: str,
        section: StorageCommitmentSection,
        asker: CommitmentAsker,
        reports: CommitmentReports,
        *,
        settings: DeliverSection,
        clock: Callable[[], datetime],
        rng: Random,
    ) -> None:
        self._destination = destination
        self._section = section
        self._asker = asker
        self._ledger = reports.ledger
        self._reports = reports
        self._backoff = Backoff(first_s=settings.retry_s, maximum_s=settings.maximum_retry_s)
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._log = structlog.get_logger().bind(destination=destination)

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop` is set."""
        while not stop.is_set():
            stop.wait(self.step())

    def step(self) -> float:
        """Ask once for what is due, if anything is. Return the seconds to wait before the next step."""
        section, now = self._section, self._clock()
        for lost in self._ledger.give_up_commitment(destination=self._destination, maximum_requests=section.maximum_requests, now=now):
            self._log.error(
                "commitment_given_up",
                study_instance_uid=lost.study_instance_uid,
                sop_instance_uid=lost.sop_instance_uid,
                requests=lost.requests,
            )
        transaction_uid = new_transaction_uid()
        requested = self._ledger.begin_commitment(
            transaction_uid,
            destination=self._destination,
            limit=section.maximum_instances,
            maximum_requests=section.maximum_requests,
            now=now,
            again_at=now + timedelta(seconds=section.report_timeout_s),
        )
        if not requested:
            return IDLE_S
        log = self._log.bind(transaction_uid=transaction_uid, instances=len(requested))
        try:
            self._asker.ask(transaction_uid, requested, self._reports.handle_event)
        except DeliveryError as exc:
            self._failures += 1
            pause_s = self._backoff.delay_s(self._failures, self._rng)
            ask_at = self._clock() + timedelta(seconds=pause_s)
            counted = not isinstance(exc, NOT_HANDED_OVER)
            self._ledger.postpone_commitment(requested, ask_at=ask_at, counted=counted, reason=describe(exc))
            log.warning("commitment_not_asked", reason=describe(exc), status=exc.status, retry_s=round(pause_s, 3))
            return min(pause_s, IDLE_S)
        self._failures = 0
        log.info("commitment_asked")
        return 0.0

"""Storage Commitment Push Model (PS3.4 Annex J): asking an archive to keep what it accepted, and what its reports mean."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import uuid4

import structlog
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]  # made at run time

from config.destinations import CStoreDestination, StorageCommitmentSection
from dicom_node.delivery.associating import Caller
from dicom_node.failures import AssociationAbortedError, CommitmentFailedError, describe
from dicom_node.ledger.commitments import CommitmentChange, CommitmentRequest, CommitmentVerdict
from dicom_node.lifecycle import DeliveryEvent, DeliveryState

REQUEST_STORAGE_COMMITMENT = 1
SUCCESSFUL, FAILURES_EXIST = 1, 2
SUCCESS, PROCESSING_FAILURE, NO_SUCH_EVENT_TYPE, INVALID_ARGUMENT_VALUE = 0x0000, 0x0110, 0x0113, 0x0115
_LONGEST_UID = 64

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    event: DeliveryEvent | None
    again: bool
    words: str


FAILURE_REASONS: Mapping[int, _Meaning] = {
    0x0110: _Meaning(event=None, again=True, words="processing failure; it is asked again"),
    0x0112: _Meaning(event=DeliveryEvent.NOT_KEPT, again=False, words="it does not have the instance; it is sent again"),
    0x0213: _Meaning(event=None, again=True, words="resource limitation; it is asked again"),
    0x0122: _Meaning(event=None, again=False, words="it commits itself to no instance of that SOP class; it is not asked again"),
    0x0119: _Meaning(event=DeliveryEvent.COMMITMENT_REFUSED, again=False, words="it has that UID as another SOP class"),
    0x0131: _Meaning(event=None, again=True, words="duplicate transaction UID; it is asked again"),
}
"""PS3.4 Table J.3-2 and PS3.3 C.14.1.1. A reason that is not here is asked about again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What an N-EVENT-REPORT says. `failed` has the Failure Reason of each SOP Instance."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]


class CommitmentLedger(Protocol):
    """What storage commitment asks of the ledger."""

    def begin_commitment(
        self, transaction_uid: str, *, destination: str, limit: int, maximum_requests: int, now: datetime, again_at: datetime
    ) -> tuple[CommitmentRequest, ...]: ...

    def postpone_commitment(self, requested: Sequence[CommitmentRequest], *, ask_at: datetime, counted: bool, reason: str) -> None: ...

    def give_up_commitment(self, *, destination: str, maximum_requests: int, now: datetime) -> tuple[CommitmentRequest, ...]: ...

    def commitment_destination(self, transaction_uid: str) -> str | None: ...

    def record_commitment_report(
        self, transaction_uid: str, verdicts: Sequence[CommitmentVerdict], *, now: datetime
    ) -> tuple[CommitmentChange, ...]: ...


class CommitmentAsker:
    """Asks the commitment SCP of one destination, one transaction an association, and hears a report that comes on it."""

    def __init__(self, destination: CStoreDestination, section: StorageCommitmentSection, *, calling_ae_title: str) -> None:
        self._name = destination.name
        self._wait_s = section.wait_s
        self._caller = Caller(
            name=destination.name,
            host=section.host or destination.host,
            port=section.port or destination.port,
            ae_title=section.ae_title or destination.ae_title,
            calling_ae_title=calling_ae_title,
            timeout_s=destination.timeout_s,
            tls=destination.tls,
        )

    def ask(self, transaction_uid: str, requested: Sequence[CommitmentRequest], on_report: Callable[[evt.Event], tuple[int, None]]) -> None:
        """Have the archive take the request. A report that comes within `wait_s` goes to `on_report`.

        Raises:
            DeliveryError: it did not.
        """
        hearing = _Hearing(on_report)
        with self._caller.associate((StorageCommitmentPushModel,), "", handlers=hearing.handlers) as association:
            try:
                answer, _ = association.send_n_action(
                    _action_information(transaction_uid, requested),
                    REQUEST_STORAGE_COMMITMENT,
                    StorageCommitmentPushModel,
                    StorageCommitmentPushModelInstance,
                )
            except (RuntimeError, ValueError) as exc:
                raise AssociationAbortedError(f"{self._name} ended the association before N-ACTION was sent") from exc
            if "Status" not in answer:
                raise CommitmentFailedError(f"{self._name} gave no status for N-ACTION {transaction_uid}: time-out or abort")
            status = f"0x{int(answer.Status):04X}"
            if int(answer.Status) != SUCCESS:
                raise CommitmentFailedError(f"{self._name} answered {status} to N-ACTION {transaction_uid}", status=status)
            hearing.wait(self._wait_s, answer_s=self._caller.timeout_s)


class _Hearing:
    """The reports that come on an association of ours, each until its answer is on the wire.

    pynetdicom answers each in a thread of its own, which a release would overtake: no answer, and the end of its DUL thread.
    """

    def __init__(self, on_report: Callable[[evt.Event], tuple[int, None]]) -> None:
        self._on_report = on_report
        self._changed = threading.Condition()
        self._came = self._handled = self._answered = 0
        self._closed = False
        self.handlers: Sequence[tuple[evt.EventType, Callable[[evt.Event], object]]] = (
            (evt.EVT_DIMSE_RECV, self._receive),
            (evt.EVT_N_EVENT_REPORT, self._handle),
            (evt.EVT_PDU_SENT, self._send),
            (evt.EVT_CONN_CLOSE, self._close),
        )

    def wait(self, seconds: float, *, answer_s: float) -> None:
        """Wait that long for a report, and `answer_s` at most until whatever came has been answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._came or self._closed, seconds)
            self._changed.wait_for(lambda: self._answered == self._came or self._closed, answer_s)

    def _receive(self, event: evt.Event) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RQ):
            with self._changed:
                self._came += 1
                self._changed.notify_all()

    def _handle(self, event: evt.Event) -> tuple[int, None]:
        try:
            return self._on_report(event)
        finally:
            with self._changed:
                self._handled += 1

    def _send(self, _event: evt.Event) -> None:
        with self._changed:
            self._answered = min(self._answered + 1, self._handled)
            self._changed.notify_all()

    def _close(self, _event: evt.Event) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _action_information(transaction_uid: str, requested: Sequence[CommitmentRequest]) -> Dataset:
    information = Dataset()
    information.TransactionUID = UID(transaction_uid)
    information.ReferencedSOPSequence = [_reference(one) for one in requested]
    return information


def _reference(requested: CommitmentRequest) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(requested.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(requested.sop_instance_uid)
    return item


def parse_report(event_type: int, information: Dataset) -> CommitmentReport:
    """Return what a report says: an instance is committed only if it is named as such and not also as failed.

    Raises:
        ValueError: it names no transaction, or says that all is well and that something failed.
    """
    transaction_uid = str(information.get("TransactionUID") or "")
    if not 0 < len(transaction_uid) <= _LONGEST_UID:
        raise ValueError("the report names no transaction")
    failed = tuple((_instance(item), int(item.get("FailureReason") or 0)) for item in information.get("FailedSOPSequence") or ())
    if event_type == SUCCESSFUL and failed:
        raise ValueError("the report of full success names failures")
    lost = {uid for uid, _ in failed}
    named = (_instance(item) for item in information.get("ReferencedSOPSequence") or ())
    return CommitmentReport(
        transaction_uid=transaction_uid, committed=tuple(uid for uid in dict.fromkeys(named) if uid not in lost), failed=failed
    )


def _instance(item: Dataset) -> str:
    return str(item.get("ReferencedSOPInstanceUID") or "")


class CommitmentReports:
    """Records the reports of archives, on whatever association they come."""

    def __init__(self, ledger: CommitmentLedger, *, clock: Callable[[], datetime], ask_again_s: float) -> None:
        self.ledger = ledger
        self._clock = clock
        self._ask_again_s = ask_again_s

    def handle_event(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT of pynetdicom: 0x0000 once it is durable."""
        try:
            return self.handle_report(event.event_type or 0, event.event_information), None
        except Exception as exc:  # noqa: BLE001 - an SCP handler: whatever failed, the archive may report again
            _log.error("commitment_report_not_recorded", reason=describe(exc), error=type(exc).__name__)
            return PROCESSING_FAILURE, None

    def handle_report(self, event_type: int, information: Dataset) -> int:
        """Record a report; return the status to answer. Recording one twice changes nothing."""
        if event_type not in {SUCCESSFUL, FAILURES_EXIST}:
            return NO_SUCH_EVENT_TYPE
        try:
            report = parse_report(event_type, information)
        except ValueError as exc:
            _log.warning("commitment_report_refused", reason=str(exc))
            return INVALID_ARGUMENT_VALUE
        destination = self.ledger.commitment_destination(report.transaction_uid)
        if destination is None:
            _log.warning("commitment_report_refused", reason="nobody asked in that transaction", transaction_uid=report.transaction_uid)
            return INVALID_ARGUMENT_VALUE
        now = self._clock()
        changes = self.ledger.record_commitment_report(report.transaction_uid, tuple(self._verdicts(report, now)), now=now)
        log = _log.bind(destination=destination, transaction_uid=report.transaction_uid)
        for change in changes:
            about = {"study_instance_uid": change.study_instance_uid, "sop_instance_uid": change.sop_instance_uid}
            if change.state is DeliveryState.COMMITTED:
                log.info("result_committed", **about)
            else:
                log.error("result_not_committed", **about, reason=change.reason, state=change.state.value)
        return SUCCESS

    def _verdicts(self, report: CommitmentReport, now: datetime) -> Iterator[CommitmentVerdict]:
        for uid in report.committed:
            yield CommitmentVerdict(sop_instance_uid=uid, event=DeliveryEvent.COMMITTED, reason="is kept")
        for uid, code in report.failed:
            meaning = FAILURE_REASONS.get(code, _Meaning(event=None, again=True, words="an unknown reason; it is asked again"))
            yield CommitmentVerdict(
                sop_instance_uid=uid,
                event=meaning.event,
                reason=f"not committed, Failure Reason 0x{code:04X}: {meaning.words}",
                ask_at=now + timedelta(seconds=self._ask_again_s) if meaning.again else None,
            )


def new_transaction_uid() -> str:
    """Return a UID that nobody can guess: a report that names it comes from whom it was told to (UUID-derived, PS3.5 B.2)."""
    return f"2.25.{uuid4().int}"

"""One C-STORE request, from its first byte to its status and its row: the promise of PS3.4 Annex B as this node keeps it.

Success is answered only when the bytes are durable under a name of ours. That file is the record: it says all that the row of a new
instance says, and the start-up scan makes the row of it if this process dies first. Of an instance that may be known the row says more
than its file, so it is committed before the answer; and so is every row while the ledger takes none.
"""

import errno
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.failpoints import failpoint
from dicom_node.keeping.incoming_file import IncomingFile
from dicom_node.keeping.kernel_synchroniser import KernelSynchroniser
from dicom_node.keeping.object_store import ObjectStore, quarantine_path, received_path
from dicom_node.keeping.part10 import preamble_and_file_meta
from dicom_node.receiving.arriving_data_set import Answer, ArrivingDataSet, RefusedError, Status, StoreRequest
from dicom_node.receiving.instance_header import InstanceHeader, UnreadableHeaderError, is_valid_uid, peek_received
from dicom_node.study import Arrival, ReceivedInstance

_RECORDED_BETWEEN_CHECKPOINTS = 500
_log = structlog.get_logger(__name__)


class InstanceRecorder(Protocol):
    """The part of the ledger that reception needs. No process's death undoes what a call did that returned."""

    def may_know(self, sop_instance_uid: str) -> bool:
        """Say whether an instance was recorded before; True also if that cannot be told at once."""

    def record_newcomers(self, arrivals: Sequence[Arrival]) -> bool:
        """Record instances that nobody has sent before. False, and nothing is recorded, if that cannot be at once."""

    def record_instances(self, arrivals: Sequence[Arrival]) -> Sequence[object]:
        """Return, for each, what was known of it, or the exception that kept it from being recorded."""

    def record_quarantine(self, *, path: str, reason: str, calling_ae_title: str, sop_instance_uid: str, at: datetime) -> None: ...

    def checkpoint(self) -> None:
        """Move what `record_newcomers` wrote to where it is read from. It is asked now and then, and may wait for the disk."""


class Reception:
    """Takes data sets in: `begin` when the command set is there; `prepare`, `synchronise` and `record` when the last byte is."""

    def __init__(
        self,
        *,
        ae_title: str,
        store: ObjectStore,
        recorder: InstanceRecorder,
        clock: Callable[[], datetime],
        reserve_bytes: int,
        urgent_calling_ae_titles: tuple[str, ...],
    ) -> None:
        self._ae_title = ae_title
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._urgent_calling_ae_titles = urgent_calling_ae_titles
        self._recorded = 0
        self.behind = False
        """True from when the ledger failed to take rows until it takes some: nobody is answered 0x0000 before that."""

    def begin(self, request: StoreRequest, *, maximum_bytes: int | None = None) -> ArrivingDataSet:
        """Return the place for the data set of `request`. Never raises: what is wrong already is answered when all has come."""
        return ArrivingDataSet(request, lambda: self._store.incoming(self._prefix(request)), self._check_space, maximum_bytes=maximum_bytes)

    def prepare(self, arriving: ArrivingDataSet) -> None:
        """Take or refuse a complete data set, if that means to wait for nothing; `synchronise` does it otherwise."""
        arriving.end()
        self._take(arriving, may_wait=False)

    def synchronise_aside(self, arriving: ArrivingDataSet, kernel: KernelSynchroniser | None, ended: Callable[[], None]) -> bool:
        """As `synchronise`, of what `prepare` took, without waiting: `ended` is called when it is done. False if that cannot be."""

        def note() -> None:
            self._note_synchronised([arriving])
            ended()

        if arriving.named is None or arriving.answer is not None:
            return False
        try:
            return self._store.synchronise_aside(arriving.named, kernel, note)
        except Exception as exc:  # noqa: BLE001 - as in `synchronise`
            arriving.answer = _failed(exc)
            return False

    def synchronise(self, batch: Sequence[ArrivingDataSet]) -> None:
        """Make complete data sets durable, together, and answer those that cannot be taken; waits for the disk."""
        for arriving in batch:
            self._take(arriving, may_wait=True)
        try:
            self._store.synchronise_all([arriving.named for arriving in batch if arriving.named is not None])
        except Exception as exc:  # noqa: BLE001 - the SCP answers and goes on, whatever a batch does to it
            for arriving in batch:
                arriving.answer = arriving.answer or _failed(exc)
        self._note_synchronised(batch)

    def _note_synchronised(self, batch: Sequence[ArrivingDataSet]) -> None:
        try:
            # Killed here, the files have no rows: the start-up scan records them, and the senders, never answered, send again.
            failpoint("receive.kept")
        except Exception as exc:  # noqa: BLE001 - as in `synchronise`
            for arriving in batch:
                arriving.answer = arriving.answer or _failed(exc)
        for arriving in batch:
            arriving.synchronised = True
            if arriving.named is not None and arriving.named.failure is not None:
                arriving.answer = _failed(arriving.named.failure)
            elif arriving.arrival is not None and not arriving.may_be_known and not self.behind:
                arriving.answer = arriving.answer or _success(arriving.arrival)

    def record(self, batch: Sequence[ArrivingDataSet], *, wait: bool) -> None:
        """Record what is durable, and answer what has no answer yet. Without `wait`, all may still owe their rows afterwards."""
        owing = [(arriving, arriving.arrival) for arriving in batch if arriving.owes_row and arriving.arrival is not None]
        if not owing:
            return
        try:
            # Killed here, or refused by the ledger, what was answered has a file and no row.
            failpoint("receive.answered")
            outcomes = self._outcomes([arrival for _, arrival in owing], wait=wait)
            if outcomes:
                failpoint("receive.recorded")
                self.behind = False
        except Exception as exc:  # noqa: BLE001 - whatever ails the ledger, the senders are told
            self.behind = True
            _log.error("instances_not_recorded", instances=len(owing), error=type(exc).__name__)
            for arriving, _ in owing:
                arriving.answer = arriving.answer or _not_recorded(exc)
            return
        for (arriving, arrival), outcome in zip(owing, outcomes, strict=False):
            arriving.recorded = True
            if not isinstance(outcome, Exception):
                arriving.answer = arriving.answer or _success(arrival, recorded=str(outcome))
            elif arriving.answer is None:
                arriving.answer = _not_recorded(outcome)
            else:  # something is wrong with this row alone; the start-up scan tries again
                _log.error("instance_not_recorded", sop_instance_uid=arriving.request.sop_instance_uid, error=type(outcome).__name__)

    def tidy(self) -> None:
        """Let the ledger move what it wrote to its place, now and then; waits for the disk."""
        if self._recorded < _RECORDED_BETWEEN_CHECKPOINTS:
            return
        self._recorded = 0
        try:
            self._recorder.checkpoint()
        except Exception as exc:  # noqa: BLE001 - it is tried again
            _log.warning("ledger_not_checkpointed", error=type(exc).__name__)

    def _outcomes(self, arrivals: Sequence[Arrival], *, wait: bool) -> Sequence[object]:
        """Return what was known of each; nothing if that would mean to wait."""
        if wait:
            return self._recorder.record_instances(arrivals)
        if not self._recorder.record_newcomers(arrivals):
            return ()
        self._recorded += len(arrivals)
        return ("new",) * len(arrivals)

    def _take(self, arriving: ArrivingDataSet, *, may_wait: bool) -> None:
        """Check a data set and give its file a name, unless that is done, or would mean to wait and may not."""
        if arriving.answer is not None or arriving.named is not None:
            return
        try:
            header = arriving.header or (self._header(arriving) if may_wait else None)
            if header is not None:
                self._take_with(header, arriving, may_wait=may_wait)
        except Exception as exc:  # noqa: BLE001 - one object's failure is not that of the others in its batch
            arriving.answer = _failed(exc)

    def _take_with(self, header: InstanceHeader, arriving: ArrivingDataSet, *, may_wait: bool) -> None:
        file, request = arriving.file(), arriving.request
        _check_header(header, request)
        digest = file.digest
        path = received_path(study_instance_uid=header.study_instance_uid, sop_instance_uid=header.sop_instance_uid, digest=digest)
        if not may_wait and not self._store.has_folder_of(path):
            return
        instance = received_instance(
            header,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_ae_title=request.calling_ae_title,
            received_at=self._clock(),
            digest=digest,
            size_bytes=file.size_bytes,
            path=path,
        )
        urgent = header.high_priority or request.calling_ae_title in self._urgent_calling_ae_titles
        arriving.may_be_known = self._recorder.may_know(header.sop_instance_uid)
        arriving.arrival = Arrival(instance=instance, urgent=urgent)
        arriving.named = self._store.give_name(file, path)

    def _header(self, arriving: ArrivingDataSet) -> InstanceHeader:
        file, request = arriving.file(), arriving.request
        try:
            return peek_received(file, transfer_syntax_uid=request.transfer_syntax_uid)
        except UnreadableHeaderError as exc:
            self._quarantine(file, request, reason=str(exc))
            raise RefusedError(Status.CANNOT_UNDERSTAND, "the data set cannot be parsed") from exc

    def _quarantine(self, file: IncomingFile, request: StoreRequest, *, reason: str) -> None:
        path = self._store.keep(file, quarantine_path(digest=file.digest))
        self._recorder.record_quarantine(
            path=path.as_posix(),
            reason=reason,
            calling_ae_title=request.calling_ae_title,
            sop_instance_uid=request.sop_instance_uid,
            at=self._clock(),
        )

    def _prefix(self, request: StoreRequest) -> bytes:
        if not is_valid_uid(request.sop_class_uid) or not is_valid_uid(request.sop_instance_uid):
            raise RefusedError(Status.DATA_SET_DOES_NOT_MATCH, "a UID in the command set is no valid UID")
        return preamble_and_file_meta(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            sending_ae_title=request.calling_ae_title,
            receiving_ae_title=self._ae_title,
        )

    def _check_space(self) -> None:
        if self._store.free_bytes() < self._reserve_bytes:
            raise RefusedError(Status.OUT_OF_RESOURCES, "free space is below the reserve")


def _success(arrival: Arrival, *, recorded: str = "new") -> Answer:
    return Answer(status=Status.SUCCESS, instance=arrival.instance, recorded=recorded)


def _failed(exc: Exception) -> Answer:
    if isinstance(exc, RefusedError):
        return Answer(status=exc.status, comment=str(exc))
    if isinstance(exc, OSError):
        return Answer(status=Status.OUT_OF_RESOURCES, comment=f"cannot write: {errno.errorcode.get(exc.errno or 0, 'unknown error')}")
    return Answer(status=Status.PROCESSING_FAILURE, comment=f"internal error: {type(exc).__name__}")


def _not_recorded(exc: Exception) -> Answer:
    return Answer(status=Status.OUT_OF_RESOURCES, comment=f"cannot record the instance: {type(exc).__name__}")


def received_instance(
    header: InstanceHeader,
    *,
    transfer_syntax_uid: str,
    calling_ae_title: str,
    received_at: datetime,
    digest: str,
    size_bytes: int,
    path: Path,
) -> ReceivedInstance:
    """Return the value that the ledger records."""
    return ReceivedInstance(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        modality=header.modality,
        calling_ae_title=calling_ae_title,
        received_at=received_at,
        digest=digest,
        size_bytes=size_bytes,
        path=path,
        expected_instances=header.expected_instances,
    )


def _check_header(header: InstanceHeader, request: StoreRequest) -> None:
    """Raise RefusedError unless the data set is what the command set and the presentation context say it is."""
    for name, uid in (
        ("SOP Class UID", header.sop_class_uid),
        ("SOP Instance UID", header.sop_instance_uid),
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
    ):
        if not is_valid_uid(uid):
            raise RefusedError(Status.DATA_SET_DOES_NOT_MATCH, f"{name} is missing or no valid UID")
    if header.sop_instance_uid != request.sop_instance_uid:
        raise RefusedError(Status.DATA_SET_DOES_NOT_MATCH, "SOP Instance UID differs from the command set")
    if not header.sop_class_uid == request.sop_class_uid == request.abstract_syntax_uid:
        raise RefusedError(Status.DATA_SET_DOES_NOT_MATCH, "SOP Class UID differs from command set or context")

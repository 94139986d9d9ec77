"""What this node does on an association that somebody opened: C-STORE into `reception`, C-ECHO, and nothing else."""

import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from dicom_node import audit
from dicom_node.audit.events import InstancesRefused
from dicom_node.receiving.arriving_data_set import Answer, ArrivingDataSet, Status, StoreRequest
from dicom_node.receiving.capabilities import VERIFICATION_SOP_CLASS
from dicom_node.receiving.instance_header import is_valid_uid
from dicom_node.receiving.peers import Peers, Why
from dicom_node.receiving.reception import Reception
from dicom_node.tls.contexts import peer_certificate
from dicom_node.upper_layer.listener import Connection
from dicom_node.upper_layer.machine import State
from dicom_node.upper_layer.messages import Command, CommandField, MessageError, Messages, encode_response
from dicom_node.upper_layer.negotiation import AcceptedContext, Offer, accept, accepted_contexts, objection, operations_at_once
from dicom_node.upper_layer.pdus import AssociateAccept, AssociateReject, AssociateRequest

_UNRECOGNIZED_OPERATION = 0x0211
_REASONS = {(1, 2): "Application context name not supported", (2, 2): "Protocol version not supported"}
_log: FilteringBoundLogger = structlog.get_logger(__name__)


class ReceptionObserver(Protocol):
    """Is told of each C-STORE answer and of each rejected association: the metrics."""

    def on_instance(self, status: int, seconds: float, size_bytes: int) -> None: ...

    def on_rejection(self, peer: str, why: Why) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageService:
    """What all associations of a process share. `submit` takes a complete data set; `StorageSession.answer` must follow once it has its
    answer, and `finish` once it has its row. `hurry` is called if an association waits for that."""

    offer: Offer
    peers: Peers
    reception: Reception
    submit: Callable[["Submission"], None]
    hurry: Callable[[], None]
    observer: ReceptionObserver | None


@dataclass(slots=True, kw_only=True, eq=False)
class Submission:
    """A complete data set, and whom to answer."""

    session: "StorageSession"
    context_id: int
    command: Command
    arriving: ArrivingDataSet
    complete_at: float
    answered: bool = False


class StorageSession:
    """One association. Everything in here happens in the listener's thread."""

    def __init__(self, connection: Connection, service: StorageService) -> None:
        self._connection = connection
        self._service = service
        self._messages = Messages(self)
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._calling_ae_title = ""
        self._window = 1
        self._log = _log
        self._arriving: ArrivingDataSet | None = None
        self._unfinished: set[Submission] = set()
        self.releasing = False
        self._stored = self._stored_bytes = 0
        self._refused: Counter[tuple[str, int]] = Counter()
        self.unanswered = 0

    @property
    def full(self) -> bool:
        """True if the peer has sent more than it may before something is answered. One more than agreed is no harm."""
        return self.unanswered > self._window

    def on_request(self, request: AssociateRequest) -> AssociateAccept | AssociateReject:
        """Decide about the association."""
        refusal = objection(request)
        if refusal is not None:
            _log.warning(
                "association_rejected",
                calling_ae_title=request.calling_ae_title,
                called_ae_title=request.called_ae_title,
                peer=self._connection.address,
                reason=_REASONS[refusal.source, refusal.reason],
            )
            return refusal
        connected, peers = self._connection.socket, self._service.peers
        turned_away = peers.admit(
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=self._connection.address,
            certificate=peer_certificate(connected) if isinstance(connected, ssl.SSLSocket) else None,
        )
        if turned_away is not None:
            return AssociateReject(result=turned_away.result, source=turned_away.source, reason=turned_away.reason)
        answer = accept(request, self._service.offer, barred=self._barred(request))
        self._calling_ae_title = request.calling_ae_title
        self._log = _log.bind(calling_ae_title=request.calling_ae_title)
        self._contexts = accepted_contexts(request, answer)
        self._window = operations_at_once(answer)
        self._log.info("association_accepted", peer=self._connection.address, contexts_accepted=len(self._contexts))
        return answer

    def on_data(self, context_id: int, fragment: memoryview, *, command: bool, last: bool) -> None:
        """Take a piece of a message; what is no message ends the association."""
        try:
            self._check_context(context_id)
            self._messages.take(context_id, fragment, command=command, last=last)
        except MessageError as exc:
            _log.warning("message_refused", calling_ae_title=self._calling_ae_title, peer=self._connection.address, reason=str(exc))
            self._abort()

    def on_command(self, context_id: int, command: Command) -> ArrivingDataSet | None:
        """Answer what has no data set; return where the data set of a C-STORE goes."""
        if command.field == CommandField.C_STORE:
            if command.has_data_set:
                self._arriving = self._begin(self._contexts[context_id], command)
                return self._arriving
            self._respond(context_id, command, Status.CANNOT_UNDERSTAND, "the request has no data set")
        elif command.field == CommandField.C_CANCEL:
            if command.has_data_set:
                raise MessageError("a C-CANCEL with a data set")
        elif not command.has_data_set:
            self._respond(context_id, command, Status.SUCCESS if command.field == CommandField.C_ECHO else _UNRECOGNIZED_OPERATION)
        return None

    def on_data_set(self, context_id: int, command: Command) -> None:
        """Hand on a data set that is complete."""
        arriving, self._arriving = self._arriving, None
        if arriving is None:
            self._respond(context_id, command, _UNRECOGNIZED_OPERATION)
            return
        self.unanswered += 1
        submission = Submission(session=self, context_id=context_id, command=command, arriving=arriving, complete_at=time.monotonic())
        self._unfinished.add(submission)
        self._service.submit(submission)

    def answer(self, submission: Submission) -> None:
        """Tell the peer, if it is still there, what became of a data set, once that is decided."""
        answer = submission.arriving.answer
        if answer is None or submission.answered:
            return
        submission.answered = True
        submission.arriving.discard()
        self.unanswered -= 1
        if answer.instance is None:
            self._refused[submission.command.sop_class_uid, int(answer.status)] += 1
        else:
            self._stored += 1
            self._stored_bytes += submission.arriving.size_bytes
        if not self._connection.waiting:
            self._respond(submission.context_id, submission.command, answer.status, answer.comment)
        self._connection.flush()  # also where the peer is gone: it may have waited with reading, and so with noticing it
        seconds = time.monotonic() - submission.complete_at
        _log_answer(self._log, submission.arriving, answer, seconds)
        if self._service.observer is not None:
            self._service.observer.on_instance(answer.status, seconds, submission.arriving.size_bytes)

    def finish(self, submission: Submission) -> None:
        """A data set was answered, and its row is there or will have to be waited for. May be said twice."""
        self._unfinished.discard(submission)
        if self.releasing:
            self._release_if_done()
            self._connection.flush()

    def on_release(self) -> None:
        """Release the association as soon as everything is answered and recorded: then whoever asks the ledger finds it."""
        self.releasing = True
        if self._unfinished:
            self._service.hurry()
        self._release_if_done()

    def on_end(self, *, aborted: bool) -> None:
        """Forget what had not arrived in full."""
        self._service.peers.release(calling_ae_title=self._calling_ae_title)
        self._log.info(
            "association_aborted" if aborted else "association_released",
            peer=self._connection.address,
            instances_stored=self._stored,
            instances_refused=self._refused.total(),
            size_bytes=self._stored_bytes,
        )
        if self._arriving is not None:
            self._arriving.discard()
            self._arriving = None
        if self._refused:
            refused = InstancesRefused.of(self._calling_ae_title, self._connection.address, self._refused)
            audit.record_soon(refused)

    def _check_context(self, context_id: int) -> None:
        if context_id not in self._contexts:
            raise MessageError("a presentation context that was not accepted")

    def _barred(self, request: AssociateRequest) -> frozenset[str]:
        """Return the SOP classes that this peer may not store."""
        peer = self._service.peers.peer(request.calling_ae_title)
        proposed = {context.abstract_syntax for context in request.contexts}
        return frozenset(uid for uid in proposed if uid != VERIFICATION_SOP_CLASS and peer is not None and not peer.may_store(uid))

    def _begin(self, context: AcceptedContext, command: Command) -> ArrivingDataSet:
        peer = self._service.peers.peer(self._calling_ae_title)
        request = StoreRequest(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            abstract_syntax_uid=context.abstract_syntax,
            transfer_syntax_uid=context.transfer_syntax,
            calling_ae_title=self._calling_ae_title,
        )
        return self._service.reception.begin(request, maximum_bytes=peer.maximum_object_bytes if peer is not None else None)

    def _respond(self, context_id: int, command: Command, status: int, comment: str = "") -> None:
        acceptor = self._connection.acceptor
        assert acceptor is not None
        response = encode_response(
            command.field,
            message_id=command.message_id,
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            status=status,
            comment=comment,
        )
        acceptor.send_data(context_id, response)

    def _release_if_done(self) -> None:
        acceptor = self._connection.acceptor
        if not self._unfinished and acceptor is not None and acceptor.state is State.AWAITING_RELEASE_RESPONSE:
            acceptor.release()

    def _abort(self) -> None:
        if self._connection.acceptor is not None:
            self._connection.acceptor.abort()


def _log_answer(log: FilteringBoundLogger, arriving: ArrivingDataSet, answer: Answer, seconds: float) -> None:
    request = arriving.request
    # What is no UID could be anything, a name for one.
    uid = request.sop_instance_uid if is_valid_uid(request.sop_instance_uid) else "(not a valid UID)"
    if answer.instance is None:
        log.warning(
            "instance_refused",
            sop_instance_uid=uid,
            size_bytes=arriving.size_bytes,
            status=f"0x{answer.status:04X}",
            reason=answer.comment,
        )
    else:
        log.debug(
            "instance_stored",
            sop_instance_uid=uid,
            size_bytes=arriving.size_bytes,
            study_instance_uid=answer.instance.study_instance_uid,
            recorded=answer.recorded,
            milliseconds=round(seconds * 1000, 1),
        )

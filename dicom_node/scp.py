"""The Storage and Verification SCP: who may associate, and the way from the network to `reception`.

A data set goes to a file while it arrives, so memory does not grow with the object. It is never decoded, never transcoded.
"""

import secrets
import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Any, Protocol

import structlog
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE

from config.receiving import ReceiveSection
from dicom_node.capabilities import supported_contexts
from dicom_node.entity import own_entity
from dicom_node.header_peek import is_valid_uid
from dicom_node.object_store import ObjectStore
from dicom_node.quiet import keep_libraries_silent
from dicom_node.reception import Answer, ArrivingDataSet, InstanceRecorder, Reception, Status, StoreRequest

_STOP_GRACE_S = 2.0
_LONGEST_NEGOTIATION_BYTES = 1 << 20  # an A-ASSOCIATE-RQ has no agreed length; 128 contexts with 60 syntaxes each take 200 kB
_LONGEST_ERROR_COMMENT = 64
_log = structlog.get_logger(__name__)


class ReceptionObserver(Protocol):
    """Is told of each C-STORE answer: the metrics."""

    def on_instance(self, status: int, seconds: float, size_bytes: int) -> None: ...


class StorageScp:
    """Listens for associations and keeps what they send."""

    def __init__(
        self,
        *,
        ae_title: str,
        settings: ReceiveSection,
        store: ObjectStore,
        recorder: InstanceRecorder,
        clock: Callable[[], datetime],
        observer: ReceptionObserver | None = None,
    ) -> None:
        self._ae_title = ae_title
        self._settings = settings
        self._observer = observer
        self._reception = Reception(
            ae_title=ae_title,
            store=store,
            recorder=recorder,
            clock=clock,
            reserve_bytes=settings.reserve_mb * 1_000_000,
            urgent_calling_ae_titles=settings.urgent_calling_ae_titles,
        )
        self._arriving: dict[Association, set[ArrivingDataSet]] = {}
        self._arriving_lock = Lock()
        self._server: Any = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on, also if 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen. Returns at once; associations are served by threads.

        Raises:
            OSError: the address cannot be bound.
        """
        keep_libraries_silent()
        self._server = self._application_entity().start_server(
            (self._settings.host, self._settings.port),
            block=False,
            contexts=supported_contexts(),
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._limit_peer),
                (evt.EVT_ACSE_SENT, self._log_rejection),
                (evt.EVT_ACCEPTED, self._log_association, ["association_accepted"]),
                (evt.EVT_RELEASED, self._log_association, ["association_released"]),
                (evt.EVT_ABORTED, self._log_association, ["association_aborted"]),
                (evt.EVT_PDU_RECV, self._write_while_arriving),
                (evt.EVT_CONN_CLOSE, self._discard_arriving),
                (evt.EVT_CONN_CLOSE, _free_the_place),
                (evt.EVT_C_STORE, self._answer_c_store),
            ],
        )
        _log.info("listening", ae_title=self._ae_title, host=self._settings.host, port=self.port)

    def stop(self) -> None:
        """Stop listening, give open associations two seconds to end, abort the rest."""
        self._server.shutdown()
        deadline = time.monotonic() + _STOP_GRACE_S
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.01)
        for association in self._server.active_associations:
            association.abort()
        _log.info("stopped_listening", ae_title=self._ae_title)

    def _application_entity(self) -> AE:
        settings = self._settings
        entity = own_entity(self._ae_title)
        entity.require_called_aet = True
        if not settings.any_calling_ae_title:
            # pynetdicom takes an empty list to mean everybody; a title that nobody can know keeps everybody out.
            entity.require_calling_aet = list(settings.calling_ae_titles) or [secrets.token_hex(8)]
        entity.maximum_associations = settings.maximum_associations
        entity.maximum_pdu_size = settings.maximum_pdu_bytes
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.network_timeout_s
        return entity

    def _limit_peer(self, event: evt.Event) -> None:
        """Bound how long a peer may be silent within a PDU, and how long a PDU it may announce; pynetdicom bounds neither."""
        connection: Any = event.assoc.dul.socket
        connection.socket.settimeout(self._settings.network_timeout_s)
        longest = max(self._settings.maximum_pdu_bytes, _LONGEST_NEGOTIATION_BYTES)
        receive = connection.recv

        def receive_bounded(nr_bytes: int) -> bytearray:
            if nr_bytes > longest:
                _log.warning("pdu_refused", peer=event.assoc.requestor.address, announced_bytes=nr_bytes, longest_bytes=longest)
                connection.close()
                raise ConnectionAbortedError("a longer PDU than was agreed")
            answer: bytearray = receive(nr_bytes)
            return answer

        connection.recv = receive_bounded

    def _log_rejection(self, event: evt.Event) -> None:
        primitive = getattr(event, "primitive", None)
        if isinstance(primitive, A_ASSOCIATE) and primitive.result:
            requested: Any = event.assoc.requestor.primitive
            _log.warning(
                "association_rejected",
                calling_ae_title=event.assoc.requestor.ae_title,
                called_ae_title=requested.called_ae_title,
                peer=event.assoc.requestor.address,
                reason=primitive.reason_str,
            )

    def _log_association(self, event: evt.Event, name: str) -> None:
        if event.assoc.requestor.primitive is None:  # somebody only looked whether we listen
            return
        _log.info(
            name,
            calling_ae_title=event.assoc.requestor.ae_title,
            peer=event.assoc.requestor.address,
            contexts_accepted=len(event.assoc.accepted_contexts),
        )

    def _write_while_arriving(self, event: evt.Event) -> None:
        """Put a file in the place of the memory that pynetdicom collects a data set in."""
        message = event.assoc.dimse.message
        if not isinstance(event.pdu, P_DATA_TF) or not isinstance(message, C_STORE_RQ) or isinstance(message.data_set, ArrivingDataSet):
            return
        contexts = {context.context_id: context for context in event.assoc.accepted_contexts}
        context = contexts.get(message.context_id)
        if context is None:  # pynetdicom aborts the association
            return
        arriving = self._begin(
            event.assoc,
            StoreRequest(
                sop_class_uid=str(message.command_set.get("AffectedSOPClassUID", "")),
                sop_instance_uid=str(message.command_set.get("AffectedSOPInstanceUID", "")),
                abstract_syntax_uid=str(context.abstract_syntax),
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                calling_ae_title=event.assoc.requestor.ae_title,
            ),
        )
        if message.data_set is not None:
            arriving.write(message.data_set.getvalue())
        message.data_set = arriving

    def _begin(self, association: Association, request: StoreRequest) -> ArrivingDataSet:
        arriving = self._reception.begin(request)
        with self._arriving_lock:
            self._arriving.setdefault(association, set()).add(arriving)
        return arriving

    def _discard_arriving(self, event: evt.Event) -> None:
        """Remove what had not arrived in full when the connection closed."""
        with self._arriving_lock:
            left = self._arriving.pop(event.assoc, set())
        for arriving in left:
            arriving.discard()

    def _arrived(self, event: evt.Event) -> ArrivingDataSet:
        """Return the complete data set, out of reach of `_discard_arriving`: the peer may hang up while it is stored."""
        request: Any = event.request
        arriving = request.DataSet
        if not isinstance(arriving, ArrivingDataSet):  # the whole request came in one PDU, or has no data set
            arriving = self._begin(
                event.assoc,
                StoreRequest(
                    sop_class_uid=str(request.AffectedSOPClassUID),
                    sop_instance_uid=str(request.AffectedSOPInstanceUID),
                    abstract_syntax_uid=str(event.context.abstract_syntax),
                    transfer_syntax_uid=str(event.context.transfer_syntax),
                    calling_ae_title=event.assoc.requestor.ae_title,
                ),
            )
            arriving.write(request.DataSet.getvalue())
        with self._arriving_lock:
            self._arriving.get(event.assoc, set()).discard(arriving)
        return arriving

    def _answer_c_store(self, event: evt.Event) -> Dataset:
        started = time.monotonic()
        arriving = self._arrived(event)
        answer = self._reception.complete(arriving)
        seconds = time.monotonic() - started
        _log_answer(arriving, answer, seconds)
        if self._observer is not None:
            self._observer.on_instance(answer.status, seconds, arriving.size_bytes)
        return _response(answer)


def _log_answer(arriving: ArrivingDataSet, answer: Answer, seconds: float) -> None:
    request = arriving.request
    # What is no UID could be anything, a name for one.
    uid = request.sop_instance_uid if is_valid_uid(request.sop_instance_uid) else "(not a valid UID)"
    log = _log.bind(calling_ae_title=request.calling_ae_title, sop_instance_uid=uid, size_bytes=arriving.size_bytes)
    if answer.instance is None:
        log.warning("instance_refused", status=f"0x{answer.status:04X}", reason=answer.comment)
    else:
        study = answer.instance.study_instance_uid
        log.info("instance_stored", study_instance_uid=study, recorded=answer.recorded, milliseconds=round(seconds * 1000, 1))


def _free_the_place(event: evt.Event) -> None:
    """End the wait for an A-ASSOCIATE-RQ that cannot come any more: a health check that only connects must not hold a place."""
    if event.assoc.requestor.primitive is None:
        queue: Any = event.assoc.dul.to_user_queue
        queue.put(None)  # what pynetdicom reads as a time-out


def _response(answer: Answer) -> Dataset:
    response = Dataset()
    response.Status = int(answer.status)
    if answer.status is not Status.SUCCESS:
        response.ErrorComment = answer.comment[:_LONGEST_ERROR_COMMENT]
    return response

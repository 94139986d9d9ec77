"""Results to an archive by C-STORE (PS3.4 Annex B): one association a call, the one SOP class that is sent, nothing else."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from config.destinations import CStoreDestination
from dicom_node.delivery import Receipt
from dicom_node.entity import own_entity
from dicom_node.failures import (
    AssociationAbortedError,
    AssociationRejectedError,
    DeliveryError,
    DestinationUnreachableError,
    EmptyAnswerError,
    PresentationContextRefusedError,
    ResultMissingError,
    ResultUnsuitableError,
    StoreFailedError,
    StoreRefusedError,
)

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111

ACCEPTED_WITH_WARNING: Mapping[int, str] = {
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    DUPLICATE_SOP_INSTANCE: "it has that SOP Instance already",
}
"""PS3.4 Table B.2-1, and PS3.7 C.5.6: what some archives answer when a result is sent again, as it is after a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailureStatus:
    first: int
    last: int
    error: type[DeliveryError]
    meaning: str


FAILURES = (
    _FailureStatus(first=0x0110, last=0x0110, error=StoreFailedError, meaning="processing failure; its log says more"),
    _FailureStatus(first=0x0117, last=0x0117, error=StoreRefusedError, meaning="invalid SOP Instance"),
    _FailureStatus(first=0x0122, last=0x0122, error=StoreRefusedError, meaning="SOP class not supported; enable it there and requeue"),
    _FailureStatus(first=0x0124, last=0x0124, error=StoreFailedError, meaning="not authorised; allow this node there"),
    _FailureStatus(first=0x0210, last=0x0213, error=StoreFailedError, meaning="the operation itself was refused"),
    _FailureStatus(first=0xA700, last=0xA7FF, error=StoreFailedError, meaning="out of resources; its disk may be full"),
    _FailureStatus(first=0xA900, last=0xA9FF, error=StoreRefusedError, meaning="data set does not match SOP class; its log says why"),
    _FailureStatus(first=0xC000, last=0xCFFF, error=StoreRefusedError, meaning="cannot understand the object; its log says why"),
)
"""PS3.4 Table B.2-1 and PS3.7 9.1.1.1.9. A status that is not here is not success: it is tried again."""


class CStoreChannel:
    """Sends one result in one association and returns the archive's status.

    The file is sent as it lies. Implicit VR Little Endian, which PS3.5 10.1 obliges us to propose, is a second presentation
    context: an archive that takes nothing else gets the same content in that encoding.
    """

    def __init__(self, destination: CStoreDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._destination = destination
        self._clock = clock
        self._entity = own_entity(calling_ae_title)
        self._entity.connection_timeout = destination.timeout_s
        self._entity.acse_timeout = destination.timeout_s
        self._entity.dimse_timeout = destination.timeout_s
        self._entity.network_timeout = destination.timeout_s

    def deliver(self, path: Path, sop_class_uid: str, sop_instance_uid: str) -> Receipt:
        """Return the archive's receipt; see `DeliveryChannel`."""
        result = _read(path, sop_class_uid, sop_instance_uid)
        with self._associate(sop_class_uid, result.file_meta.TransferSyntaxUID) as association:
            try:
                answer = association.send_c_store(result)
            except (RuntimeError, ValueError) as exc:
                raise AssociationAbortedError(f"{self._destination.name} ended the association before {sop_instance_uid} was sent") from exc
        if "Status" not in answer:
            raise EmptyAnswerError(
                f"{self._destination.name} gave no status for {sop_instance_uid}: time-out or abort; it will be sent again"
            )
        return self._receipt(int(answer.Status), sop_instance_uid)

    def _receipt(self, code: int, sop_instance_uid: str) -> Receipt:
        status = f"0x{code:04X}"
        warning = code in ACCEPTED_WITH_WARNING
        if code == SUCCESS or warning:
            return Receipt(destination=self._destination.name, status=status, accepted=True, warning=warning, at=self._clock())
        failure = next((entry for entry in FAILURES if entry.first <= code <= entry.last), None)
        error, meaning = (failure.error, failure.meaning) if failure else (StoreFailedError, "a status that C-STORE does not know")
        raise error(f"{self._destination.name} answered {status} for {sop_instance_uid}: {meaning}", status=status)

    @contextmanager
    def _associate(self, sop_class_uid: str, transfer_syntax_uid: str) -> Iterator[Association]:
        connected: list[bool] = []
        syntaxes = dict.fromkeys((transfer_syntax_uid, ImplicitVRLittleEndian))
        try:
            association = self._entity.associate(
                self._destination.host,
                self._destination.port,
                contexts=[build_context(sop_class_uid, syntax) for syntax in syntaxes],
                ae_title=self._destination.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once), (evt.EVT_CONN_OPEN, lambda _event: connected.append(True))],
            )
        except OSError as exc:  # the host name does not resolve
            raise self._unreachable() from exc
        if not association.is_established:
            raise self._no_association(association, sop_class_uid) if connected else self._unreachable()
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _unreachable(self) -> DestinationUnreachableError:
        to = self._destination
        return DestinationUnreachableError(f"{to.name} is not reachable at {to.host}:{to.port}; is it running, is the network open?")

    def _no_association(self, association: Association, sop_class_uid: str) -> DeliveryError:
        to = self._destination
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            return AssociationRejectedError(
                f"{to.name} rejected the association ({answer.result_str}, {answer.source_str}: {answer.reason_str}); "
                f"does it know {self._entity.ae_title!r}, is it called {to.ae_title!r}?"
            )
        if association.rejected_contexts:
            return PresentationContextRefusedError(
                f"{to.name} does not take {UID(sop_class_uid).name} ({sop_class_uid}); enable that SOP class there and requeue"
            )
        return AssociationAbortedError(f"{to.name} is connected but aborted the association or did not answer; is it a DICOM archive?")


def _send_at_once(event: evt.Event) -> None:
    """Switch Nagle's algorithm off: command set and data set are two writes, and the second would wait 40 ms for an acknowledgement."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _read(path: Path, sop_class_uid: str, sop_instance_uid: str) -> FileDataset:
    try:
        result = dcmread(path)
    except FileNotFoundError as exc:
        raise ResultMissingError(f"the file of result {sop_instance_uid} is not in the object store; is it mounted?") from exc
    except (InvalidDicomError, EOFError, ValueError) as exc:
        raise ResultUnsuitableError(f"the file of result {sop_instance_uid} cannot be read; requeue the study") from exc
    if (result.get("SOPClassUID"), result.get("SOPInstanceUID")) != (
        sop_class_uid,
        sop_instance_uid,
    ) or "TransferSyntaxUID" not in result.file_meta:
        raise ResultUnsuitableError(f"the file of result {sop_instance_uid} holds another SOP Instance; requeue the study")
    return result

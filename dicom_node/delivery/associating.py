"""An association with a destination: proposed, paced, over TLS where that is set, and what it means when there is none."""

import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from config.tls import TlsSection
from dicom_node.delivery.pace import Pace
from dicom_node.entity import keep_answers, own_entity, rejection
from dicom_node.failures import (
    AssociationAbortedError,
    AssociationRejectedError,
    DeliveryError,
    DestinationUnreachableError,
    PresentationContextRefusedError,
    TlsFailedError,
)
from dicom_node.tls.contexts import FollowedContext, following_client_context


@dataclass(slots=True, kw_only=True)
class Caller:
    """Opens associations with one application entity of a destination."""

    name: str
    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    timeout_s: float
    maximum_bytes_per_s: int | None = None
    tls: TlsSection | None = None
    _context: FollowedContext | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.tls is not None:
            self._context = following_client_context(self.tls)

    @contextmanager
    def associate(
        self,
        sop_class_uids: Sequence[str],
        transfer_syntax_uid: str,
        *,
        size_bytes: int = 0,
        handlers: Sequence[tuple[evt.EventType, Callable[[evt.Event], object]]] = (),
    ) -> Iterator[Association]:
        """Yield an association on which at least one of the SOP classes was accepted; it is released afterwards.

        Each class is proposed in `transfer_syntax_uid` and in Implicit VR Little Endian. `size_bytes` is how much will be sent.

        Raises:
            DeliveryError: there is none; the subclass says why.
        """
        connected: list[bool] = []
        pace = Pace(self.maximum_bytes_per_s)
        entity = own_entity(self.calling_ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.network_timeout = self.timeout_s
        entity.dimse_timeout = self.timeout_s + pace.seconds_for(size_bytes)  # it runs from when the message is queued
        syntaxes = dict.fromkeys((transfer_syntax_uid or ImplicitVRLittleEndian, ImplicitVRLittleEndian))
        context = self._context.current() if self._context else None
        try:
            association = entity.associate(
                self.host,
                self.port,
                contexts=[build_context(uid, syntax) for uid in dict.fromkeys(sop_class_uids) for syntax in syntaxes],
                ae_title=self.ae_title,
                tls_args=(context, self.host) if context else None,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, lambda event: _prepare(event, self.timeout_s)),
                    (evt.EVT_CONN_OPEN, lambda _event: connected.append(True)),
                    (evt.EVT_DATA_SENT, lambda event: pace.sent(len(event.data))),
                    *handlers,
                ],
            )
        except OSError as exc:  # the host name does not resolve
            raise self._unreachable() from exc
        if not association.is_established:
            raise self._no_association(association, sop_class_uids) if connected else self._no_connection(context)
        keep_answers(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _unreachable(self) -> DestinationUnreachableError:
        return DestinationUnreachableError(f"{self.name} is not reachable at {self.host}:{self.port}; is it running, is the network open?")

    def _no_connection(self, context: ssl.SSLContext | None) -> DeliveryError:
        """Say whether nobody listens or TLS failed, which pynetdicom does not tell apart."""
        if context is None:
            return self._unreachable()
        try:
            with (
                socket.create_connection((self.host, self.port), timeout=self.timeout_s) as connection,
                context.wrap_socket(connection, server_hostname=self.host),
            ):
                return self._unreachable()
        except ssl.SSLError as exc:
            return tls_failed(self.name, exc)
        except OSError:
            return self._unreachable()

    def _no_association(self, association: Association, sop_class_uids: Sequence[str]) -> DeliveryError:
        if (answer := rejection(association)) is not None:
            return AssociationRejectedError(
                f"{self.name} rejected the association ({answer.result_str}, {answer.source_str}: {answer.reason_str}); "
                f"does it know {self.calling_ae_title!r}, is it called {self.ae_title!r}?"
            )
        if association.rejected_contexts:
            names = ", ".join(f"{UID(uid).name} ({uid})" for uid in dict.fromkeys(sop_class_uids))
            return PresentationContextRefusedError(f"{self.name} does not take {names}; enable that SOP class there and requeue")
        question = "does it accept this node's certificate?" if self.tls else "is it a DICOM archive, without TLS?"
        return AssociationAbortedError(f"{self.name} is connected but aborted the association or did not answer; {question}")


def tls_failed(name: str, exc: ssl.SSLError) -> TlsFailedError:
    """Return what failed in a handshake, in OpenSSL's words, which hold no content."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return TlsFailedError(
            f"the certificate of {name} is not trusted: {exc.verify_message}; compare tls.trusted_certificates and the host name"
        )
    reason = (exc.reason or type(exc).__name__).lower().replace("_", " ")
    return TlsFailedError(f"{name} and this node did not agree on TLS: {reason}; does it take TLS 1.2, does it know our certificate?")


def _prepare(event: evt.Event, timeout_s: float) -> None:
    """Switch Nagle's algorithm off and never wait for ever for a peer that stopped reading.

    Command set and data set are two writes, and the second would wait 40 ms for an acknowledgement of the first.
    """
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

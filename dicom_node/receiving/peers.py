"""Who may associate: calling AE title, address and certificate against the peers in the settings, and each peer's limits.

The limit of all associations holds for all receiver processes together; those of a peer hold in each of them.
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import Protocol

import structlog

from config.peers import PeerSection, Subject, subject_of
from config.receiving import ReceiveSection
from dicom_node import audit
from dicom_node.audit.events import AssociationRefused
from dicom_node.tls.contexts import PeerCertificate

_MINUTE_S = 60.0
_MB = 1_000_000
_ANYBODY = "(any)"
_UNKNOWN = "(unknown)"
_log = structlog.get_logger(__name__)


class Why(StrEnum):
    """Why an association is refused, as logs and metrics name it. The peer is not told all of it."""

    CALLED_AE_TITLE = "called AE title"
    CALLING_AE_TITLE = "calling AE title"
    ADDRESS = "address"
    NO_CERTIFICATE = "no certificate"
    CERTIFICATE = "certificate of somebody else"
    TOO_MANY = "too many associations"
    TOO_MANY_OF_PEER = "too many associations of this peer"
    TOO_FAST = "too many associations a minute"
    NO_ROOM = "the node has to catch up first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4): result 1 permanent or 2 transient, source and reason of Table 9-21."""

    result: int
    source: int
    reason: int
    why: Why


_PERMANENT, _TRANSIENT = 1, 2
_SERVICE_USER, _PRESENTATION = 1, 3
_CALLING_NOT_RECOGNIZED, _CALLED_NOT_RECOGNIZED = 3, 7
_TEMPORARY_CONGESTION, _LOCAL_LIMIT_EXCEEDED = 1, 2

# A title from the wrong address or with the wrong certificate is not told apart from one that nobody has: whoever guesses learns nothing.
_ANSWERS: dict[Why, tuple[int, int, int]] = {
    Why.CALLED_AE_TITLE: (_PERMANENT, _SERVICE_USER, _CALLED_NOT_RECOGNIZED),
    Why.CALLING_AE_TITLE: (_PERMANENT, _SERVICE_USER, _CALLING_NOT_RECOGNIZED),
    Why.ADDRESS: (_PERMANENT, _SERVICE_USER, _CALLING_NOT_RECOGNIZED),
    Why.NO_CERTIFICATE: (_PERMANENT, _SERVICE_USER, _CALLING_NOT_RECOGNIZED),
    Why.CERTIFICATE: (_PERMANENT, _SERVICE_USER, _CALLING_NOT_RECOGNIZED),
    Why.TOO_MANY: (_TRANSIENT, _PRESENTATION, _LOCAL_LIMIT_EXCEEDED),
    Why.TOO_MANY_OF_PEER: (_TRANSIENT, _PRESENTATION, _LOCAL_LIMIT_EXCEEDED),
    Why.TOO_FAST: (_TRANSIENT, _PRESENTATION, _TEMPORARY_CONGESTION),
    Why.NO_ROOM: (_TRANSIENT, _PRESENTATION, _LOCAL_LIMIT_EXCEEDED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one peer may do. None and an empty set mean: no limit of its own."""

    name: str
    urgent: bool = False
    maximum_object_bytes: int | None = None
    sop_class_uids: frozenset[str] = frozenset()

    def may_store(self, sop_class_uid: str) -> bool:
        """True if instances of this SOP class are taken from it."""
        return not self.sop_class_uids or sop_class_uid in self.sop_class_uids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A peer as it is recognised. No network means: from anywhere."""

    peer: Peer
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    subject: Subject | None = None
    dns_name: str | None = None
    fingerprints: frozenset[str] = frozenset()
    maximum_associations: int | None = None
    associations_per_minute: int | None = None

    @property
    def has_certificate(self) -> bool:
        return self.subject is not None or self.dns_name is not None or bool(self.fingerprints)

    def calls_from(self, address: str) -> bool:
        if not self.networks:
            return True
        found = _address(address)
        return found is not None and any(found in network for network in self.networks)

    def shows(self, certificate: PeerCertificate) -> bool:
        """True if this is its certificate: everything that the settings say of it is true."""
        return (
            (self.subject is None or certificate.subject in {self.subject, self.subject[::-1]})
            and (self.dns_name is None or self.dns_name in {name.lower() for name in certificate.dns_names})
            and (not self.fingerprints or certificate.sha256 in self.fingerprints)
        )


@dataclass(slots=True)
class _Usage:
    """What a peer does now: open associations, and a bucket of those that it may still begin (refilled within a minute)."""

    begun_at: float
    left: float
    open: int = 0


@dataclass(slots=True, kw_only=True)
class _Book:
    """Usage by peer. Only touched with the lock held."""

    lock: Lock = field(default_factory=Lock)
    usage: dict[_Known, _Usage] = field(default_factory=dict)
    open: int = 0


class SharedCount(Protocol):
    """How many associations are open in other processes, and the place to say how many are in this one."""

    def say(self, open_here: int) -> None: ...

    def elsewhere(self) -> int: ...


class Peers:
    """Admits associations. `admit` counts what it admits: `release` must be called once for each when the association ends."""

    def __init__(
        self,
        *,
        ae_title: str,
        settings: ReceiveSection,
        monotonic: Callable[[], float],
        on_refusal: Callable[[str, Why], None] | None = None,
        why_wait: Callable[[], str] = lambda: "",
        count: SharedCount | None = None,
    ) -> None:
        """`count` is what the other receiver processes have open, if there are any: `receive.maximum_associations` is of all together.

        `on_refusal` is told the peer's name (or that it is unknown) and why: the metrics. `why_wait`: why nobody may begin, if so.
        """
        self._ae_title = ae_title
        self._maximum_associations = settings.maximum_associations
        self._monotonic = monotonic
        self._on_refusal = on_refusal
        self._why_wait = why_wait
        self._by_title = {title: known for known, titles in _known_peers(settings) for title in titles}
        self._anybody = _Known(peer=Peer(name=_ANYBODY)) if settings.any_calling_ae_title else None
        self._book = _Book()
        self._count = count

    def peer(self, calling_ae_title: str) -> Peer | None:
        """Return the peer that has this calling AE title; None if nobody may associate under it."""
        known = self._known(calling_ae_title)
        return known.peer if known else None

    def may_connect(self, address: str) -> bool:
        """False if no peer may call from this address, whatever it says later: nothing need be read from it, no TLS spoken with it."""
        if self._anybody is not None:
            return True
        return any(known.calls_from(address) for known in self._by_title.values())

    def admit(self, *, calling_ae_title: str, called_ae_title: str, address: str, certificate: PeerCertificate | None) -> Refusal | None:
        """Return None if the association may be, and count it as open; otherwise what to answer (PS3.8 9.3.4). Padding does not count."""
        known = self._known(calling_ae_title)
        why = self._objection(known, called_ae_title.strip(), address, certificate) or self._begin(known)
        if why is None:
            return None
        name = known.peer.name if known else _UNKNOWN
        calling, called = calling_ae_title.strip(), called_ae_title.strip()
        _log.warning(
            "association_rejected", calling_ae_title=calling, called_ae_title=called, peer=address, peer_name=name, reason=why.value
        )
        refused = AssociationRefused(calling_ae_title=calling, called_ae_title=called, address=address, reason=why.value)
        audit.record_soon(refused)
        if self._on_refusal is not None:
            self._on_refusal(name, why)
        result, source, reason = _ANSWERS[why]
        return Refusal(result=result, source=source, reason=reason, why=why)

    def release(self, *, calling_ae_title: str) -> None:
        """Count an admitted association as ended."""
        known = self._known(calling_ae_title)
        if known is None:
            return
        with self._book.lock:
            self._changed(-1)
            self._book.usage[known].open -= 1

    def _known(self, calling_ae_title: str) -> _Known | None:
        return self._by_title.get(calling_ae_title.strip(), self._anybody)

    def _objection(self, known: _Known | None, called: str, address: str, certificate: PeerCertificate | None) -> Why | None:
        if called != self._ae_title:
            return Why.CALLED_AE_TITLE
        if known is None:
            return Why.CALLING_AE_TITLE
        if not known.calls_from(address):
            return Why.ADDRESS
        if certificate is None:
            return Why.NO_CERTIFICATE if known.has_certificate else None
        if known.has_certificate:
            return None if known.shows(certificate) else Why.CERTIFICATE
        # A certificate that is bound to one peer does not speak for another, even if that one has none.
        return Why.CERTIFICATE if any(other.has_certificate and other.shows(certificate) for other in self._by_title.values()) else None

    def _begin(self, known: _Known | None) -> Why | None:
        """Count an association, or say which limit it is beyond."""
        assert known is not None, "an unknown peer was objected to"
        if self._why_wait():
            return Why.NO_ROOM
        now = self._monotonic()
        with self._book.lock:
            if self._book.open + self._elsewhere() >= self._maximum_associations:
                return Why.TOO_MANY
            rate = known.associations_per_minute
            usage = self._book.usage.setdefault(known, _Usage(begun_at=now, left=rate or 0))
            if known.maximum_associations is not None and usage.open >= known.maximum_associations:
                return Why.TOO_MANY_OF_PEER
            if rate is not None:
                usage.left = min(rate, usage.left + (now - usage.begun_at) * rate / _MINUTE_S)
                usage.begun_at = now
                if usage.left < 1:
                    return Why.TOO_FAST
                usage.left -= 1
            usage.open += 1
            self._changed(+1)
            return None

    def _changed(self, by: int) -> None:
        self._book.open += by
        if self._count is not None:
            self._count.say(self._book.open)

    def _elsewhere(self) -> int:
        return 0 if self._count is None else self._count.elsewhere()


def _known_peers(settings: ReceiveSection) -> Iterator[tuple[_Known, tuple[str, ...]]]:
    for section in settings.peers:
        yield _from_section(section), section.ae_titles
    for title in settings.calling_ae_titles:
        yield _Known(peer=Peer(name=title, urgent=title in settings.urgent_calling_ae_titles)), (title,)


def _from_section(section: PeerSection) -> _Known:
    return _Known(
        peer=Peer(
            name=section.name,
            urgent=section.urgent,
            maximum_object_bytes=None if section.maximum_object_mb is None else section.maximum_object_mb * _MB,
            sop_class_uids=frozenset(section.sop_classes),
        ),
        networks=tuple(ipaddress.ip_network(network) for network in section.addresses),
        subject=None if section.certificate_subject is None else subject_of(section.certificate_subject),
        dns_name=section.certificate_dns_name,
        fingerprints=frozenset(section.certificate_sha256),
        maximum_associations=section.maximum_associations,
        associations_per_minute=section.associations_per_minute,
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address; an IPv4 one that came through an IPv6 socket as itself, and without a zone."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found

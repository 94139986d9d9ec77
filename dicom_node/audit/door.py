"""The one door to the audit trail: opened once a process, called wherever something happens that somebody must answer for."""

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import Counter

from config.schema import Settings
from dicom_node.audit.events import AssociationRefused, AuditEvent, AuditRecordsLost
from dicom_node.audit.message import AuditSource, encode
from dicom_node.audit.messages import message_of
from dicom_node.audit.trail import Trail

_MEGABYTE = 1_000_000
_FOLD_S = 60.0
"""A peer that is refused again for the same reason within this time is recorded once: an attacker must not fill the trail."""
_MOST_FOLDED = 200
_MOST_WAITING = 1000
_LONGEST_END_S = 10.0

AUDIT_LOST = Counter("dicom_node_audit_records_lost", "Audit records that could not be written, or were removed before they were sent")
_log = structlog.get_logger(__name__)

_Waiting = tuple[AuditEvent, datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def trail_folder(settings: Settings) -> Path:
    """Return where the local trail of a node lies."""
    return settings.audit.folder or settings.node.data_folder / "audit"


def source_of(settings: Settings, process: str) -> AuditSource:
    """Return how this process names itself in messages."""
    host = socket.gethostname()
    return AuditSource(site=settings.node.site, ae_title=settings.node.ae_title, host=host, process=f"{process}/{os.getpid()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """An open trail, and what waits to be written to it by a thread of its own."""

    trail: Trail
    source: AuditSource
    clock: Callable[[], datetime]
    waiting: "queue.Queue[_Waiting | None]" = field(default_factory=lambda: queue.Queue(_MOST_WAITING))

    def write(self, event: AuditEvent, at: datetime) -> bool:
        """Make an event durable; False if it could not be written."""
        message = message_of(event, self.source, at)
        try:
            _, lost = self.trail.append(encode(message, self.source), at=message.at.isoformat(timespec="milliseconds"))
        except OSError as exc:
            AUDIT_LOST.inc()
            _log.error("audit_record_not_written", event_kind=type(event).__name__, reason=exc.strerror)
            return False
        if lost is not None:
            AUDIT_LOST.inc(lost[1] - lost[0] + 1)
            reason = "the repository did not take them in time, and audit.maximum_mb is reached"
            _log.error("audit_records_lost", first=lost[0], last=lost[1], reason=reason)
            self.write(AuditRecordsLost(first=lost[0], last=lost[1]), at)
        return True

    def write_waiting(self) -> None:
        """Write what waits until the end is announced."""
        while (one := self.waiting.get()) is not None:
            self.write(*one)


class Door:
    """Where a process records its events. Closed, it takes everything and keeps nothing."""

    def __init__(self) -> None:
        self._target: _Target | None = None
        self._writer: threading.Thread | None = None
        self._folded: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()

    def open(self, settings: Settings, *, process: str, clock: Callable[[], datetime] = utc_now) -> None:
        """Write to the trail of these settings from now on, or nowhere if they want none.

        Raises:
            OSError: the folder of the trail cannot be made or written.
        """
        self.close()
        if not settings.audit.enabled:
            return
        section = settings.audit
        trail = Trail(
            trail_folder(settings),
            file_bytes=int(section.file_mb * _MEGABYTE),
            maximum_bytes=int(section.maximum_mb * _MEGABYTE),
            forwarded=section.repository is not None,
        )
        self._target = _Target(trail=trail, source=source_of(settings, process), clock=clock)
        self._writer = threading.Thread(target=self._target.write_waiting, name="audit", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write what waits, then write nowhere any more."""
        target, writer = self._target, self._writer
        self._target, self._writer = None, None
        self._folded.clear()
        if target is not None and writer is not None:
            target.waiting.put(None)
            writer.join(timeout=_LONGEST_END_S)
            if not writer.is_alive():  # one that hangs on its disk still has the files
                target.trail.close()

    def record(self, event: AuditEvent) -> bool:
        """Make an event durable in the audit trail; True also where no trail is kept. Never raises: what is audited must go on.

        False: it could not be written. That is logged as an error; whoever can tell the event again later should.
        """
        target = self._target
        return True if target is None else target.write(event, target.clock())

    def record_soon(self, event: AuditEvent) -> None:
        """Hand an event over and return at once: for a thread that peers wait for, which no slow disk may hold up.

        What still waits when the process is killed is lost; in an orderly end it is written.
        """
        target = self._target
        if target is None or (isinstance(event, AssociationRefused) and self._is_folded(event)):
            return
        try:
            target.waiting.put_nowait((event, target.clock()))
        except queue.Full:
            AUDIT_LOST.inc()
            _log.error("audit_record_not_written", event_kind=type(event).__name__, reason="too many wait for the disk")

    def _is_folded(self, event: AssociationRefused) -> bool:
        """True if the same was recorded a moment ago."""
        key = (event.calling_ae_title, event.address, event.reason)
        now = time.monotonic()
        with self._lock:
            if now - self._folded.get(key, now - _FOLD_S) < _FOLD_S:
                return True
            if len(self._folded) >= _MOST_FOLDED:
                self._folded = {known: since for known, since in self._folded.items() if now - since < _FOLD_S}
            if len(self._folded) >= _MOST_FOLDED:
                return True  # so many different ones within a minute are an attack, of which these tell enough
            self._folded[key] = now
            return False

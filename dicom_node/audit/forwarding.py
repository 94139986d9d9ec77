"""Sending the local trail to the repository: in order, each record until it has it, by one process of a host at a time.

The trail is the spool: nothing is copied, `sent.json` says how far the repository has it. A crash between the two sends a few
records again; none is left out. Ingest never waits for any of this.
"""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge

from dicom_node.audit.syslog import RepositoryUnreachableError, SyslogSource, Transport, syslog_message
from dicom_node.audit.trail import Placed, first_number, read_cursor, read_head, records, trail_files, write_cursor

BATCH = 100
IDLE_S = 0.5
_REMIND_S = 3600.0
"""How often a repository that stays away is called to mind in the log."""

_UNSURE_S = 5.0
"""How long a repository may sit on what its TCP has acknowledged."""

AUDIT_SENT = Counter("dicom_node_audit_records_sent", "Audit records that the repository has")
AUDIT_UNSENT = Gauge("dicom_node_audit_records_unsent", "Audit records that wait for the repository", multiprocess_mode="mostrecent")
_log = structlog.get_logger(__name__)


def unsent(folder: Path) -> int:
    """Return how many records wait for the repository."""
    return max(0, read_head(folder).n - read_cursor(folder))


class Forwarder:
    """Sends what is in the trail of `folder` until it is stopped."""

    def __init__(self, folder: Path, transport: Transport, *, source: SyslogSource, retry_s: float) -> None:
        self._folder = folder
        self._transport = transport
        self._source = source
        self._retry_s = retry_s
        self._place: Placed | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._away_since: float | None = None
        self._reminded = 0.0

    def run(self, stop: threading.Event) -> None:
        """Forward until `stop` is set. Another process that forwards the same trail is waited for."""
        while not stop.is_set():
            with self._alone() as alone:
                while alone and not stop.is_set():
                    pause_s = IDLE_S if self._try_once() else self._retry_s
                    stop.wait(pause_s)
            stop.wait(self._retry_s)
        self._transport.close()

    def forward_once(self) -> int:
        """Send the next records, at most `BATCH`; return how many.

        Raises:
            RepositoryUnreachableError: they are to be sent again.
            OSError: the trail cannot be read now.
        """
        self._forget_what_is_safe()
        if self._recent and self._transport.hung_up():
            self._take_back()
        placed = self._next_records()
        if not placed:
            return 0
        sent, last = read_cursor(self._folder), placed[-1].record.n
        if placed[0].record.n != sent + 1:
            _log.error("audit_records_missing", first=sent + 1, last=placed[0].record.n - 1, consequence="the repository never gets them")
        messages = [syslog_message(one.record.message, at=one.record.at, source=self._source) for one in placed if one.record.message]
        if messages:
            self._send(messages)
        self._recent.append((time.monotonic(), sent))
        write_cursor(self._folder, last)
        self._place = placed[-1]
        AUDIT_SENT.inc(len(messages))
        return len(placed)

    def _send(self, messages: Sequence[bytes]) -> None:
        try:
            self._transport.send(messages)
        except RepositoryUnreachableError:
            self._take_back()
            raise

    def _forget_what_is_safe(self) -> None:
        now = time.monotonic()
        while self._recent and now - self._recent[0][0] > _UNSURE_S:
            self._recent.popleft()

    def _take_back(self) -> None:
        """Send again what was sent just before the repository hung up: it may not have read it, and has no way to say so."""
        if self._recent:
            _log.warning("audit_records_sent_again", after=self._recent[0][1], reason="the repository hung up right after they were sent")
            write_cursor(self._folder, min(read_cursor(self._folder), self._recent[0][1]))
            self._recent.clear()

    def _try_once(self) -> bool:
        """Send all there is; False if the repository is away."""
        try:
            while self.forward_once():
                pass
        except (RepositoryUnreachableError, OSError) as exc:
            self._complain(str(exc) if isinstance(exc, RepositoryUnreachableError) else type(exc).__name__)
            return False
        finally:
            AUDIT_UNSENT.set(unsent(self._folder))
        if self._away_since is not None:
            _log.info("audit_repository_reached", away_s=round(time.monotonic() - self._away_since))
            self._away_since = None
        return True

    def _complain(self, reason: str) -> None:
        now = time.monotonic()
        if self._away_since is None or now - self._reminded > _REMIND_S:
            self._away_since = self._away_since or now
            self._reminded = now
            waiting = unsent(self._folder)
            _log.error("audit_repository_unreachable", reason=reason, waiting=waiting, consequence="records wait in the local trail")

    def _next_records(self) -> list[Placed]:
        sent = read_cursor(self._folder)
        head = read_head(self._folder)
        if sent > head.n > 0:
            _log.error("audit_cursor_ahead", sent=sent, last=head.n, consequence="the trail was replaced by another: all of it is sent")
            write_cursor(self._folder, sent := 0)
        if sent >= head.n:
            return []
        after = (placed for placed in self._from(sent) if sent < placed.record.n <= head.n)
        return list(islice(after, BATCH))

    def _from(self, sent: int) -> Iterator[Placed]:
        """Yield the records from the first that may be unsent on."""
        files = trail_files(self._folder)
        place = self._place
        start = 0
        if place is not None and place.record.n == sent and place.file in files:
            files, start = files[files.index(place.file) :], place.end
        else:
            files = tuple(file for number, file in enumerate(files) if number + 1 == len(files) or first_number(files[number + 1]) > sent)
        for file in files:
            yield from records(file, start=start)
            start = 0

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Be the only forwarder of this trail meanwhile; False if another process is."""
        descriptor = os.open(self._folder / "forwarding.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

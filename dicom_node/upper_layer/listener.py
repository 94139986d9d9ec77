"""One thread for all connections of a process: it waits for what comes, and reads, parses and answers it.

An idle association costs a file descriptor and a few objects. Bytes are received into one buffer that all connections share, and
handed on from there. Whatever may wait for a disk is done elsewhere and comes back through `Listener.call`.
"""

import contextlib
import heapq
import itertools
import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Thread, get_ident
from typing import Protocol

import structlog

from dicom_node import audit
from dicom_node.audit.events import AssociationRefused
from dicom_node.upper_layer.acceptor import Acceptor, AssociationUser, PduTooLongError
from dicom_node.upper_layer.machine import State

_BUFFER_BYTES = 1 << 18
_READS_AT_ONCE = 4  # of one connection before the others have their turn
_ACCEPTS_AT_ONCE = 4
_LONGEST_GOODBYE_S = 5.0  # ARTIM once we said the last word (Sta13)
_LONGEST_LOOK_S = 1.0
_NO_DESCRIPTORS_PAUSE_S = 0.1
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_log = structlog.get_logger(__name__)


class Session(AssociationUser, Protocol):
    """What the association on one connection is about."""

    @property
    def unanswered(self) -> int:
        """Requests that the peer waits for the answer of: meanwhile it may be silent."""

    @property
    def full(self) -> bool:
        """True if nothing more is to be read before something is answered."""


class Connection:
    """A socket and the acceptor that runs on it."""

    __slots__ = ("_again", "_begun", "_listener", "_pdus", "_timer_since", "_watched", "acceptor", "address", "heard", "session", "socket")

    def __init__(self, listener: "Listener", connected: socket.socket, address: str, now: float) -> None:
        self._listener = listener
        self.socket = connected
        self.address = address
        self.heard = self._begun = now
        self._pdus = 0
        self._timer_since: float | None = now
        self._watched = _READ
        self._again = False
        self.session = listener.open_session(self)
        self.acceptor: Acceptor | None = None
        if not isinstance(connected, ssl.SSLSocket):
            self._shake_hands_done()

    def _shake_hands_done(self) -> None:
        self.acceptor = Acceptor(self.session, maximum_pdu_bytes=self._listener.maximum_pdu_bytes)

    @property
    def waiting(self) -> bool:
        """True while there is no association on it."""
        return self.acceptor is None or not self.acceptor.associated

    def ready(self, now: float) -> None:
        """Read and write what can be, without waiting."""
        try:
            if self.acceptor is None and not self._shake_hands():
                return
            self._read(now)
            self.flush()
        except PduTooLongError as exc:
            _log.warning("pdu_refused", peer=self.address, announced_bytes=exc.announced_bytes, longest_bytes=exc.longest_bytes)
            self.close()
        except (OSError, EOFError) as exc:  # ssl.SSLError is an OSError
            if self.acceptor is None and isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
                self._tell_of_failed_handshake(exc)
            self.close()

    def _tell_of_failed_handshake(self, exc: ssl.SSLError) -> None:
        reason = f"TLS: {exc.reason or type(exc).__name__}"
        _log.warning("handshake_failed", peer=self.address, reason=reason)
        audit.record_soon(AssociationRefused(calling_ae_title="", called_ae_title="", address=self.address, reason=reason))

    def flush(self) -> None:
        """Send what is to be sent, as far as the peer takes it, and say what to wait for next."""
        acceptor = self.acceptor
        if acceptor is None or self.socket.fileno() < 0:
            return
        try:
            while acceptor.outgoing:
                del acceptor.outgoing[: self.socket.send(acceptor.outgoing)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.close()
            return
        if acceptor.finished and not acceptor.outgoing:
            self.close()
            return
        if acceptor.timer_runs:
            self._timer_since = self._timer_since or time.monotonic()
        else:
            self._timer_since = None
        self._watch((_WRITE if acceptor.outgoing else 0) | (0 if acceptor.outgoing or self.session.full else _READ))

    def look_at_clock(self, now: float, timeout_s: float) -> None:
        """End what a silent, slow or deaf peer holds up."""
        acceptor = self.acceptor
        if acceptor is None:
            if now - self._begun > timeout_s:
                self.close()
        elif self._timer_since is not None:
            if now - self._timer_since > (timeout_s if acceptor.state is State.AWAITING_REQUEST else min(timeout_s, _LONGEST_GOODBYE_S)):
                acceptor.timer_expired()
                self.close()
        elif now - (self._begun if acceptor.in_pdu else self.heard) > timeout_s and (acceptor.outgoing or not self.session.unanswered):
            _log.warning("association_timed_out", peer=self.address, seconds=timeout_s)
            acceptor.abort()
            self.flush()

    def close(self) -> None:
        """Close the connection, whatever is going on."""
        if self.socket.fileno() < 0:
            return
        self._listener.forget(self)
        self.socket.close()
        if self.acceptor is not None:
            self.acceptor.connection_closed()

    def _shake_hands(self) -> bool:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(_READ)
            return False
        except ssl.SSLWantWriteError:
            self._watch(_WRITE)
            return False
        self._shake_hands_done()
        return True

    def _read(self, now: float) -> None:
        acceptor, buffer = self.acceptor, self._listener.buffer
        assert acceptor is not None
        secured = isinstance(self.socket, ssl.SSLSocket)
        for _ in range(_READS_AT_ONCE):
            if acceptor.outgoing or self.session.full:
                return
            try:
                count = self.socket.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if count == 0:
                raise EOFError
            self.heard = now
            acceptor.receive(buffer[:count])
            if acceptor.pdus_begun != self._pdus:
                self._pdus, self._begun = acceptor.pdus_begun, now
            if count < len(buffer) and not secured:
                return
        if secured:  # what OpenSSL has decrypted already wakes nobody
            self._listener.call(lambda: self.ready(time.monotonic()))

    def _watch(self, events: int) -> None:
        if events != self._watched:
            if events & ~self._watched & _READ and isinstance(self.socket, ssl.SSLSocket):
                self._listener.call(lambda: self.ready(time.monotonic()))
            self._watched = events
            self._listener.watch(self, events)


class Listener:
    """Accepts connections and serves them until it is stopped."""

    def __init__(
        self,
        listening: socket.socket,
        *,
        open_session: Callable[[Connection], Session],
        maximum_pdu_bytes: int,
        timeout_s: float,
        maximum_waiting: int,
        may_connect: Callable[[str], bool],
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`maximum_waiting` connections may be without an association, such as health checks; for one more, the oldest is closed."""
        listening.setblocking(False)
        self._maximum_waiting = maximum_waiting
        self._listening = listening
        self._timeout_s = timeout_s
        self._may_connect = may_connect
        self._context = context
        self.open_session = open_session
        self.maximum_pdu_bytes = maximum_pdu_bytes
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._connections: dict[int, Connection] = {}
        self._attended: dict[int, Callable[[], None]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = os.eventfd(0)
        self._poll = select.epoll()
        self._poll.register(self._wake, _READ)
        self._accepting = False
        self._stop_at: float | None = None
        self._thread = Thread(target=self._run, name="associations", daemon=True)

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._accept_more(wanted=True)
        self._thread.start()

    def stop(self, *, grace_s: float) -> None:
        """Accept nothing more, give open associations some seconds to end, abort the rest; returns when all is closed."""

        def stop() -> None:
            self._accept_more(wanted=False)
            self._listening.close()
            self._stop_at = time.monotonic() + grace_s

        self.call(stop)
        self._thread.join()

    def close(self) -> None:
        """Do what was still asked for with `call`, and give back what the operating system lent; nobody may call any more."""
        while self._calls:
            self._calls.popleft()()
        self._poll.close()
        os.close(self._wake)

    def call(self, function: Callable[[], None]) -> None:
        """Let the listener's thread call `function` soon; from any thread."""
        self._calls.append(function)
        if get_ident() != self._thread.ident:
            os.eventfd_write(self._wake, 1)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` in so many seconds, unless the listener is stopped by then; from the listener's thread."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), function))

    def attend(self, descriptor: int, function: Callable[[], None]) -> None:
        """Call `function` whenever `descriptor` can be read from; to be asked for before the start."""
        self._attended[descriptor] = function
        self._poll.register(descriptor, _READ)

    def watch(self, connection: Connection, events: int) -> None:
        """Wait for these events of a connection."""
        self._poll.modify(connection.socket.fileno(), events)

    def forget(self, connection: Connection) -> None:
        """Wait no more for a connection that is about to be closed."""
        descriptor = connection.socket.fileno()
        self._connections.pop(descriptor, None)
        self._poll.unregister(descriptor)

    def _run(self) -> None:
        look_every_s = min(_LONGEST_LOOK_S, self._timeout_s / 4)
        next_look = time.monotonic() + look_every_s
        while self._stop_at is None or self._connections:
            wake_at = min(next_look, self._later[0][0]) if self._later else next_look
            events = self._poll.poll(0 if self._calls else max(0.0, wake_at - time.monotonic()))
            now = time.monotonic()
            for descriptor, _ in events:
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                elif (connection := self._connections.get(descriptor)) is not None:
                    self._ready(connection, now)
                elif (function := self._attended.get(descriptor)) is not None:
                    self._call(function)
                elif self._accepting:
                    self._accept(now)
            for _ in range(len(self._calls)):
                self._call(self._calls.popleft())
            while self._later and self._later[0][0] <= now:
                self._call(heapq.heappop(self._later)[2])
            if now >= next_look:
                self._look_at_clock(now)
                next_look = now + look_every_s

    def _ready(self, connection: Connection, now: float) -> None:
        """Serve one connection; whatever is wrong with it ends it, and none of the others."""
        try:
            connection.ready(now)
        except Exception as exc:  # noqa: BLE001 - the thread serves everybody
            _log.error("connection_failed", peer=connection.address, error=type(exc).__name__)
            connection.close()

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as exc:  # noqa: BLE001 - the thread serves everybody
            _log.error("call_failed", error=type(exc).__name__)

    def _look_at_clock(self, now: float) -> None:
        self._accept_more(wanted=self._stop_at is None)
        for connection in tuple(self._connections.values()):
            connection.look_at_clock(now, self._timeout_s)
        if self._stop_at is not None and now >= self._stop_at:
            for connection in tuple(self._connections.values()):
                if connection.acceptor is not None:
                    connection.acceptor.abort()
                    connection.flush()
                connection.close()

    def _accept_more(self, *, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        if not wanted:
            self._poll.unregister(self._listening)
        elif not self._watches(self._listening, _READ | select.EPOLLEXCLUSIVE):
            return  # it is tried again at the next look at the clock
        self._accepting = wanted

    def _watches(self, watched: socket.socket, events: int) -> bool:
        """Wait for events of a socket from now on; False if the kernel has no room for one more.

        Several processes may wait on one socket; EPOLLEXCLUSIVE wakes one of them, the one that has waited longest.
        """
        try:
            self._poll.register(watched, events)
        except OSError as exc:
            _log.error("connection_not_accepted", reason=exc.strerror)
            return False
        return True

    def _accept(self, now: float) -> None:
        accepted = list(self._accepted())
        if accepted and self._accepting:  # to the end of the queue: associations that come one by one are shared out
            self._accept_more(wanted=False)
            self._accept_more(wanted=True)
        for connected, address in accepted:
            if self._may_connect(address):
                self._serve(connected, address, now)
            else:
                connected.close()

    def _accepted(self) -> Iterator[tuple[socket.socket, str]]:
        """Yield connections that are there, with their addresses."""
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, (address, *_) = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as exc:  # the peer is gone again, or there are no descriptors left: look again soon
                _log.error("connection_not_accepted", reason=exc.strerror)
                self._accept_more(wanted=False)
                return
            yield accepted, address

    def _serve(self, accepted: socket.socket, address: str, now: float) -> None:
        accepted.setblocking(False)
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            try:
                accepted = self._context().wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            except OSError:  # it was reset before it was accepted, or said something before the handshake and left
                accepted.close()
                return
        if len(self._connections) >= self._maximum_waiting:
            self._make_room()
        connection = Connection(self, accepted, address, now)
        if not self._watches(accepted, _READ):
            accepted.close()
            return
        self._connections[accepted.fileno()] = connection
        self._ready(connection, now)

    def _make_room(self) -> None:
        waiting = [connection for connection in self._connections.values() if connection.waiting]
        if len(waiting) >= self._maximum_waiting:
            waiting[0].close()

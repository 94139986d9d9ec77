"""Syslog messages (RFC 5424) with an audit message inside, and the three ways they leave: TLS (RFC 5425), UDP (RFC 5426), a file.

PS3.15 A.6 and A.7: facility 10, severity 5 (4 for a failure), MSGID DICOM+RFC3881, no structured data, XML in UTF-8.
"""

import contextlib
import fcntl
import os
import re
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.audit import FileRepository, Repository, SyslogTlsRepository, SyslogUdpRepository
from dicom_node.tls.contexts import FollowedContext, TlsFilesError, following_client_context

_FACILITY, _NOTICE, _WARNING = 10, 5, 4
_MSGID = "DICOM+RFC3881"
_BOM = "\ufeff"
_SUCCEEDED = 'EventOutcomeIndicator="0"'
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]+")
_LONGEST_HOST, _LONGEST_APP_NAME, _LONGEST_PROCID = 255, 48, 128
LONGEST_DATAGRAM = 65507
"""Bytes of a UDP message over IPv4."""
_LOOK_S = 0.01
_REFUSAL_S = 0.3


class RepositoryUnreachableError(Exception):
    """The repository did not take the messages. The words name what to do, never what was in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSource:
    """The fields of the header that say where a message comes from."""

    host: str
    app_name: str
    process: str


def syslog_message(message: str, *, at: str, source: SyslogSource) -> bytes:
    """Return an audit message as a syslog message. `at` is ISO 8601 with an offset, which is what RFC 5424 wants."""
    severity = _NOTICE if _SUCCEEDED in message else _WARNING
    header = " ".join(
        (
            f"<{_FACILITY * 8 + severity}>1",
            at,
            _name(source.host, _LONGEST_HOST),
            _name(source.app_name, _LONGEST_APP_NAME),
            _name(source.process, _LONGEST_PROCID),
            _MSGID,
            "-",
        )
    )
    return f"{header} {_BOM}{message}".encode()


def _name(text: str, longest: int) -> str:
    return _NOT_PRINTABLE.sub("-", text)[:longest] or "-"


class Transport(Protocol):
    """A way to the repository. What `send` returned for is there, as far as that way can tell."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Send all messages in order.

        Raises:
            RepositoryUnreachableError: perhaps none, perhaps some of them arrived; they are to be sent again.
        """
        ...

    def hung_up(self) -> bool:
        """Say whether the repository has closed the connection since the last message; then there is none any more."""
        ...

    def close(self) -> None: ...


class TlsTransport:
    """RFC 5425: octet counting over TLS. The protocol has no acknowledgement, so what counts is that TCP has delivered every byte."""

    def __init__(self, repository: SyslogTlsRepository) -> None:
        self._repository = repository
        self._context: FollowedContext | None = None
        self._socket: ssl.SSLSocket | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        with self._failures():
            if self.hung_up():
                raise ConnectionResetError("the repository hung up")
            fresh = self._socket is None
            connection = self._socket or self._connect()
            connection.settimeout(self._repository.timeout_s)
            connection.sendall(b"".join(b"%d %s" % (len(message), message) for message in messages))
            self._wait_until_delivered(connection)
            if fresh:  # a server that does not want our certificate says so after the handshake (TLS 1.3)
                select.select([connection], [], [], _REFUSAL_S)
            if _is_closed(connection):
                raise ConnectionResetError("the repository hung up")

    def hung_up(self) -> bool:
        if self._socket is None or not _is_closed(self._socket):
            return False
        self.close()
        return True

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> ssl.SSLSocket:
        if self._context is None:
            self._context = following_client_context(self._repository.tls)
        repository = self._repository
        plain = socket.create_connection((repository.host, repository.port), timeout=repository.timeout_s)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket = self._context.current().wrap_socket(plain, server_hostname=repository.host)
        except BaseException:
            plain.close()
            raise
        return self._socket

    def _wait_until_delivered(self, connection: ssl.SSLSocket) -> None:
        deadline = time.monotonic() + self._repository.timeout_s
        while _unacknowledged_bytes(connection):
            if time.monotonic() > deadline:
                raise TimeoutError("bytes are not acknowledged")
            time.sleep(_LOOK_S)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        where = f"{self._repository.host}:{self._repository.port}"
        try:
            yield
        except TlsFilesError as exc:
            self.close()
            raise RepositoryUnreachableError(str(exc)) from exc
        except ssl.SSLError as exc:
            self.close()
            raise RepositoryUnreachableError(f"no TLS with {where}: {exc.reason or type(exc).__name__}") from exc
        except OSError as exc:
            self.close()
            raise RepositoryUnreachableError(f"no connection to {where}: {exc.strerror or type(exc).__name__}") from exc


def _unacknowledged_bytes(connection: socket.socket) -> int:
    """Return how many bytes the peer's TCP has not acknowledged (SIOCOUTQ of Linux, which has the number of TIOCOUTQ)."""
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _is_closed(connection: ssl.SSLSocket) -> bool:
    """True if the peer has hung up. A repository sends nothing, so that anything readable is the end, or something of TLS itself."""
    connection.settimeout(0)
    try:
        return not connection.recv(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    except OSError:
        return True


class UdpTransport:
    """RFC 5426: a datagram a message. Only a host that answers "nobody listens" is noticed."""

    def __init__(self, repository: SyslogUdpRepository) -> None:
        self._repository = repository
        self._socket: socket.socket | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        try:
            for message in messages:
                connection = self._socket or self._connect()
                connection.send(message[:LONGEST_DATAGRAM])  # what is longer arrives cut off rather than not at all (PS3.15 A.7)
        except OSError as exc:
            self.close()
            where = f"{self._repository.host}:{self._repository.port}"
            raise RepositoryUnreachableError(f"cannot send to {where}: {exc.strerror or type(exc).__name__}") from exc

    def hung_up(self) -> bool:
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(self._repository.host, self._repository.port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.settimeout(self._repository.timeout_s)
        self._socket.connect(address)
        return self._socket


class FileTransport:
    """A line a message, durable when `send` returns. The file is opened each time, so that another program may rotate it."""

    def __init__(self, repository: FileRepository) -> None:
        self._path: Path = repository.path

    def send(self, messages: Sequence[bytes]) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(b"".join(message + b"\n" for message in messages))
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise RepositoryUnreachableError(f"cannot write {self._path}: {exc.strerror}") from exc

    def hung_up(self) -> bool:
        return False

    def close(self) -> None: ...


def open_transport(repository: Repository) -> Transport:
    """Return the way to a repository. Nothing is connected before the first message."""
    if isinstance(repository, SyslogTlsRepository):
        return TlsTransport(repository)
    if isinstance(repository, SyslogUdpRepository):
        return UdpTransport(repository)
    return FileTransport(repository)

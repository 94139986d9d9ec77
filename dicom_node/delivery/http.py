"""One HTTP request to a destination: TLS, token, pace and time-outs. What the answer means is said elsewhere."""

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from config.destinations import FhirDestination, StowDestination
from config.tls import TlsSection
from dicom_node.delivery.associating import tls_failed
from dicom_node.delivery.pace import Pace
from dicom_node.failures import (
    DeliveryError,
    DestinationUnreachableError,
    EmptyAnswerError,
    NotAuthorisedError,
    StoreFailedError,
    StoreRefusedError,
)
from dicom_node.tls.contexts import following_client_context
from dicom_node.version import node_version

LONGEST_ANSWER = 16 * 1024 * 1024

_MEANINGS: Mapping[int, tuple[type[DeliveryError], str]] = {
    400: (StoreRefusedError, "it does not understand the request; its log says why"),
    401: (NotAuthorisedError, "it wants a token or a certificate, or another one"),
    403: (NotAuthorisedError, "this node may not store there; allow it there"),
    404: (StoreFailedError, "there is nothing under that address; correct url"),
    405: (StoreFailedError, "nothing can be stored under that address; correct url"),
    406: (StoreRefusedError, "it cannot answer in a form that this node reads"),
    408: (StoreFailedError, "it waited too long for the request"),
    409: (StoreRefusedError, "it conflicts with what is there; its log says why"),
    410: (StoreFailedError, "there is nothing under that address any more; correct url"),
    411: (StoreRefusedError, "it wants a length"),
    412: (StoreRefusedError, "several things there match what this would replace"),
    413: (StoreRefusedError, "the result is larger than it allows"),
    415: (StoreRefusedError, "it does not take this media type or transfer syntax"),
    422: (StoreRefusedError, "the content breaks a rule that it has; its log says which"),
    425: (StoreFailedError, "it wants the request later"),
    429: (StoreFailedError, "there were too many requests"),
}
"""RFC 9110 and PS3.18 table 10.5.3-1. Other 4xx and 3xx park a result; 5xx are tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a web service. `media_type` is in lower case and without parameters."""

    status: int
    media_type: str
    body: bytes


class WebService:
    """Asks the web service of one destination."""

    def __init__(self, destination: StowDestination | FhirDestination) -> None:
        self._destination = destination
        parts = urlsplit(destination.url)
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._pace = Pace(destination.maximum_bytes_per_s)
        self._context = following_client_context(destination.tls or TlsSection()) if self._secure else None

    def ask(self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Return what the service answers to one request; `path` is relative to the URL of the destination.

        Raises:
            DeliveryError: there is no whole answer, or no token to ask with.
        """
        sent = {"User-Agent": f"dicom-node/{node_version()}", "Connection": "close", **headers, **self._authorisation()}
        if body or method not in {"GET", "OPTIONS"}:
            sent["Content-Length"] = str(len(body))
        connection = self._connect()
        try:
            with self._answering_in_time(connection, len(body)):
                return self._exchange(connection, method, self._base + path, sent, body)
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        timeout_s = self._destination.timeout_s
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context.current())
        try:
            connection.connect()
        except ssl.SSLError as exc:
            connection.close()
            raise tls_failed(self._destination.name, exc) from exc
        except OSError as exc:
            connection.close()
            raise DestinationUnreachableError(
                f"{self._destination.name} is not reachable at {self._host}:{self._port}; is it running, is the network open?"
            ) from exc
        return connection

    @contextmanager
    def _answering_in_time(self, connection: http.client.HTTPConnection, size_bytes: int) -> Iterator[None]:
        """Break the connection when time is up: each byte of a slow answer would start the time-out of a socket anew."""
        held = connection.sock  # http.client lets go of it while the answer is read
        limit_s = self._destination.timeout_s + self._pace.seconds_for(size_bytes)
        timer = threading.Timer(limit_s, _break, args=(held,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        name = self._destination.name
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had everything, such as 413
                connection.request(method, target or "/", body=self._pace.blocks(body) if body else None, headers=dict(headers))
            response = connection.getresponse()
            content = response.read(LONGEST_ANSWER + 1)
            if response.length and len(content) <= LONGEST_ANSWER:
                raise http.client.IncompleteRead(content, response.length)
        except (TimeoutError, ssl.SSLError, OSError, http.client.HTTPException, ValueError) as exc:
            raise EmptyAnswerError(f"{name} gave no whole answer to {method}: time-out, abort, or no HTTP; it will be asked again") from exc
        if len(content) > LONGEST_ANSWER:
            raise EmptyAnswerError(f"{name} gave an answer of more than {LONGEST_ANSWER} bytes", status=str(response.status))
        declared = response.headers.get("Content-Type", "")
        return Answer(status=response.status, media_type=declared.partition(";")[0].strip().lower(), body=content)

    def _authorisation(self) -> dict[str, str]:
        file, variable = self._destination.bearer_token_file, self._destination.bearer_token_variable
        if file is None and variable is None:
            return {}
        token = _read(file) if file is not None else os.environ.get(variable or "", "").strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            where = f"the file {file}" if file is not None else f"the environment variable {variable}"
            raise NotAuthorisedError(f"there is no bearer token for {self._destination.name} in {where}; put one there")
        return {"Authorization": f"Bearer {token}"}


def refusal(answer: Answer, name: str, what: str, *, status: str = "") -> DeliveryError:
    """Return what an answer other than success means for `what`. `status` is more of the answer than its code, where there is more."""
    code = answer.status
    default = (StoreFailedError, "its log says why") if code >= 500 else (StoreRefusedError, "an answer that this node does not know")  # noqa: PLR2004 - the class of server errors
    error, meaning = _MEANINGS.get(code, default)
    status = status or str(code)
    return error(f"{name} answered {status} for {what}: {meaning}", status=status)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _break(held: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        held.shutdown(socket.SHUT_RDWR)

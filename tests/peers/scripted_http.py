"""Web services that answer what a test says, on free loopback ports."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. `silence_s` is how long nothing is said first, `drip_s` the pause after each byte of the body."""

    status: int = 200
    media_type: str = "application/json"
    body: bytes = b""
    silence_s: float = 0
    drip_s: float = 0
    cut: bool = False


Script = Callable[[Request], Reply]


@dataclass
class Service:
    """What came, and where."""

    port: int
    requests: list[Request] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(method=self.command, path=self.path, headers=dict(self.headers), body=body)
        self.server.service.requests.append(request)
        with suppress(OSError):
            self._say(self.server.script(request))

    def _say(self, reply: Reply) -> None:
        if reply.silence_s and self.server.ended.wait(reply.silence_s):
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.cut:
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.connection.shutdown(socket.SHUT_RDWR)
        elif reply.drip_s:
            self._drip(reply)
        else:
            self.wfile.write(reply.body)

    def _drip(self, reply: Reply) -> None:
        for byte in reply.body:
            self.wfile.write(bytes([byte]))
            if self.server.ended.wait(reply.drip_s):
                return

    do_GET = do_POST = do_OPTIONS = _serve  # noqa: N815 - the names that http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.service = Service(port=self.server_address[1])
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that ends a connection is no error here."""


@contextmanager
def web_service(answer: Script, *, context: ssl.SSLContext | None = None) -> Iterator[Service]:
    """Yield a service on 127.0.0.1 that answers each request with what `answer` returns for it."""
    server = _Server(answer)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.service
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()

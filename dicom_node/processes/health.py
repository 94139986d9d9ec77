"""The operator's port: /metrics, /healthz (is it running?) and /readyz (can it take studies?)."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

log = structlog.get_logger()

Checks = Callable[[], Mapping[str, str]]
"""Name of a check -> "" if it passed, or what is wrong."""
Details = Callable[[], Mapping[str, str]]
"""Name of something else -> how it does, in words. It does not make the node less ready."""


_LONGEST_REQUEST_S = 5.0


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, so that a client that says nothing holds up nobody's health check."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = _LONGEST_REQUEST_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        log.debug("http_request_answered", line=format % args)


class HealthServer:
    """Serves the three pages on one port until stopped."""

    def __init__(
        self, *, host: str, port: int, registry: CollectorRegistry, healthy: Checks, ready: Checks, destinations: Details = dict
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._checks = {"/healthz": healthy, "/readyz": ready}
        self._details = {"/readyz": destinations}
        self._server: WSGIServer = make_server(host, port, self._answer, server_class=_Server, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        if path not in self._checks:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /healthz or /readyz\n"]
        answers = self._checks[path]()
        good = not any(answers.values())
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "application/json")])
        body: dict[str, object] = {
            "status": "ok" if good else "not ok",
            "checks": {name: problem or "ok" for name, problem in answers.items()},
        }
        if path in self._details:
            body["destinations"] = dict(self._details[path]())
        return [json.dumps(body).encode() + b"\n"]

"""Archives that misbehave on purpose, on free loopback ports."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from pynetdicom import AE, evt
from pynetdicom.association import Association

ABORT = -1
SILENCE = -2


@contextmanager
def scripted_archive(
    *answers: int,
    sop_class_uid: str,
    transfer_syntaxes: tuple[str, ...] = ("1.2.840.10008.1.2.1",),
    calling_ae_titles: tuple[str, ...] = (),
) -> Iterator[tuple[int, list[evt.Event]]]:
    """Yield the port of an archive that gives these statuses (or ABORT, or SILENCE) one after the other, the last for ever,
    and the list of the C-STORE requests that came."""
    script = list(answers)
    requests: list[evt.Event] = []
    ended = threading.Event()

    def answer(event: evt.Event) -> int:
        requests.append(event)
        status = script.pop(0) if len(script) > 1 else script[0]
        if status == ABORT:
            event.assoc.abort()
        if status == SILENCE:
            ended.wait(20)
        return max(status, 0)

    entity = AE(ae_title="SCRIPTED")
    entity.require_calling_aet = list(calling_ae_titles)
    entity.add_supported_context(sop_class_uid, list(transfer_syntaxes))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield server.server_address[1], requests
    finally:
        ended.set()
        server.shutdown()


@contextmanager
def picky_archive(answers: Mapping[str, int]) -> Iterator[tuple[int, list[evt.Event], list[tuple[str, ...]]]]:
    """Yield the port of an archive that takes these SOP classes and answers C-STORE with their statuses.

    Also yields the C-STORE requests that came, and of each association the SOP classes that were proposed.
    """
    requests: list[evt.Event] = []
    proposals: list[tuple[str, ...]] = []

    def answer(event: evt.Event) -> int:
        requests.append(event)
        return answers[event.request.AffectedSOPClassUID]

    def remember(event: evt.Event) -> None:
        contexts = event.assoc.requestor.primitive.presentation_context_definition_list
        proposals.append(tuple(dict.fromkeys(str(context.abstract_syntax) for context in contexts)))

    entity = AE(ae_title="SCRIPTED")
    for sop_class_uid in answers:
        entity.add_supported_context(sop_class_uid, "1.2.840.10008.1.2.1")
    handlers = [(evt.EVT_C_STORE, answer), (evt.EVT_REQUESTED, remember)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1], requests, proposals
    finally:
        server.shutdown()


class _Relay:
    """Leads each connection on for so many bytes, and back without a limit."""

    def __init__(self, port: int, *, after_bytes: int, freeze: bool) -> None:
        self._port = port
        self._after_bytes = after_bytes
        self._freeze = freeze
        self.ended = threading.Event()
        self.opened: list[socket.socket] = []
        self.listener = socket.socket()
        if freeze:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # what is not read here soon stays with the sender
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self.opened.extend((near, far))
                for source, target, limit in ((near, far, self._after_bytes), (far, near, None)):
                    threading.Thread(target=self._forward, args=(source, target, limit), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        with suppress(OSError):
            while limit is None or limit > 0:
                block = source.recv(4096 if limit is None else min(4096, limit))
                if not block:
                    break
                target.sendall(block)
                limit = None if limit is None else limit - len(block)
            if self._freeze and limit is not None:
                self.ended.wait(20)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.ended.set()
        for one in (self.listener, *self.opened):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # closing alone would not wake a thread that reads
            one.close()


@contextmanager
def cutting_relay(port: int, *, after_bytes: int, freeze: bool = False) -> Iterator[int]:
    """Yield a port that leads to `port` for so many bytes and then ends the connection, or (`freeze`) stops reading and is silent."""
    relay = _Relay(port, after_bytes=after_bytes, freeze=freeze)
    accepting = threading.Thread(target=relay.accept)
    accepting.start()
    try:
        yield relay.listener.getsockname()[1]
    finally:
        relay.close()
        accepting.join()


@contextmanager
def silent_listener() -> Iterator[int]:
    """Yield a port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def unused_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def open_associations(before: set[threading.Thread]) -> list[threading.Thread]:
    """Return the association threads that were not there `before`."""
    return [thread for thread in threading.enumerate() if isinstance(thread, Association) and thread not in before]

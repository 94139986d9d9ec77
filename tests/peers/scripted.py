"""Archives that misbehave on purpose, on free loopback ports."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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

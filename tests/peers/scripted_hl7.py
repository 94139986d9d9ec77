"""Receivers of HL7 v2 over MLLP that do what a test says, on free loopback ports."""

import enum
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

START, END = b"\x0b", b"\x1c\r"


class Do(enum.Enum):
    """What a receiver does instead of acknowledging."""

    STAY_SILENT = "stay silent"
    CLOSE = "close before the acknowledgement"
    CLOSE_AFTERWARDS = "acknowledge, then close"
    SPLIT = "acknowledge byte by byte"
    ANOTHER_FIRST = "acknowledge another message first"
    ANOTHER_ONLY = "acknowledge another message"
    TWO_IN_ONE = "acknowledge another message and this one in one write"
    NO_CARRIAGE_RETURN = "leave out the carriage return"
    NONSENSE = "answer what is no HL7"
    WITHOUT_END = "answer without end"


@dataclass
class Receiver:
    """What came. `connections` counts those that were made."""

    port: int
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0


def acknowledgement(control_id: str, code: str, *, error: str = "") -> bytes:
    """Return an ACK as an interface engine writes it; `error` is ERR-3.1."""
    segments = [f"MSH|^~\\&|RIS|HOSPITAL|NODE|HOSPITAL|20260105||ACK^R01|A{control_id}|P|2.5.1", f"MSA|{code}|{control_id}|CANARY^PHI"]
    if error:
        segments.append(f"ERR||PID^1^3|{error}^Unknown key identifier|E|||CANARY-ID")
    return "\r".join((*segments, "")).encode()


class _Serving:
    """Accepts connections and follows the script on each of them."""

    def __init__(self, script: tuple[Do | str, ...], context: ssl.SSLContext | None) -> None:
        self._steps = list(script)
        self._context = context
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self.receiver = Receiver(port=self._listener.getsockname()[1])
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                self.receiver.connections += 1
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            for message in _messages(connection):
                self.receiver.messages.append(message)
                step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
                if not _answer(connection, message.split(b"\r")[0].split(b"|")[9].decode(), step, self._ended):
                    return

    def stop(self) -> None:
        self._ended.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def hl7_receiver(*script: Do | str, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Yield a receiver that follows the script, one step a message, the last for ever; a text is MSA-1, with ERR-3.1 after a blank."""
    serving = _Serving(script, context)
    try:
        yield serving.receiver
    finally:
        serving.stop()


def _messages(connection: socket.socket) -> Iterator[bytes]:
    received = b""
    connection.settimeout(20)
    while block := connection.recv(4096):
        received += block
        while END in received:
            frame, _, received = received.partition(END)
            assert frame.startswith(START)
            yield frame[1:]


def _answer(connection: socket.socket, control_id: str, step: Do | str, ended: threading.Event) -> bool:
    """Do one step; return whether the connection goes on."""
    if isinstance(step, str):
        code, _, error = step.partition(" ")
        connection.sendall(START + acknowledgement(control_id, code, error=error) + END)
        return True
    right = START + acknowledgement(control_id, "AA") + END
    wrong = START + acknowledgement("SOMETHING-ELSE", "AA") + END
    if step is Do.STAY_SILENT:
        ended.wait(20)
    elif step is Do.SPLIT:
        for byte in right:
            connection.sendall(bytes([byte]))
    elif step is Do.WITHOUT_END:
        with suppress(OSError):
            while not ended.is_set():
                connection.sendall(b"x" * 65536)
    elif step is not Do.CLOSE:
        parts = {
            Do.CLOSE_AFTERWARDS: (right,),
            Do.ANOTHER_FIRST: (wrong, right),
            Do.ANOTHER_ONLY: (wrong,),
            Do.TWO_IN_ONE: (wrong + right,),
            Do.NO_CARRIAGE_RETURN: (right[:-1],),
            Do.NONSENSE: (START + b"HTTP/1.1 400 Bad Request" + END,),
        }
        for part in parts[step]:
            connection.sendall(part)
    return step not in {Do.CLOSE, Do.CLOSE_AFTERWARDS}

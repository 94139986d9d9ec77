"""An HL7 server that runs node-hl7-server from npm (`tests/peers/npm`): what it is told to do, and what it says that it received."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Authority, Identity
from tests.waiting import eventually

FOLDER = Path(__file__).parent / "npm"
SILENCE, SPLIT = "silence", "split"


def why_not() -> str:
    """Return why the server cannot run here; empty if it can."""
    if shutil.which("node") is None:
        return "Node.js is not installed (apt-get install nodejs npm)"
    return "" if (FOLDER / "node_modules" / ".installed").is_file() else "node-hl7-server is not installed (make peers)"


@dataclass
class NpmServer:
    """What the server has said so far, oldest first."""

    events: list[Mapping[str, object]] = field(default_factory=list)

    def said(self, what: str) -> list[object]:
        return [event[what] for event in self.events if what in event]

    @property
    def port(self) -> int:
        (port,) = self.said("listening")
        assert isinstance(port, int)
        return port

    @property
    def received(self) -> list[tuple[object, object]]:
        """Control id (MSH-10) and type (MSH-9) of each message, as the server read them."""
        return [(event["received"], event["type"]) for event in self.events if "received" in event]

    @property
    def connections(self) -> int:
        return len(self.said("connected"))


@contextmanager
def npm_server(*steps: str, identity: Identity | None = None, authority: Authority | None = None) -> Iterator[NpmServer]:
    """Yield a server that follows the steps, one a message, the last for ever: AA, AE, AR, SILENCE, or AA in pieces (SPLIT)."""
    options: dict[str, object] = {"steps": steps}
    if identity is not None and authority is not None:
        options["tls"] = {"key": str(identity.key), "cert": str(identity.certificate), "ca": str(authority.certificate)}
    command: Sequence[str] = ["node", "hl7_server.js", json.dumps(options)]
    process = subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    server = NpmServer()
    reader = threading.Thread(target=_listen, args=(process, server))
    reader.start()
    try:
        eventually(lambda: server.said("listening") or process.poll() is not None, "the HL7 server listens")
        assert server.said("error") == []
        yield server
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _listen(process: "subprocess.Popen[str]", server: NpmServer) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        server.events.append(json.loads(line))

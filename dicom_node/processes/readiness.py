"""Can the node take studies now? Each check is "" if it passes, or what is wrong, in words for /readyz."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dicom_node.node import Node
from dicom_node.receiving.pressure import Pressure


def port_file(node: Node, name: str) -> Path:
    """Return where `receive` and the health page say which port they listen on."""
    return node.settings.node.data_folder / f"{name}.port"


def warm_file(node: Node) -> Path:
    """Return where a worker that has loaded its models says so, with its process id."""
    return node.settings.node.data_folder / "work.pid"


def say_warm(node: Node) -> None:
    """Let this process be known as a worker whose models are loaded."""
    warm_file(node).write_text(str(os.getpid()))


def forget(node: Node) -> None:
    """Remove what an earlier run said of itself."""
    for stale in (port_file(node, "receive"), port_file(node, "health"), warm_file(node)):
        stale.unlink(missing_ok=True)


def readiness(node: Node, names: Iterable[str]) -> Mapping[str, str]:
    """Return the answers of the checks with these names."""
    return {name: CHECKS[name](node) for name in names}


def destinations(node: Node) -> Mapping[str, str]:
    """Return how each destination does. A dead one keeps nobody from sending studies here, so that it is no check."""
    try:
        circuits = node.ledger.circuits()
    except Exception:  # noqa: BLE001 - the check of the ledger says it
        return {}
    return {
        one.name: "ok" if (known := circuits.get(one.name)) is None or not known.failures else f"{known.state.value}: {known.reason}"
        for one in node.settings.destinations
    }


def _ledger(node: Node) -> str:
    try:
        node.ledger.counts()
    except Exception as exc:  # noqa: BLE001 - whatever keeps the ledger from answering is the answer
        return f"does not answer: {type(exc).__name__}"
    return ""


def _space(node: Node) -> str:
    reserve_mb = node.settings.receive.reserve_mb
    return "" if node.store.free_bytes() >= reserve_mb * 1_000_000 else f"less than {reserve_mb} MB are free"


def _room(node: Node) -> str:
    return Pressure(node.settings.pressure, store=node.store, ledger=node.ledger).look()


def _receiver(node: Node) -> str:
    try:
        port = int(port_file(node, "receive").read_text())
        socket.create_connection((reachable(node.settings.receive.host), port), timeout=1).close()
    except (OSError, ValueError):
        return "nobody listens for associations"
    return ""


def _models(node: Node) -> str:
    try:
        worker = int(warm_file(node).read_text())
    except (OSError, ValueError):
        worker = 0
    return "" if worker and Path(f"/proc/{worker}").exists() else "no worker has loaded them yet"


def reachable(host: str) -> str:
    """Return an address that connects to a listener on `host` of this machine."""
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound


CHECKS: Mapping[str, Callable[[Node], str]] = {"ledger": _ledger, "space": _space, "room": _room, "receiver": _receiver, "models": _models}
OF_PROCESS: Mapping[str, tuple[str, ...]] = {
    "serve": tuple(CHECKS),
    "receive": ("ledger", "space", "room", "receiver"),
    "schedule": ("ledger", "space"),
    "work": ("ledger", "space", "models"),
    "deliver": ("ledger", "space"),
}
"""Process -> the checks that its /readyz answers."""

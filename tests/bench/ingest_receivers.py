"""The receivers that are measured beside each other, each as its own process (or several), each as an administrator would start it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import yaml

from tests.bench import ingest_floor

CALLED, CALLING = "ANY", "STORESCU"
STARTS_S = 60.0
STORESCU = shutil.which("storescu", path="/usr/bin:/usr/local/bin") or "storescu"  # pynetdicom puts one of the same name on the path


def storescu(port: int, files: Sequence[Path], associations: int) -> float:
    """Send all files over parallel associations and return the seconds it took."""
    command = [STORESCU, "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(port)]
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, *map(str, files[lane::associations])], env=os.environ | {"TCP_NODELAY": "1"})
        for lane in range(associations)
    ]
    if any(sender.wait() != 0 for sender in senders):
        raise RuntimeError("storescu failed")
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A receiver that listens, and its processes."""

    port: int
    process: psutil.Process
    sender: Callable[[int, Sequence[Path], int], float] = storescu

    def send(self, files: Sequence[Path], associations: int) -> float:
        """Send it all files over parallel associations and return the seconds it took."""
        return self.sender(self.port, files, associations)

    def cpu_s(self) -> float:
        """CPU time so far, of all its processes, also those that ended."""
        while True:
            try:
                times = [one.cpu_times() for one in self._all()]
            except psutil.NoSuchProcess:  # its time counts with its parent from now on
                continue
            return float(sum(one.user + one.system + one.children_user + one.children_system for one in times))

    def memory_mb(self) -> float:
        """Resident memory of the largest of its processes, of those it started if it started any."""
        found = []
        for one in self.process.children(recursive=True) or [self.process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(one.memory_info().rss)
        return float(max(found, default=0)) / 1e6

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, folder: Path, *, ready: Callable[[], bool] | None = None) -> Iterator[Running]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TCP_NODELAY": "1"},
        )
    try:
        deadline = time.monotonic() + STARTS_S
        while not (_listens(port) and (ready is None or ready())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not listen:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield Running(port=port, process=psutil.Process(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def this_node(folder: Path, *, durability: str = "power-loss", processes: int = 2) -> Iterator[Running]:
    """`dicom-node receive` with its usual log."""
    port = _free_port()
    settings = {
        "node": {"data_folder": "node", "ae_title": CALLED},
        "receive": {
            "host": "127.0.0.1",
            "port": port,
            "calling_ae_titles": [CALLING, "ECHOSCU"],
            "reserve_mb": 0,
            "durability": durability,
            "processes": processes,
            "maximum_associations": 1000,
        },
        "telemetry": {"port": 0},
    }
    (folder / "node.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "dicom_node", "receive", "--config", str(folder / "node.yaml")]
    log = folder / "log"
    with _running(command, port, folder, ready=lambda: log.read_text().count('"process_ready"') >= processes) as running:
        yield running


@contextmanager
def this_node_crash(folder: Path) -> Iterator[Running]:
    """The same where only the death of processes must lose nothing."""
    with this_node(folder, durability="crash") as running:
        yield running


@contextmanager
def storescp(folder: Path) -> Iterator[Running]:
    """DCMTK's storescp: bytes as they come (+B), a process for each association, nothing synchronised."""
    port = _free_port()
    program = shutil.which("storescp", path="/usr/bin:/usr/local/bin") or "storescp"
    with _running([program, "+B", "--fork", "-od", str(folder), str(port)], port, folder) as running:
        yield running


@contextmanager
def orthanc(folder: Path) -> Iterator[Running]:
    """Orthanc with synchronous storage, which is its default."""
    port = _free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "SyncStorageArea": True,
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomAet": CALLED,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {"sender": [CALLING, "127.0.0.1", 1]},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "Orthanc"
    with _running([program, str(folder / "orthanc.json")], port, folder) as running:
        yield running


@contextmanager
def pynetdicom_plain(folder: Path, *, mode: str = "plain") -> Iterator[Running]:
    """pynetdicom as its examples use it: each instance decoded and saved, nothing synchronised."""
    port = _free_port()
    command = [sys.executable, "-m", "tests.bench.ingest_pynetdicom", mode, str(folder), str(port)]
    with _running(command, port, folder) as running:
        yield running


@contextmanager
def pynetdicom_tuned(folder: Path) -> Iterator[Running]:
    """pynetdicom with raw bytes, 128 kB PDUs, no log and two processes."""
    with pynetdicom_plain(folder, mode="tuned") as running:
        yield running


@contextmanager
def durable_floor(folder: Path) -> Iterator[Running]:
    """What the disk allows: bytes to a file, file and folder synchronised, nothing else."""
    port = _free_port()
    command = [sys.executable, "-m", "tests.bench.ingest_floor", str(folder), str(port)]
    with _running(command, port, folder) as running:
        yield replace(running, sender=ingest_floor.send)


FLOOR = "durable floor, no DICOM"
RECEIVERS = {
    "this node, power-loss": this_node,
    "this node, crash": this_node_crash,
    FLOOR: durable_floor,
    "storescp +B, no fsync": storescp,
    "Orthanc, synchronous": orthanc,
    "pynetdicom, tuned": pynetdicom_tuned,
    "pynetdicom, plain": pynetdicom_plain,
}

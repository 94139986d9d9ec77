"""`dicom-node serve`: starts the node's processes, restarts those that die, and answers for their health."""

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from dicom_node.failures import describe
from dicom_node.ledger import Ledger

log = structlog.get_logger()

RESTART_S = 1.0
LONGEST_RESTART_S = 60.0
STEADY_S = 60.0
"""A process that ran this long starts again without a penalty."""
STOP_S = 30.0


def owner_name(pid: int) -> str:
    """Return the name under which a process of this host holds leases."""
    return f"{socket.gethostname()}/{pid}"


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process of this machine, 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def release_leases_of_the_dead(ledger: Ledger, now: datetime) -> int:
    """Free what processes of this host held when they were killed, rather than wait until their leases run out."""
    released = 0
    for owner in ledger.lease_owners():
        host, _, pid = owner.rpartition("/")
        if host == socket.gethostname() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            released += ledger.release_leases(owner=owner, now=now)
    return released


@contextmanager
def only_supervisor(folder: Path) -> Iterator[None]:
    """Hold the lock that keeps a second node off this data folder.

    Raises:
        BlockingIOError: another node has it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@dataclass(slots=True, kw_only=True)
class _Child:
    name: str
    command: Sequence[str]
    descriptors: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause_s: float = 0.0
    kill_at: float | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, pass_fds=self.descriptors)
        self.started_at = time.monotonic()
        self.kill_at = None
        log.info("process_started", name=self.name, child_pid=self.process.pid)


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Keeps `commands` (name -> argument vector) running until it is stopped.

    `descriptors` (name -> file descriptors) are inherited by the process of that name.

    A process whose resident memory is above `memory_limit_bytes` is stopped and started again, before the machine suffers.
    """

    commands: Mapping[str, Sequence[str]]
    ledger: Ledger
    memory_limit_bytes: int | None = None
    descriptors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    _children: list[_Child] = field(default_factory=list)

    def alive(self) -> dict[str, bool]:
        """Return name -> whether that process runs."""
        return {child.name: child.process is not None and child.process.poll() is None for child in self._children}

    def run(self) -> None:
        """Start everything, restart what dies with growing pauses, and on stop end everything in order."""
        self._children = [
            _Child(name=name, command=command, descriptors=self.descriptors.get(name, ())) for name, command in self.commands.items()
        ]
        for child in self._children:
            child.start()
        try:
            while not self.stop.wait(0.1):
                for child in self._children:
                    self._look_after(child)
        finally:
            self._stop_all()

    def _look_after(self, child: _Child) -> None:
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                self._limit_memory(child, child.process)
                return
            self._release_leases(child.process.pid)
            steady = time.monotonic() - child.started_at >= STEADY_S
            child.pause_s = 0.0 if steady else min(max(child.pause_s * 2, RESTART_S), LONGEST_RESTART_S)
            child.restart_at = time.monotonic() + child.pause_s
            child.process = None
            log.error("process_died", name=child.name, exit_code=code, restart_in_s=child.pause_s)
        if time.monotonic() >= child.restart_at:
            child.start()

    def _limit_memory(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        if child.kill_at is not None:
            if time.monotonic() >= child.kill_at:
                process.kill()
        elif self.memory_limit_bytes is not None and (used := resident_bytes(process.pid)) > self.memory_limit_bytes:
            log.error("process_over_memory", name=child.name, used_mb=used // 1_000_000, limit_mb=self.memory_limit_bytes // 1_000_000)
            process.terminate()
            child.kill_at = time.monotonic() + STOP_S

    def _release_leases(self, pid: int) -> None:
        """Free what a dead process held; if the ledger cannot be written now, its leases run out by themselves."""
        try:
            self.ledger.release_leases(owner=owner_name(pid), now=datetime.now(UTC))
        except Exception as exc:  # noqa: BLE001 - the supervisor outlives whatever ails the ledger
            log.error("leases_not_released", child_pid=pid, reason=describe(exc))  # noqa: TRY400 - a traceback may quote values

    def _stop_all(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("process_killed", child_pid=process.pid, why=f"it did not stop within {STOP_S:g} s")  # noqa: TRY400 - the time-out is the message
                process.kill()
                process.wait()
        log.info("processes_stopped", count=len(running))


def own_command(name: str, settings_file: Path | None) -> tuple[str, ...]:
    """Return the argument vector of one of the node's own processes."""
    configured = ("--config", os.fspath(settings_file)) if settings_file else ()
    return (sys.executable, "-m", "dicom_node", name, *configured, "--supervised")


def receiver_commands(processes: int, listening: int, settings_file: Path | None) -> Mapping[str, Sequence[str]]:
    """Return name -> argument vector of the processes that receive on the socket `listening`."""
    configured = ("--config", os.fspath(settings_file)) if settings_file else ()
    command = (sys.executable, "-m", "dicom_node.receiving.receiver", *configured, "--listening", str(listening), "--number")
    names = ["receive"] if processes == 1 else [f"receive-{number}" for number in range(1, processes + 1)]
    return {name: (*command, str(number)) for number, name in enumerate(names)}

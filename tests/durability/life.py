"""One life of a node, and the modality that sends to it: each is run in a process of its own, forked from the harness.

The node is the real one: listener, ledger, store, steps, lanes. Only the supervisor is missing, so that a killed node stays dead.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

import structlog

from config import load
from dicom_node import failpoints
from dicom_node.delivery import utc_now
from dicom_node.delivery.process import run_deliver
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.reconcile import reconcile
from dicom_node.keeping.retention import purge
from dicom_node.ledger import Ledger
from dicom_node.node import Node
from dicom_node.processes.periodic import mind_the_clock, settle_and_route
from dicom_node.processes.supervisor import owner_name, release_leases_of_the_dead
from dicom_node.processes.worker import Worker
from dicom_node.receiving.scp import StorageScp
from inference.device.shared_engine import SharedEngine
from tests.durability import modality

CALLING = "XRAY"
LONGEST_LIFE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of one case."""

    folder: Path

    @property
    def settings_file(self):
        """Holds the name of the settings file that this node's settings are like, and the port that it listens on."""
        return self.folder / "like"

    @property
    def data(self):
        return self.folder / "node"

    @property
    def log_file(self):
        return self.folder / "node.log"

    @property
    def acknowledged_file(self):
        """Lines `SOP Instance UID, seconds since 1970`: what the modality was told is stored."""
        return self.folder / "acknowledged"

    @property
    def sent_file(self):
        """Is there when the modality has nothing more to send."""
        return self.folder / "all-sent"

    @property
    def reports(self):
        return self.folder / "reports"

    def acknowledged(self):
        if not self.acknowledged_file.exists():
            return {}
        lines = [line.split() for line in self.acknowledged_file.read_text().splitlines()]
        return {uid: float(at) for uid, at in lines}

    def ledger(self):
        return Ledger(f"sqlite:///{self.data / 'ledger.sqlite'}")

    def store(self):
        return ObjectStore(self.data / "objects")


def forked(run, *arguments):
    """Run `run(*arguments)` in a child process; return its process id. The child ends with 0, or 1 if it raises."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run(*arguments)
        os._exit(0)
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the child must not go on as a second harness
        os.write(2, f"{type(exc).__name__}: {exc}\n".encode())
        os._exit(1)


def live(place, failpoint="", purging=False, clock=utc_now):
    """Be a node until everything is reported, or SIGTERM."""
    log = place.log_file.open("a", buffering=1)
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.WriteLoggerFactory(file=log))
    os.dup2(log.fileno(), 2)
    os.environ[failpoints.VARIABLE] = failpoint
    failpoints.arm_from_environment()
    settings, catalogue = settings_of(place)
    store = _insist(place.store)
    ledger = _insist(lambda: Ledger(f"sqlite:///{place.data / 'ledger.sqlite'}", is_there=store.has))
    node = Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=clock)
    _insist(lambda: release_leases_of_the_dead(ledger, clock()))
    _insist(lambda: reconcile(store, ledger, now=clock()))
    scp = StorageScp(ae_title=settings.node.ae_title, settings=settings.receive, store=store, recorder=ledger, clock=clock)
    scp.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    owner = owner_name(os.getpid())
    engine = SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    worker = Worker(node=node, engine=engine, owner=owner, stop=stop, rng=random.Random(1))
    sending = threading.Thread(target=run_deliver, args=(settings, ledger, store, stop), kwargs={"owner": owner, "clock": clock})
    sending.start()
    try:
        _work(node, worker, stop, place, purging=purging)
    finally:
        stop.set()
        sending.join()
        scp.stop()
        ledger.close()


@cache
def loaded(file):
    """Settings as they are read, which takes longer than a short life."""
    return load(file)


def settings_of(place):
    """The settings of `place.settings_file`: those that it was made like, with this place's folders and port."""
    likeness, port = place.settings_file.read_text().split()
    settings, catalogue = loaded(Path(likeness))
    (destination,) = settings.destinations
    changed = {
        "node": settings.node.model_copy(update={"data_folder": place.data}),
        "receive": settings.receive.model_copy(update={"port": int(port)}),
        "destinations": (destination.model_copy(update={"folder": place.reports}),),
    }
    return settings.model_copy(update=changed), catalogue


def _insist(do):
    """What a supervisor does: try again after a failure at start."""
    for _ in range(5):
        try:
            return do()
        except (OSError, failpoints.FailpointError):
            time.sleep(0.01)
    return do()


def _work(node, worker, stop, place, *, purging):
    deadline = time.monotonic() + LONGEST_LIFE_S
    while not stop.is_set() and time.monotonic() < deadline:
        try:
            settle_and_route(node)
            mind_the_clock(node)
            busy = worker.work_once()
            if purging and not busy and is_over(node.ledger, place, over={"SETTLED", "PURGED"}):
                purge(node.settings, node.ledger, node.store, now=node.clock() + timedelta(days=60))
            if not busy and is_over(node.ledger, place, over={"PURGED"} if purging else {"SETTLED"}) and not node.ledger.due_removals():
                return
            if not busy:
                stop.wait(0.03)
        except (OSError, failpoints.FailpointError):  # the worker loop goes on, as that of each process does
            stop.wait(0.01)


def is_over(ledger, place, *, over):
    """Say whether the modality is done, every study has come to an end, and every report is delivered."""
    if not place.sent_file.exists():
        return False
    counts = ledger.counts()
    return (
        set(counts["studies"]) <= over
        and bool(counts["studies"])
        and not set(counts["work_items"]) - {"DELIVERED", "SUPERSEDED"}
        and not ledger.unrouted_studies()
    )


def send_until_acknowledged(place, port, paths, calling=CALLING, associations=1):
    """Be a modality: send each file until the node says that it is stored, however often the node dies meanwhile."""
    senders = [forked(_send_share, place, port, paths[number::associations], calling) for number in range(1, associations)]
    _send_share(place, port, paths[::associations], calling)
    for sender in senders:
        _, status = os.waitpid(sender, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise AssertionError("one of several associations did not get everything stored")


def _send_share(place, port, paths, calling):
    left = list(paths)
    deadline = time.monotonic() + LONGEST_LIFE_S
    with place.acknowledged_file.open("a", buffering=1) as acknowledged:
        while left and time.monotonic() < deadline:
            left = modality.send(
                left,
                port=port,
                calling=calling,
                on_stored=lambda instance: acknowledged.write(f"{instance.sop_instance_uid} {time.time():.6f}\n"),
            )
            if left:
                time.sleep(0.02)
    if left:
        raise AssertionError(f"{len(left)} of {len(paths)} files were never taken")

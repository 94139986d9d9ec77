"""The whole node on one thread and a clock that is moved by hand: real listener, ledger, store, steps and lane; no model."""

import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from config import load
from dicom_node import steps
from dicom_node.delivery import open_channel
from dicom_node.delivery.lane import Lane, LaneTools
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.retention import purge
from dicom_node.ledger import Ledger
from dicom_node.node import Node
from dicom_node.processes.worker import Worker
from dicom_node.receiving.scp import StorageScp
from inference.device.shared_engine import SharedEngine
from tests.durability.modality import send

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CALLING = "XRAY"
ROUTES = {
    "routes": [
        {"name": "quality-only", "when": [{"attribute": "Modality", "equals": "DX"}]},
        {"name": "rest", "no_analysis": "no route"},
    ]
}


@dataclass
class WholeNode:
    """A node and what can be done with it. `now` is its time."""

    folder: Path
    settings_file: Path
    node: Node
    scp: StorageScp
    worker: Worker
    lanes: dict
    now: datetime = NOON

    @property
    def ledger(self):
        return self.node.ledger

    @property
    def store(self):
        return self.node.store

    def pass_time(self, **time):
        self.now += timedelta(**time)

    def receive(self, *paths):
        """Have files sent; each must be taken."""
        left = send(paths, port=self.scp.port, calling=CALLING, on_stored=lambda _: None)
        assert not left, f"not taken: {left}"

    def report(self):
        """Settle, route, analyse, encode and deliver everything that is there."""
        self.pass_time(minutes=10)
        steps.settle(self.node)
        steps.route(self.node)
        while self.worker.work_once():
            pass
        self.deliver()

    def deliver(self):
        for lane in self.lanes.values():
            while lane.step() == 0:
                pass

    def purge(self, **how):
        return purge(self.node.settings, self.ledger, self.store, now=self.now, **how)

    def states(self):
        return {row.study_instance_uid: row.state for row in self.ledger.study_rows()}

    def reports(self):
        return sorted((self.folder / "reports").glob("*.dcm"))

    def files(self, below):
        return sorted(self.store.files_in(below))


@contextmanager
def whole_node(folder, **sections):
    """Run a node in `folder`; keyword arguments are sections of its settings."""
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "routes.yaml").write_text(yaml.safe_dump(ROUTES))
    settings = {
        "node": {"data_folder": "node"},
        "receive": {"host": "127.0.0.1", "port": 0, "calling_ae_titles": [CALLING], "reserve_mb": 0},
        "pressure": {"below_free_mb": 0},
        "retention": {"below_free_mb": None},
        "routes_file": "routes.yaml",
        "destinations": [{"name": "reports", "kind": "folder", "folder": "reports"}],
    }
    for section, values in sections.items():
        settings[section] = settings.get(section, {}) | values if isinstance(values, dict) else values
    settings_file = folder / "node.yaml"
    settings_file.write_text(yaml.safe_dump(settings))
    loaded, catalogue = load(settings_file)
    data = loaded.node.data_folder
    data.mkdir(exist_ok=True)
    store = ObjectStore(data / "objects")
    ledger = Ledger(f"sqlite:///{data / 'ledger.sqlite'}", is_there=store.has)
    running = []

    def clock():
        return running[0].now

    scp = StorageScp(ae_title="DICOM-NODE", settings=loaded.receive, store=store, recorder=ledger, clock=clock)
    node = Node(settings=loaded, catalogue=catalogue, ledger=ledger, store=store, clock=clock)
    engine = SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    worker = Worker(node=node, engine=engine, owner="worker", stop=threading.Event(), rng=random.Random(1))
    tools = LaneTools(
        ledger=ledger, store=store, settings=loaded.deliver, owner="lane", clock=clock, rng=random.Random(1), observer=lambda **_: None
    )
    lanes = {one.name: Lane(one.name, open_channel(one, calling_ae_title="DICOM-NODE", clock=clock), tools) for one in loaded.destinations}
    running.append(WholeNode(folder=folder, settings_file=settings_file, node=node, scp=scp, worker=worker, lanes=lanes))
    scp.start()
    try:
        yield running[0]
    finally:
        scp.stop()
        ledger.close()

"""The work process: what is tried again, what counts, and what ends in a report that says FAILED."""

import errno
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import load
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger, NewWorkItem
from dicom_node.node import Node
from dicom_node.processes.worker import Worker
from dicom_node.routing.selection import SelectedFile, Selection, encode_selection
from inference.analysis import decode_analysis
from inference.device.shared_engine import SharedEngine
from inference.findings import Outcome
from tests.unit.test_ledger import instance

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class FullDisk(ObjectStore):
    """A store on a disk that is full until it is not."""

    full = True

    def write_atomic(self, relative: Path, data: bytes) -> Path:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write_atomic(relative, data)


@pytest.fixture
def worker(tmp_path):
    settings, catalogue = load(None)
    clock = iter(NOON + timedelta(hours=hour) for hour in range(10_000))
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    received = instance()
    ledger.record_instance(received, urgent=False)
    (study,) = ledger.open_studies()
    ledger.settle(study, why="quiet", now=NOON)
    (settled,) = ledger.unrouted_studies()
    selected = SelectedFile(
        sop_class_uid=received.sop_class_uid,
        sop_instance_uid=received.sop_instance_uid,
        series_instance_uid=received.series_instance_uid,
        path="received/lost.dcm",
        digest="d",
    )
    selection = encode_selection(Selection(files=(selected,), excluded=()))
    ledger.record_routing(settled, [NewWorkItem(route="other-ct", selection=selection, inputs_digest="d")], now=NOON)
    store = FullDisk(tmp_path / "objects")
    node = Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=lambda: next(clock))
    engine = SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    yield Worker(node=node, engine=engine, owner="w", stop=threading.Event(), rng=random.Random(1))
    ledger.close()


def state(worker):
    (row,) = worker.node.ledger.study_rows()
    return row.work_items[0]


def test_a_full_disk_is_waited_out_however_often_it_is_met(worker):
    for _ in range(3 * worker.node.settings.work.maximum_attempts):
        assert worker.work_once()
    assert (state(worker).state, state(worker).attempts) == ("ROUTED", 0)
    worker.node.store.full = False
    worker.work_once()
    assert state(worker).state == "ANALYSED"


def test_a_study_that_stopped_the_node_in_every_attempt_is_reported_as_failed(worker):
    worker.node.store.full = False
    for _ in range(worker.node.settings.work.maximum_attempts):
        worker.node.ledger.claim_work(owner="killed", now=worker.node.clock(), lease_s=1)
    worker.work_once()
    analysis = decode_analysis(worker.node.store.absolute(state(worker).analysis_path).read_bytes())
    assert analysis.outcome is Outcome.FAILED
    assert "stopped in the middle of every attempt" in analysis.abstentions[0].detail

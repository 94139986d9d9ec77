"""The whole node in one process, on the real ledger and store, that kills itself at a named point. Run by the durability tests.

Usage: one_process_node.py SETTINGS POINT, where POINT is "never" or "before:METHOD" or "after:METHOD" of the ledger.
"""

import os
import random
import signal
import sys
import threading
from pathlib import Path

from config import load
from dicom_node import steps
from dicom_node.delivery import utc_now
from dicom_node.delivery.lane import run_deliver
from dicom_node.ledger import Ledger
from dicom_node.object_store import ObjectStore
from dicom_node.reconcile import reconcile
from dicom_node.scp import StorageScp
from dicom_node.supervisor import owner_name, release_leases_of_the_dead
from dicom_node.worker import Worker
from inference.shared_engine import SharedEngine

KILLABLE = ("record_instance", "settle", "record_routing", "record_analysis", "record_results", "record_receipt")


def killing_ledger(point):
    """A ledger class that ends this process with SIGKILL right before or right after one of its writes is durable."""
    moment, _, method = point.partition(":")
    if moment == "never":
        return Ledger
    assert method in KILLABLE

    def wrapped(self, *args, **kwargs):
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = getattr(Ledger, method)(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return type("KillingLedger", (Ledger,), {method: wrapped})


def main(settings_file, point):
    settings, catalogue = load(Path(settings_file))
    data = settings.node.data_folder
    data.mkdir(exist_ok=True)
    store = ObjectStore(data / "objects")
    ledger = killing_ledger(point)(f"sqlite:///{data / 'ledger.sqlite'}")
    node = steps.Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=utc_now)
    release_leases_of_the_dead(ledger, utc_now())
    reconcile(store, ledger, now=utc_now())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    owner = owner_name(os.getpid())
    scp = StorageScp(ae_title=settings.node.ae_title, settings=settings.receive, store=store, recorder=ledger, clock=utc_now)
    scp.start()
    (data / "receive.port").write_text(str(scp.port))
    engine = SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    worker = Worker(node=node, engine=engine, owner=owner, stop=stop, rng=random.Random(1))
    sender = threading.Thread(target=run_deliver, args=(settings, ledger, store, stop), kwargs={"owner": owner})
    working = threading.Thread(target=worker.run)
    sender.start()
    working.start()
    while not stop.wait(0.05):
        steps.settle(node)
        steps.route(node)
    scp.stop()
    sender.join()
    working.join()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`python -m dicom_node.receiving.receiver`: one of the processes that receive. `serve` and `dicom-node receive` start and restart them.

They share a listening socket, which they inherit, so that no connection is refused while one of them is being replaced. A module of
its own, so that nothing is loaded that receiving does not need: a receiver stays below 100 MB.
"""

import argparse
import resource
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from config.loader import load_settings
from config.schema import Settings
from dicom_node import audit
from dicom_node.audit.events import ApplicationStarted, ApplicationStopped
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.reconcile import reconcile
from dicom_node.ledger import Ledger
from dicom_node.processes.process_death import die_with_parent
from dicom_node.processes.stopping import stop_on_signals, wait_for
from dicom_node.receiving.association_count import AssociationCount
from dicom_node.receiving.pressure import Pressure
from dicom_node.receiving.scp import StorageScp
from dicom_node.telemetry import InstanceMetrics, configure_logging

_log = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Receive until SIGTERM."""
    parser = argparse.ArgumentParser(prog="dicom_node.receiving.receiver", description=__doc__)
    parser.add_argument("--config", type=Path, help="settings file")
    parser.add_argument("--listening", type=int, required=True, metavar="FD", help="descriptor of the socket that is listened on")
    parser.add_argument("--number", type=int, default=0, help="which of the receivers this is, from 0")
    options = parser.parse_args(arguments)
    stop = stop_on_signals()
    die_with_parent()
    _allow_many_connections()
    settings = load_settings(options.config)
    configure_logging(settings.telemetry, process="receive")
    with audit.trail_open(settings, process="receive"):
        audit.record(ApplicationStarted())
        _receive(settings, socket.socket(fileno=options.listening), stop, options.number)
        audit.record(ApplicationStopped())
    _log.info("process_stopped")


def _receive(settings: Settings, listening: socket.socket, stop: threading.Event, number: int) -> None:
    power_loss = settings.receive.durability == "power-loss"
    folder = settings.node.data_folder
    store = ObjectStore(folder / "objects", power_loss=power_loss)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}", is_there=store.has, power_loss=power_loss)
    found = reconcile(store, ledger, now=_now(), urgent_calling_ae_titles=settings.receive.urgent_ae_titles)
    _log.info("store_reconciled", found_again=found.found_again, quarantined=found.quarantined, removed=found.temporary_removed)
    scp = StorageScp(
        ae_title=settings.node.ae_title,
        settings=settings.receive,
        store=store,
        recorder=ledger,
        clock=_now,
        observer=InstanceMetrics(),
        why_wait=Pressure(settings.pressure, store=store, ledger=ledger).why_wait,
        listening=listening,
        count=AssociationCount(folder / "associations", number),
    )
    scp.start()
    (folder / "receive.port").write_text(str(scp.port))
    _log.info("process_ready")
    wait_for(stop)
    scp.stop()


def _allow_many_connections() -> None:
    """Let this process open as many files as it may allow itself: each association is one, and each data set that arrives."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()

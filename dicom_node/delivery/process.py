"""The deliver process: a lane for each destination, one more for storage commitment where that is asked for, and its listener."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import structlog

from config.destinations import CStoreDestination, Destination, StorageCommitmentSection
from config.schema import Settings
from dicom_node.audit.sending import AuditedChannel
from dicom_node.delivery import open_channel, utc_now
from dicom_node.delivery.commitment import CommitmentAsker, CommitmentLedger, CommitmentReports
from dicom_node.delivery.commitment_lane import CommitmentLane
from dicom_node.delivery.commitment_listener import CommitmentListener
from dicom_node.delivery.lane import IDLE_S, DeliveryLedger, DeliveryObserver, DeliveryOutcome, Lane, LaneTools, ResultFiles
from dicom_node.failures import describe
from dicom_node.processes.stopping import wait_for
from dicom_node.tls.contexts import TlsFilesError

_log = structlog.get_logger()


class SendingLedger(DeliveryLedger, CommitmentLedger, Protocol):
    """What the process asks of the ledger."""


def _unobserved(*, destination: str, outcome: DeliveryOutcome, seconds: float) -> None:
    """Tell nobody."""


def run_deliver(
    settings: Settings,
    ledger: SendingLedger,
    store: ResultFiles,
    stop: threading.Event,
    *,
    owner: str,
    clock: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
    observer: DeliveryObserver = _unobserved,
    on_commitment_port: Callable[[int], object] = lambda _port: None,
) -> None:
    """Keep one lane open to each destination until `stop` is set. `owner` names this process in the leases.

    Raises:
        OSError: the port for storage commitment reports cannot be listened on.
    """
    tools = LaneTools(
        ledger=ledger,
        store=store,
        settings=settings.deliver,
        owner=owner,
        clock=clock,
        rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
        observer=observer,
    )
    reports = CommitmentReports(ledger, clock=clock, ask_again_s=settings.deliver.maximum_retry_s)
    rounds = [(f"deliver-{one.name}", _sending(one, settings.node.ae_title, tools)) for one in settings.destinations]
    rounds += [
        (f"commit-{one.name}", _committing(one, one.storage_commitment, settings.node.ae_title, tools, reports))
        for one in settings.destinations
        if isinstance(one, CStoreDestination) and one.storage_commitment is not None
    ]
    threads = [threading.Thread(target=_keep_open, args=(name, run, tools, stop), name=name) for name, run in rounds]
    threads.append(threading.Thread(target=_renew_leases, args=(tools, stop), name="deliver-leases"))
    with _listening(settings, reports, on_commitment_port):
        for thread in threads:
            thread.start()
        wait_for(stop)
        for thread in threads:
            thread.join()


def _sending(destination: Destination, calling_ae_title: str, tools: LaneTools) -> Callable[[threading.Event], None]:
    commits = isinstance(destination, CStoreDestination) and destination.storage_commitment is not None

    def run(stop: threading.Event) -> None:
        channel = open_channel(destination, calling_ae_title=calling_ae_title, clock=tools.clock)
        Lane(destination.name, AuditedChannel(channel, destination), tools, commits=commits).run(stop)

    return run


def _committing(
    destination: CStoreDestination,
    section: StorageCommitmentSection,
    calling_ae_title: str,
    tools: LaneTools,
    reports: CommitmentReports,
) -> Callable[[threading.Event], None]:
    def run(stop: threading.Event) -> None:
        asker = CommitmentAsker(destination, section, calling_ae_title=calling_ae_title)
        CommitmentLane(destination.name, section, asker, reports, settings=tools.settings, clock=tools.clock, rng=tools.rng).run(stop)

    return run


@contextmanager
def _listening(settings: Settings, reports: CommitmentReports, on_port: Callable[[int], object]) -> Iterator[None]:
    if settings.deliver.commitment_port is None:
        yield
        return
    listener = CommitmentListener(settings.deliver, ae_title=settings.node.ae_title, reports=reports)
    port = listener.start()
    _log.info("commitment_listener_opened", port=port)
    on_port(port)
    try:
        yield
    finally:
        listener.stop()


def _keep_open(name: str, run: Callable[[threading.Event], None], tools: LaneTools, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            run(stop)
        except Exception as exc:  # noqa: BLE001 - the worker loop: a lane that broke, for instance on its ledger, is opened again
            _log.error("lane_crashed", lane=name, reason=_words(exc), error=type(exc).__name__)
            stop.wait(max(tools.settings.retry_s, IDLE_S))


def _words(exc: Exception) -> str:
    return str(exc) if isinstance(exc, TlsFilesError) else describe(exc)


def _renew_leases(tools: LaneTools, stop: threading.Event) -> None:
    """Keep what this process is sending, however long a slow network takes for it."""
    while not stop.wait(tools.settings.lease_s / 3):
        try:
            tools.ledger.renew_leases(owner=tools.owner, now=tools.clock(), lease_s=tools.settings.lease_s)
        except Exception as exc:  # noqa: BLE001 - the worker loop: the next round tries again
            _log.error("leases_not_renewed", reason=describe(exc))

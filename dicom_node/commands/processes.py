"""`serve` and the processes it supervises: receive, work, deliver, schedule. Each also runs alone."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import structlog
import typer
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from config import ConfigurationError
from config.loader import check_ready_to_serve
from dicom_node import steps, supervisor
from dicom_node.commands.opening import ConfigOption, open_node, settings_and_catalogue, stop_with
from dicom_node.delivery import utc_now
from dicom_node.delivery.lane import run_deliver
from dicom_node.health import HealthServer
from dicom_node.readiness import OF_PROCESS, forget, port_file, readiness, say_warm
from dicom_node.reconcile import reconcile
from dicom_node.scp import StorageScp
from dicom_node.telemetry import InstanceMetrics, configure_logging, count_delivery, prepare_multiprocess, registry
from dicom_node.worker import Worker
from inference.adapters import ModelLoadError

log = structlog.get_logger()

PROCESSES = ("receive", "schedule", "work", "deliver")
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True)]


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextlib.contextmanager
def _health(node: steps.Node, process: str, alive: Callable[[], dict[str, bool]]) -> Iterator[None]:
    """Serve /metrics, /healthz and /readyz meanwhile."""

    def healthy() -> Mapping[str, str]:
        return {name: "" if running else "is not running" for name, running in alive().items()}

    telemetry = node.settings.telemetry
    try:
        server = HealthServer(
            host=telemetry.host,
            port=telemetry.port,
            registry=registry(node.ledger, node.store, alive),
            healthy=healthy,
            ready=lambda: {**healthy(), **readiness(node, OF_PROCESS[process])},
        )
    except OSError as exc:
        stop_with(f"cannot listen on {telemetry.host}:{telemetry.port} (telemetry.port): {exc.strerror}")
    server.start()
    port_file(node, "health").write_text(str(server.port))
    log.info("health_served", host=telemetry.host, port=server.port)
    try:
        yield
    finally:
        server.stop()


@contextlib.contextmanager
def _process(name: str, config: Path | None, *, supervised: bool) -> Iterator[tuple[steps.Node, threading.Event]]:
    """Be one of the node's processes: settings, logs, signals, and a health page unless the supervisor has one."""
    settings, catalogue = settings_and_catalogue(config)
    configure_logging(settings.telemetry, process=name)
    if supervised:
        supervisor.die_with_parent()
    stop = _stop_on_signals()
    node = open_node(settings, catalogue)
    with contextlib.nullcontext() if supervised else _health(node, name, lambda: {name: True}):
        log.info("process_ready")
        yield node, stop
    log.info("process_stopped")


def receive(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Receive: the Storage and Verification SCP.

    Example: dicom-node receive --config /etc/dicom-node/node.yaml
    """
    with _process("receive", config, supervised=supervised) as (node, stop):
        _check_senders(node, config)
        settings = node.settings.receive
        found = reconcile(node.store, node.ledger, now=utc_now(), urgent_calling_ae_titles=settings.urgent_calling_ae_titles)
        log.info("store_reconciled", found_again=found.found_again, quarantined=found.quarantined, removed=found.temporary_removed)
        scp = StorageScp(
            ae_title=node.settings.node.ae_title,
            settings=settings,
            store=node.store,
            recorder=node.ledger,
            clock=utc_now,
            observer=InstanceMetrics(),
        )
        try:
            scp.start()
        except OSError as exc:
            stop_with(f"cannot listen on {settings.host}:{settings.port} (receive.port): {exc.strerror}")
        port_file(node, "receive").write_text(str(scp.port))
        stop.wait()
        scp.stop()


def _check_senders(node: steps.Node, config: Path | None) -> None:
    try:
        check_ready_to_serve(node.settings, config)
    except ConfigurationError as exc:
        stop_with(str(exc))


def work(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Work: analyse settled studies and encode their reports. One a GPU.

    Example: CUDA_VISIBLE_DEVICES=0 dicom-node work --config /etc/dicom-node/node.yaml
    """
    from inference.engine import EngineOptions  # noqa: PLC0415 - torch takes seconds to import; only this process needs it
    from inference.shared_engine import SharedEngine  # noqa: PLC0415

    with _process("work", config, supervised=supervised) as (node, stop):
        engine = SharedEngine(
            node.catalogue,
            device=node.settings.work.device,
            batch_size=node.settings.work.batch_size,
            cache_folder=node.settings.node.data_folder / "prompt-cache",
            options=EngineOptions.of(node.settings.work),
        )
        try:
            engine.warm_up()
        except ModelLoadError as exc:  # other models may do: studies of this one end in a report that says so
            log.error("models_not_loaded", reason=str(exc))  # noqa: TRY400 - the message is meant for the operator
        else:
            log.info("engine_ready", device=engine.device)
            say_warm(node)
        owner = supervisor.owner_name(os.getpid())
        Worker(node=node, engine=engine, owner=owner, stop=stop, rng=random.Random()).run()  # noqa: S311 - jitter, no secret


def deliver(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Deliver: send reports, a lane of its own for each destination.

    Example: dicom-node deliver --config /etc/dicom-node/node.yaml
    """
    with _process("deliver", config, supervised=supervised) as (node, stop):
        owner = supervisor.owner_name(os.getpid())
        run_deliver(node.settings, node.ledger, node.store, stop, owner=owner, observer=count_delivery)


def schedule(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Schedule: settle studies and route them.

    Example: dicom-node schedule --config /etc/dicom-node/node.yaml
    """

    def settle_and_route() -> None:
        try:
            steps.settle(node)
            steps.route(node)
        except Exception as exc:  # noqa: BLE001 - the worker loop: the next round tries again
            log.error("settling_failed", error=type(exc).__name__)  # noqa: TRY400 - a traceback may quote values

    with _process("schedule", config, supervised=supervised) as (node, stop):
        scheduler = BackgroundScheduler(timezone="UTC")
        every = IntervalTrigger(seconds=node.settings.schedule.settle_every_s)
        scheduler.add_job(settle_and_route, every, max_instances=1, coalesce=True, next_run_time=utc_now())
        scheduler.start()
        stop.wait()
        scheduler.shutdown(wait=True)


def serve(config: ConfigOption = None) -> None:
    """Serve: run the whole node, restart what dies, answer /metrics, /healthz and /readyz.

    Example: dicom-node serve --config /etc/dicom-node/node.yaml
    """
    settings, catalogue = settings_and_catalogue(config)
    configure_logging(settings.telemetry, process="serve")
    stop = _stop_on_signals()
    node = open_node(settings, catalogue)
    _check_senders(node, config)
    if not settings.destinations:
        log.warning("no_destinations", consequence="reports are made and kept, but sent nowhere")
    try:
        with supervisor.only_supervisor(settings.node.data_folder):
            log.info("leases_released", count=supervisor.release_leases_of_the_dead(node.ledger, utc_now()))
            forget(node)
            prepare_multiprocess(settings.node.data_folder / "metrics")
            commands = {name: supervisor.own_command(name, config) for name in PROCESSES}
            running = supervisor.Supervisor(commands=commands, ledger=node.ledger, stop=stop)
            with _health(node, "serve", running.alive):
                running.run()
    except BlockingIOError:
        stop_with(f"another node runs on {settings.node.data_folder}; stop it, or give this one its own node.data_folder")

"""`serve` and the processes it supervises: receive, work, deliver, schedule. Each also runs alone."""

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from config import ConfigurationError
from config.loader import check_ready_to_serve
from dicom_node import audit
from dicom_node.audit.configuration import tell_settings
from dicom_node.audit.events import ApplicationStarted, ApplicationStopped
from dicom_node.audit.forwarding import Forwarder
from dicom_node.audit.syslog import SyslogSource, open_transport
from dicom_node.commands.opening import ConfigOption, open_node, settings_and_catalogue, stop_with
from dicom_node.delivery import utc_now
from dicom_node.delivery.process import run_deliver
from dicom_node.node import Node
from dicom_node.processes import supervisor
from dicom_node.processes.health import HealthServer
from dicom_node.processes.periodic import rounds
from dicom_node.processes.process_death import die_with_parent
from dicom_node.processes.readiness import OF_PROCESS, destinations, forget, port_file, readiness, say_warm
from dicom_node.processes.stopping import stop_on_signals, wait_for
from dicom_node.processes.worker import Worker
from dicom_node.receiving.scp import listen
from dicom_node.telemetry import configure_logging, count_delivery, prepare_multiprocess, registry
from dicom_node.tls.contexts import TlsFilesError, server_context
from dicom_node.tls.files import ExpiryCollector, known_expiries, warn_of_expiry
from inference.adapters import ModelLoadError

log = structlog.get_logger()

PROCESSES = ("schedule", "work", "deliver")
"""Beside the receivers."""
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True)]


@contextlib.contextmanager
def _health(node: Node, process: str, alive: Callable[[], dict[str, bool]]) -> Iterator[None]:
    """Serve /metrics, /healthz and /readyz meanwhile."""

    def healthy() -> Mapping[str, str]:
        return {name: "" if running else "is not running" for name, running in alive().items()}

    telemetry = node.settings.telemetry
    shown = registry(node.ledger, node.store, alive)
    shown.register(ExpiryCollector(lambda: known_expiries(node.settings)))
    try:
        server = HealthServer(
            host=telemetry.host,
            port=telemetry.port,
            registry=shown,
            healthy=healthy,
            ready=lambda: {**healthy(), **readiness(node, OF_PROCESS[process])},
            destinations=lambda: destinations(node),
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
def _process(name: str, config: Path | None, *, supervised: bool) -> Iterator[tuple[Node, threading.Event]]:
    """Be one of the node's processes: settings, logs, signals, and a health page unless the supervisor has one."""
    settings, catalogue = settings_and_catalogue(config)
    configure_logging(settings.telemetry, process=name)
    if supervised:
        die_with_parent()
    stop = stop_on_signals()
    node = open_node(settings, catalogue)
    with _audited(node, name), contextlib.nullcontext() if supervised else _health(node, name, lambda: {name: True}):
        if not supervised:
            tell_settings(settings, catalogue, config)
        log.info("process_ready")
        yield node, stop
    log.info("process_stopped")


@contextlib.contextmanager
def _audited(node: Node, name: str) -> Iterator[None]:
    """Have the audit trail say that the process runs, and under its name what it does."""
    with audit.trail_open(node.settings, process=name):
        audit.record(ApplicationStarted())
        yield
        audit.record(ApplicationStopped())


def receive(config: ConfigOption = None) -> None:
    """Receive: the Storage and Verification SCP, in as many processes as receive.processes says.

    Example: dicom-node receive --config /etc/dicom-node/node.yaml
    """
    settings, catalogue = settings_and_catalogue(config)
    configure_logging(settings.telemetry, process="receive")
    stop = stop_on_signals()
    node = open_node(settings, catalogue)
    _check_senders(node, config)
    with _listening(node) as listening:
        port_file(node, "receive").unlink(missing_ok=True)
        prepare_multiprocess(settings.node.data_folder / "receive-metrics")
        running = _supervisor(node, _receivers(node, listening, config), stop, listening)
        with _audited(node, "receive"), _health(node, "receive", running.alive):
            tell_settings(settings, catalogue, config)
            running.run()


def _receivers(node: Node, listening: socket.socket, config: Path | None) -> Mapping[str, Sequence[str]]:
    return supervisor.receiver_commands(node.settings.receive.processes, listening.fileno(), config)


def _supervisor(
    node: Node, commands: Mapping[str, Sequence[str]], stop: threading.Event, listening: socket.socket
) -> supervisor.Supervisor:
    limit_mb = node.settings.pressure.process_memory_mb
    return supervisor.Supervisor(
        commands=commands,
        ledger=node.ledger,
        stop=stop,
        memory_limit_bytes=None if limit_mb is None else limit_mb * 1_000_000,
        descriptors={name: (listening.fileno(),) for name in commands if name.startswith("receive")},
    )


@contextlib.contextmanager
def _listening(node: Node) -> Iterator[socket.socket]:
    """Listen where the settings say, for all receivers, or end with what is wrong."""
    settings = node.settings.receive
    try:
        if settings.tls is not None:
            server_context(settings.tls)
        listening = listen(settings)
    except OSError as exc:
        stop_with(f"cannot listen on {settings.host}:{settings.port} (receive.port): {exc.strerror}")
    except TlsFilesError as exc:
        stop_with(f"receive.tls: {exc}")
    with listening:
        yield listening


def _check_senders(node: Node, config: Path | None) -> None:
    try:
        check_ready_to_serve(node.settings, config)
    except ConfigurationError as exc:
        stop_with(str(exc))


def work(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Work: analyse settled studies and encode their reports. One a GPU.

    Example: CUDA_VISIBLE_DEVICES=0 dicom-node work --config /etc/dicom-node/node.yaml
    """
    from inference.device.shared_engine import SharedEngine  # noqa: PLC0415
    from inference.engine import EngineOptions  # noqa: PLC0415 - torch takes seconds to import; only this process needs it

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
        listening = partial(_say_port, node, "commitment")
        try:
            run_deliver(node.settings, node.ledger, node.store, stop, owner=owner, observer=count_delivery, on_commitment_port=listening)
        except OSError as exc:
            stop_with(f"cannot listen on port {node.settings.deliver.commitment_port} (deliver.commitment_port): {exc.strerror}")
        except TlsFilesError as exc:
            stop_with(f"deliver.commitment_tls: {exc}")


def _say_port(node: Node, name: str, port: int) -> None:
    port_file(node, name).write_text(str(port))


def schedule(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Schedule: settle studies, route them, and purge those whose time has come.

    Example: dicom-node schedule --config /etc/dicom-node/node.yaml
    """
    with _process("schedule", config, supervised=supervised) as (node, stop):
        scheduler = BackgroundScheduler(timezone="UTC")
        for job, seconds in rounds(node).values():
            scheduler.add_job(job, IntervalTrigger(seconds=seconds), max_instances=1, coalesce=True, next_run_time=utc_now())
        daily = IntervalTrigger(days=1)
        scheduler.add_job(lambda: warn_of_expiry(node.settings, utc_now()), daily, max_instances=1, next_run_time=utc_now())
        scheduler.start()
        with _forwarding(node, stop):
            wait_for(stop)
        scheduler.shutdown(wait=True)


@contextlib.contextmanager
def _forwarding(node: Node, stop: threading.Event) -> Iterator[None]:
    """Send the audit trail to its repository meanwhile, if it has one."""
    section = node.settings.audit
    if not section.enabled or section.repository is None:
        yield
        return
    own = audit.source_of(node.settings, "schedule")
    header = SyslogSource(host=own.host, app_name=own.ae_title, process=str(os.getpid()))
    folder = audit.trail_folder(node.settings)
    forwarder = Forwarder(folder, open_transport(section.repository), source=header, retry_s=section.retry_s)
    thread = threading.Thread(target=forwarder.run, args=(stop,), name="audit-forwarder")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def serve(config: ConfigOption = None) -> None:
    """Serve: run the whole node, restart what dies, answer /metrics, /healthz and /readyz.

    Example: dicom-node serve --config /etc/dicom-node/node.yaml
    """
    settings, catalogue = settings_and_catalogue(config)
    configure_logging(settings.telemetry, process="serve")
    stop = stop_on_signals()
    node = open_node(settings, catalogue)
    _check_senders(node, config)
    if not settings.destinations:
        log.warning("no_destinations", consequence="reports are made and kept, but sent nowhere")
    try:
        with supervisor.only_supervisor(settings.node.data_folder), _listening(node) as listening:
            log.info("leases_released", count=supervisor.release_leases_of_the_dead(node.ledger, utc_now()))
            forget(node)
            prepare_multiprocess(settings.node.data_folder / "metrics")
            others = {name: supervisor.own_command(name, config) for name in PROCESSES}
            running = _supervisor(node, {**_receivers(node, listening, config), **others}, stop, listening)
            with _audited(node, "serve"), _health(node, "serve", running.alive):
                tell_settings(settings, catalogue, config)
                running.run()
    except BlockingIOError:
        stop_with(f"another node runs on {settings.node.data_folder}; stop it, or give this one its own node.data_folder")

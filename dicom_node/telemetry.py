"""Logs and metrics. Events are named in the past tense and carry UIDs; patient data never gets here."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config.schema import TelemetrySection
from dicom_node.delivery import utc_now
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.lifecycle import CircuitState
from dicom_node.quiet import keep_libraries_silent
from dicom_node.receiving.peers import Why

if TYPE_CHECKING:  # these load what a receiver does not need
    from dicom_node.delivery.lane import DeliveryOutcome
    from dicom_node.flags.flagging import FlagReason

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

MILLISECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

INSTANCES = Counter("dicom_node_instances_received", "C-STORE requests answered, by status", ["status"])
INSTANCE_BYTES = Counter("dicom_node_received_bytes", "Bytes of instances acknowledged with success")
REJECTIONS = Counter("dicom_node_associations_rejected", "Associations rejected, by peer and reason", ["peer", "reason"])
INSTANCE_SECONDS = Histogram("dicom_node_c_store_seconds", "From the whole data set to its answer", buckets=MILLISECONDS)
SETTLED = Counter("dicom_node_studies_settled", "Study revisions that settled")
STEP_SECONDS = Histogram("dicom_node_step_seconds", "Duration of a step", ["step"], buckets=SECONDS)
STEP_FAILURES = Counter("dicom_node_step_failures", "Steps that failed, by verdict", ["step", "verdict"])
FLAG_DECISIONS = Counter("dicom_node_flag_decisions", "Decisions about flags, by model and reason", ["model", "reason"])
PURGED = Counter("dicom_node_studies_purged", "Studies whose files were purged")
PURGED_BYTES = Counter("dicom_node_purged_bytes", "Bytes of received files that were purged")
DELIVERIES = Counter("dicom_node_delivery_attempts", "Delivery attempts, by destination and outcome", ["destination", "outcome"])
DELIVERY_SECONDS = Histogram("dicom_node_delivery_seconds", "Duration of a delivery attempt", ["destination"], buckets=SECONDS)


def configure_logging(settings: TelemetrySection, *, process: str) -> None:
    """Make structlog write one event a line to standard error, bound to the process that wrote it."""
    level = getattr(logging, settings.log_level.upper())

    def add_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, "pid": os.getpid(), **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        shared += [structlog.processors.format_exc_info, _as_json]
    else:
        shared.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    keep_libraries_silent()


_renderer = structlog.processors.JSONRenderer()
_encoder = msgspec.json.Encoder(enc_hook=repr)


def _as_json(logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict) -> str:
    try:
        return _encoder.encode(event).decode()
    except (TypeError, ValueError, OverflowError):  # such as a file name that is no text, which the standard library takes all the same
        return str(_renderer(logger, method, event))


@functools.cache
def _answers(status: int) -> Counter:
    return INSTANCES.labels(f"0x{status:04X}")


class InstanceMetrics:
    """Counts what the Storage SCP answers and whom it turns away."""

    def on_instance(self, status: int, seconds: float, size_bytes: int) -> None:
        _answers(status).inc()
        INSTANCE_SECONDS.observe(seconds)
        if status == 0:
            INSTANCE_BYTES.inc(size_bytes)

    def on_rejection(self, peer: str, why: Why) -> None:
        REJECTIONS.labels(peer, why.value).inc()


def count_purged(studies: int, received_bytes: int) -> None:
    """Count what a purge removed."""
    PURGED.inc(studies)
    PURGED_BYTES.inc(received_bytes)


def count_delivery(*, destination: str, outcome: "DeliveryOutcome", seconds: float) -> None:
    """Count what a destination answered."""
    DELIVERIES.labels(destination, outcome.value).inc()
    DELIVERY_SECONDS.labels(destination).observe(seconds)


def count_flag(model: str, reason: "FlagReason") -> None:
    """Count a decision about a flag."""
    FLAG_DECISIONS.labels(model, reason.value).inc()


class LedgerCollector(Collector):
    """Queue depths and free space, read from their owners when somebody asks."""

    def __init__(self, ledger: Ledger, store: ObjectStore, alive: Callable[[], dict[str, bool]]) -> None:
        self._ledger = ledger
        self._store = store
        self._alive = alive

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauges."""
        for table, states in self._ledger.counts().items():
            gauge = GaugeMetricFamily(f"dicom_node_{table}", f"Rows of {table} in each state", labels=["state"])
            for state, number in states.items():
                gauge.add_metric([state], number)
            yield gauge
        yield _suspended(self._ledger)
        yield from _destinations(self._ledger)
        yield GaugeMetricFamily("dicom_node_store_free_bytes", "Free space under the object store", value=self._store.free_bytes())
        up = GaugeMetricFamily("dicom_node_process_up", "1 if the process runs", labels=["name"])
        for name, running in self._alive().items():
            up.add_metric([name], float(running))
        yield up


def _destinations(ledger: Ledger) -> Iterable[GaugeMetricFamily]:
    circuits = GaugeMetricFamily(
        "dicom_node_destination_circuit", "1 for the state that a destination's circuit is in", labels=["destination", "state"]
    )
    for name, circuit in ledger.circuits().items():
        for state in CircuitState:
            circuits.add_metric([name, state.value], float(state is circuit.state))
    yield circuits
    waiting = ledger.waiting(now=utc_now())
    values: dict[tuple[str, str], dict[str, float]] = {
        ("pending", "Results that wait for a destination"): {name: held.pending for name, held in waiting.items()},
        ("parked", "Results that wait for an operator before a destination gets them"): {
            name: held.parked for name, held in waiting.items()
        },
        ("oldest_seconds", "Age of the oldest result that waits for a destination"): {
            name: held.oldest_s for name, held in waiting.items()
        },
    }
    for (what, words), of_destination in values.items():
        gauge = GaugeMetricFamily(f"dicom_node_destination_{what}", words, labels=["destination"])
        for name, value in of_destination.items():
            gauge.add_metric([name], float(value))
        yield gauge


def _suspended(ledger: Ledger) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("dicom_node_flags_suspended", "1 for each suspension of flags that holds", labels=["model"])
    for suspension in ledger.suspensions():
        gauge.add_metric([suspension.model or "every model"], 1)
    return gauge


def registry(ledger: Ledger, store: ObjectStore, alive: Callable[[], dict[str, bool]]) -> CollectorRegistry:
    """Return what /metrics shows: the counters of this process or of all supervised ones, and the state of the ledger."""
    if MULTIPROCESS_VARIABLE in os.environ:
        collected = CollectorRegistry()
        multiprocess.MultiProcessCollector(collected)  # type: ignore[no-untyped-call]  # prometheus_client's constructor is untyped
    else:
        collected = REGISTRY
    collected.register(LedgerCollector(ledger, store, alive))
    return collected


def prepare_multiprocess(folder: Path) -> None:
    """Make an empty folder for the counters of supervised processes and point prometheus_client at it."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.db"):
        stale.unlink()
    os.environ[MULTIPROCESS_VARIABLE] = str(folder)

"""The certificates, keys and lists that the settings name: whether they can be used, and how long they still can."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config.mistakes import Mistake, mistake_at
from config.schema import Settings
from config.source import SourceDocument, field_name, read_source
from config.tls import TlsSection, tls_sections
from dicom_node.tls.contexts import Expiry, TlsFilesError, client_context, dated_files, server_context

_log = structlog.get_logger(__name__)


def tls_mistakes(settings: Settings, path: Path | None) -> Iterator[Mistake]:
    """Yield a mistake for each TLS section whose files cannot be used. `path` is the settings file, for the line."""
    document = SourceDocument(path=Path("(defaults)"), value={}, root=None) if path is None else read_source(path)
    for location, section in tls_sections(settings):
        try:
            if isinstance(section, TlsSection):
                client_context(section)
            else:
                server_context(section)
        except TlsFilesError as exc:
            yield mistake_at(document, location, str(exc))


def known_expiries(settings: Settings) -> tuple[Expiry, ...]:
    """Return when each file that can be read runs out, soonest first."""
    return tuple(sorted(_readable(settings), key=lambda expiry: expiry.at))


def _readable(settings: Settings) -> Iterator[Expiry]:
    for location, section in tls_sections(settings):
        for file in dated_files(field_name(location), section):
            try:
                yield file.expiry()
            except TlsFilesError as exc:
                _log.warning("tls_file_not_read", field=file.field, reason=str(exc))


def warn_of_expiry(settings: Settings, now: datetime) -> None:
    """Log what runs out within `telemetry.certificate_warning_days`, and what has."""
    for expiry in known_expiries(settings):
        days = expiry.days_left(now)
        if days < 0:
            _log.error("tls_file_expired", field=expiry.field, file=expiry.path.name, at=expiry.at.isoformat())
        elif days < settings.telemetry.certificate_warning_days:
            _log.warning("tls_file_expires_soon", field=expiry.field, file=expiry.path.name, at=expiry.at.isoformat(), days=int(days))


class ExpiryCollector(Collector):
    """The dates as a metric, read from the files when somebody asks."""

    def __init__(self, read: Callable[[], Iterable[Expiry]]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily(
            "dicom_node_tls_not_after_timestamp_seconds", "When a certificate or revocation list runs out", labels=["field"]
        )
        for expiry in self._read():
            gauge.add_metric([expiry.field], expiry.at.timestamp())
        yield gauge

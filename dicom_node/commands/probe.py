"""`dicom-node probe`: is the node healthy? Send it something and see whether a report is made."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from config.receiving import ReceiveSection
from config.tls import TlsSection
from dicom_node.commands.opening import ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.commands.status import what_was_found
from dicom_node.emulator import send_files
from dicom_node.ledger.overview import WorkItemRow
from dicom_node.node import Node
from dicom_node.probe import ROUTE, probe_instance
from dicom_node.processes.readiness import port_file, reachable
from dicom_node.tls.contexts import TlsFilesError
from inference.analysis import decode_analysis

POLL_S = 0.1


def probe(
    config: ConfigOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the report.")] = 120,
    calling_ae_title: Annotated[str, typer.Option("--calling", help="Calling AE title; one that the node lets in.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Probe: send a synthetic study through the running node and wait for its report, which goes to no archive.

    Example: dicom-node probe --config /etc/dicom-node/node.yaml --json
    """
    node = existing_node(config)
    if ROUTE not in {route.name for route in node.catalogue.routes}:
        stop_with(f"the routes have no route {ROUTE!r}; copy it from the routes that ship, or the probe's report would reach an archive")
    calling = calling_ae_title or _calling(node)
    started = time.monotonic()
    study = _send(node, calling)
    item = _wait_for_report(node, study, started + timeout_s)
    if item is None:
        stop_with(f"no report on study {study} within {timeout_s:g} s; `dicom-node status {study}` shows how far it came")
    found = what_was_found(decode_analysis(node.store.absolute(item.analysis_path).read_bytes()) if item.analysis_path else None)
    seconds = time.monotonic() - started
    good = item.state == "DELIVERED" and not found.startswith("failed")
    if as_json:
        answer = {"study_instance_uid": study, "seconds": round(seconds, 2), "state": item.state, "found": found, "healthy": good}
        typer.echo(json.dumps(answer))
    else:
        Console(highlight=False).print(f"{'healthy' if good else 'NOT healthy'}: report on study {study} after {seconds:.1f} s ({found})")
    raise typer.Exit(0 if good else 1)


def _send(node: Node, calling: str) -> str:
    receive = node.settings.receive
    listening = port_file(node, "receive")
    if not listening.exists():
        stop_with("the node does not run: nobody has listened on this data folder yet")
    study, data = probe_instance(node.clock())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.dcm"
        path.write_bytes(data)
        called = node.settings.node.ae_title
        host, port = reachable(receive.host), int(listening.read_text())
        try:
            (sent,) = send_files([path], host=host, port=port, called=called, calling=calling, tls=_tls(receive))
        except TlsFilesError as exc:
            stop_with(f"receive.tls: {exc}")
    if not sent.accepted:
        answer = sent.reason if sent.status is None else f"0x{sent.status:04X}"
        stop_with(f"the node did not take the probe from calling AE title {calling}: {answer}")
    return study


def _calling(node: Node) -> str:
    """Return a calling AE title that the node lets in from this host without a certificate of its own, or the likeliest."""
    receive = node.settings.receive
    free = (title for peer in receive.peers if not peer.has_certificate and not peer.addresses for title in peer.ae_titles)
    return next(iter((*receive.calling_ae_titles, *free, *receive.known_ae_titles)), node.settings.node.ae_title)


def _tls(receive: ReceiveSection) -> TlsSection | None:
    """Return how the node calls itself: it shows its own certificate and trusts that one only, whatever host that is for."""
    own = receive.tls
    if own is None:
        return None
    files = {"certificate": own.certificate, "key": own.key, "key_password_file": own.key_password_file}
    return TlsSection(trusted_certificates=own.certificate, verify_host_name=False, **files)


def _wait_for_report(node: Node, study: str, deadline: float) -> WorkItemRow | None:
    while time.monotonic() < deadline:
        for row in node.ledger.study_rows(study):
            for item in row.work_items:
                if item.state in {"DELIVERED", "FAILED"}:
                    return item
        time.sleep(POLL_S)
    return None

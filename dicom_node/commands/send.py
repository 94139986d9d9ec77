"""`dicom-node send`: a modality emulator."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.tls import TlsSection
from dicom_node.commands.opening import USAGE, stop_with
from dicom_node.emulator import Sent, files_in, send_files
from dicom_node.tls.contexts import TlsFilesError

_HIGHEST_PORT = 65535


def send(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with all below them.", exists=True)],
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="Address of the peer.")],
    called: Annotated[str, typer.Option(help="Called AE title.")] = "DICOM-NODE",
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "EMULATOR",
    associations: Annotated[int, typer.Option(min=1, max=64, help="Parallel associations.")] = 1,
    tls_trusted: Annotated[Path | None, typer.Option(help="Speak TLS; PEM file with the authorities to trust.", dir_okay=False)] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file with a certificate to show, for mutual TLS.", dir_okay=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with its private key (mode 0600).", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send files by C-STORE exactly as they lie on disk, as a modality would.

    Exit code 0: the peer answered 0x0000 for every file. 1: it did not, or a file was not sent.

    Example: dicom-node send study/ --to 127.0.0.1:11112 --called DICOM-NODE --calling CT-1 --associations 4
    """
    host, port = _address(to)
    tls = _tls(tls_trusted, tls_certificate, tls_key)
    for title in (called, calling):
        _check_ae_title(title)
    files = files_in(paths)
    if not files:
        raise typer.BadParameter("there is no file", param_hint="PATHS")
    with Progress(
        TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True), disable=as_json
    ) as bar:
        task = bar.add_task("sending", total=len(files))
        try:
            results = send_files(
                files,
                host=host,
                port=port,
                called=called,
                calling=calling,
                associations=associations,
                tls=tls,
                progress=lambda _sent: bar.advance(task),
            )
        except TlsFilesError as exc:
            stop_with(str(exc), USAGE)
    if as_json:
        typer.echo(json.dumps(_as_json(results), indent=2))
    else:
        _print_table(results)
    raise typer.Exit(0 if all(sent.accepted for sent in results) else 1)


def _tls(trusted: Path | None, certificate: Path | None, key: Path | None) -> TlsSection | None:
    if (certificate is None) != (key is None):
        raise typer.BadParameter("a certificate and its key belong together", param_hint="--tls-certificate, --tls-key")
    if trusted is None and certificate is None:
        return None
    if trusted is None:
        raise typer.BadParameter("name the authority of the peer's certificate", param_hint="--tls-trusted")
    return TlsSection(trusted_certificates=trusted, certificate=certificate, key=key)


def _check_ae_title(title: str) -> None:
    if not title.strip() or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():  # noqa: PLR2004 - PS3.5 6.2, VR AE
        raise typer.BadParameter(f"{title!r} is no AE title: 1 to 16 printable ASCII characters", param_hint="--called, --calling")


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--to")
    return host.strip("[]"), int(port)


def _status(sent: Sent) -> str:
    return "not sent" if sent.status is None else f"0x{sent.status:04X}"


def _as_json(results: tuple[Sent, ...]) -> dict[str, object]:
    return {
        "accepted": sum(sent.accepted for sent in results),
        "files": [
            {"path": str(sent.path), "sop_instance_uid": sent.sop_instance_uid, "status": _status(sent), "reason": sent.reason}
            for sent in results
        ],
    }


def _print_table(results: tuple[Sent, ...]) -> None:
    table = Table("Status", "Reason", "Files", "First file")
    for (status, reason), count in sorted(Counter((_status(sent), sent.reason) for sent in results).items()):
        first = next(sent.path for sent in results if (_status(sent), sent.reason) == (status, reason))
        table.add_row(status, reason, str(count), first.name)
    Console().print(table)

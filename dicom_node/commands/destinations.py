"""`dicom-node destinations`: asks each destination the smallest question that its protocol has, and says what to do."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.destinations import Destination, target_of, tls_of
from dicom_node.commands.opening import FAILED, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from dicom_node.delivery import open_channel
from dicom_node.failures import DeliveryError
from dicom_node.tls.contexts import TlsFilesError

AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What became of asking one destination. `problem` is "" if it answered; it names the remedy."""

    destination: str
    kind: str
    address: str
    tls: bool
    answer: str
    problem: str
    milliseconds: float


def destinations(
    names: Annotated[list[str] | None, typer.Argument(help="Names of destinations; all if left out.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Destinations: test each with C-ECHO, HTTP, a connection or a trial file. Nothing is stored there.

    Exit code 0: all answered. 1: some did not; each is named with what to do.

    Example: dicom-node destinations --config /etc/dicom-node/node.yaml
    """
    settings, _ = settings_and_catalogue(config)
    known = {one.name: one for one in settings.destinations}
    if unknown := [name for name in names or () if name not in known]:
        stop_with(f"there is no destination {unknown[0]!r}; known are {', '.join(known) or 'none'}")
    chosen = [known[name] for name in names] if names else list(known.values())
    if not chosen:
        stop_with("the settings name no destination; add one under `destinations`")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        probed = list(pool.map(lambda one: probe(one, calling_ae_title=settings.node.ae_title), chosen))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in probed]))
    else:
        Console().print(_table(probed))
    if any(one.problem for one in probed):
        raise typer.Exit(FAILED)


def probe(destination: Destination, *, calling_ae_title: str) -> Probed:
    """Ask one destination."""
    started = time.monotonic()
    answer, problem = "", ""
    try:
        answer = open_channel(destination, calling_ae_title=calling_ae_title).probe()
    except (DeliveryError, TlsFilesError) as exc:
        problem = str(exc)
    return Probed(
        destination=destination.name,
        kind=destination.kind,
        address=target_of(destination),
        tls=tls_of(destination) is not None or target_of(destination).startswith("https:"),
        answer=answer,
        problem=problem,
        milliseconds=round((time.monotonic() - started) * 1000, 1),
    )


def _table(probed: list[Probed]) -> Table:
    table = Table(title="Destinations", title_justify="left", show_lines=True)
    for column in ("Destination", "Kind", "Address", "Answer"):
        table.add_column(column, overflow="fold")
    for one in probed:
        answer = Text(one.problem, "red") if one.problem else Text(f"{one.answer}, {one.milliseconds:.0f} ms", "green")
        table.add_row(one.destination, one.kind + (", TLS" if one.tls else ""), Text(one.address), answer)
    return table

"""`dicom-node deliveries`: what waits for each destination, what is parked, and what an operator decides about it."""

import json
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dicom_node import audit
from dicom_node.audit.events import OperatorActed
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import USAGE, ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.delivery.circuit import Circuit
from dicom_node.ledger.destinations import Waiting
from dicom_node.ledger.parked import DeliveryFilter, DeliveryRecord
from dicom_node.lifecycle import CircuitState, DeliveryState
from dicom_node.node import Node

SHOWN = 50
PARKED = "PARKED"
NOT_SENT = (DeliveryState.PENDING, DeliveryState.FAILED)

app = typer.Typer(no_args_is_help=True)
IdsArgument = Annotated[list[int] | None, typer.Argument(help="Numbers of deliveries, as `list` shows them.")]
DestinationOption = Annotated[str | None, typer.Option("--destination", "-d", help="Name of a destination.")]
StudyOption = Annotated[str | None, typer.Option("--study", help="Study Instance UID.")]
StateOption = Annotated[
    str | None, typer.Option("--state", help="pending, parked (or failed), accepted, committed or dropped; all is any of them.")
]


@app.command("list")
def list_deliveries(
    *,
    destination: DestinationOption = None,
    state: StateOption = None,
    study: StudyOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100000, help="At most so many.")] = SHOWN,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List: the state of each destination, and what was not sent yet; with --state or --study what was sent too.

    Example: dicom-node deliveries list --destination pacs --state parked
    """
    states = _states(state) if state else () if study else NOT_SENT
    node = existing_node(config)
    wanted = DeliveryFilter(destination=destination, states=states, study_instance_uid=study)
    records = node.ledger.delivery_records(wanted, limit=limit)
    if as_json:
        typer.echo(msgspec.json.encode({"destinations": destinations_plain(node), "deliveries": records}, enc_hook=str).decode())
        return
    console = Console()
    console.print(destinations_table(node))
    console.print(_records_table(records))
    if len(records) == limit:
        console.print(f"... and perhaps more (--limit {limit * 10} shows them)")


@app.command()
def retry(
    ids: IdsArgument = None,
    *,
    destination: DestinationOption = None,
    study: StudyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry: send what is parked, and what waits, now; ask anew for storage commitment that was given up.

    Example: dicom-node deliveries retry --destination pacs
    """
    wanted = _wanted(ids, destination, study)
    node = existing_node(config)
    count = node.ledger.retry_deliveries(wanted, who=operator(), now=node.clock())
    if count == 0:
        stop_with("none of these deliveries is parked or waits, or they are being sent right now")
    audit.record(OperatorActed(user=operator(), action="deliveries retry", subject=_subject(wanted), why=f"{count} due now"))
    typer.echo(json.dumps({"retried": count}) if as_json else f"{count} due now")


@app.command()
def drop(
    ids: IdsArgument = None,
    *,
    why: Annotated[str, typer.Option("--why", help="Reason, kept with your name in the history of the study.")],
    destination: DestinationOption = None,
    study: StudyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop: decide that what is parked or waits is not to be sent. This is final; what was sent stays where it is.

    Example: dicom-node deliveries drop 17 --why "the archive was replaced"
    """
    wanted = _wanted(ids, destination, study)
    if not why.strip():
        stop_with("--why needs a reason", code=USAGE)
    node = existing_node(config)
    count = node.ledger.drop_deliveries(wanted, why=why.strip(), who=operator(), now=node.clock())
    if count == 0:
        stop_with("none of these deliveries is parked or waits, or they are being sent right now")
    audit.record(OperatorActed(user=operator(), action="deliveries drop", subject=_subject(wanted), why=f"{count} dropped: {why.strip()}"))
    typer.echo(json.dumps({"dropped": count}) if as_json else f"{count} dropped")


def _subject(wanted: DeliveryFilter) -> str:
    """What the audit trail says that it was about."""
    numbers = "+".join(map(str, wanted.ids))
    return wanted.study_instance_uid or (f"deliveries:{numbers}" if numbers else f"destination:{wanted.destination}")


def _wanted(ids: list[int] | None, destination: str | None, study: str | None) -> DeliveryFilter:
    if not ids and destination is None and study is None:
        stop_with("say which: numbers, --destination or --study", code=USAGE)
    return DeliveryFilter(ids=tuple(ids or ()), destination=destination, study_instance_uid=study)


def _states(name: str) -> tuple[DeliveryState, ...]:
    if name.upper() == "ALL":
        return tuple(DeliveryState)
    upper = name.upper()
    try:
        return (DeliveryState.FAILED if upper == PARKED else DeliveryState(upper),)
    except ValueError:
        stop_with(f"there is no state {name!r}; known are pending, parked, accepted, committed, dropped and all", code=USAGE)


def in_words(circuit: Circuit | None) -> str:
    """Return the state of a destination's circuit in a few words."""
    if circuit is None or not circuit.failures:
        return "sends"
    if circuit.state is CircuitState.CLOSED:
        return f"sends, {circuit.failures} failures in a row"
    return f"{circuit.state.value.replace('_', '-')} since {circuit.changed_at:%Y-%m-%d %H:%M} UTC, {circuit.failures} failures in a row"


def destinations_plain(node: Node) -> list[dict[str, object]]:
    """Return how each destination does, for machines."""
    return [
        {
            "destination": name,
            "circuit": (circuit.state if circuit else CircuitState.CLOSED).value,
            "failures": circuit.failures if circuit else 0,
            "reason": circuit.reason if circuit else "",
            "next_attempt_at": circuit.not_before.isoformat() if circuit and circuit.failures else None,
            "pending": waiting.pending,
            "parked": waiting.parked,
            "oldest_s": round(waiting.oldest_s, 1),
        }
        for name, circuit, waiting in _destinations(node)
    ]


def destinations_table(node: Node) -> Table:
    """Return how each destination does."""
    table = Table("Destination", "Circuit", "Pending", "Parked", "Oldest", "Last failure", title="Destinations", title_justify="left")
    for name, circuit, waiting in _destinations(node):
        oldest = f"{waiting.oldest_s:.0f} s" if waiting.pending else ""
        reason = circuit.reason if circuit else ""
        table.add_row(name, in_words(circuit), str(waiting.pending), str(waiting.parked), oldest, Text(reason))
    return table


def _destinations(node: Node) -> list[tuple[str, Circuit | None, Waiting]]:
    """Those of the settings, then those that are there no more but for which something waits."""
    circuits, waiting = node.ledger.circuits(), node.ledger.waiting(now=node.clock())
    names = dict.fromkeys((*(one.name for one in node.settings.destinations), *waiting))
    return [(name, circuits.get(name), waiting.get(name, Waiting())) for name in names]


def _records_table(records: tuple[DeliveryRecord, ...]) -> Table:
    table = Table(title="Deliveries", title_justify="left", show_lines=True)
    for column in ("No.", "To", "What", "State", "Answer"):
        table.add_column(column, overflow="fold")
    for record in records:
        state = PARKED if record.state == DeliveryState.FAILED else record.state
        table.add_row(
            str(record.id),
            record.destination,
            f"{record.kind}, {record.route}, revision {record.revision}\nstudy {record.study_instance_uid}",
            f"{state}\n{record.attempts} attempts",
            Text("\n".join(part for part in (record.status, record.error) if part)),
        )
    return table

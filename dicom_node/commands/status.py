"""`dicom-node status` and `requeue`: what became of everything that arrived."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from dicom_node.audit import record, trail_folder
from dicom_node.audit.events import OperatorActed
from dicom_node.audit.forwarding import unsent
from dicom_node.audit.trail import read_head
from dicom_node.commands.deliveries import destinations_plain
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.flags.flagging import HELD_BACK, FlagReason
from dicom_node.ledger.destinations import Waiting
from dicom_node.ledger.overview import StudyRow, WorkItemRow
from dicom_node.lifecycle import CircuitState
from dicom_node.node import Node
from inference.analysis import decode_analysis
from inference.findings import Analysis, Finding, Presence

SHOWN = 20


def status(
    study: Annotated[str | None, typer.Argument(help="Study Instance UID: its whole history.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every study, not only the latest, and what lies in quarantine.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Status: what arrived, what was found, where it went.

    Example: dicom-node status --all
    """
    node = existing_node(config)
    rows = node.ledger.study_rows(study)
    if study is not None and not rows:
        stop_with(f"study {study} never arrived here")
    if as_json:
        typer.echo(_json(node, rows))
        return
    console = Console()
    console.print(_studies_table(node, rows if everything or study else rows[:SHOWN]))
    if study is not None:
        console.print(_history_table(node, study))
        return
    if not everything and len(rows) > SHOWN:
        console.print(f"... and {len(rows) - SHOWN} older studies (--all shows them)")
    if everything:
        _print_account(node, rows, console)
    for line in (*_flags_in_words(node), *_destinations_in_words(node), *_audit_in_words(node)):
        console.print(line)


def _flags_in_words(node: Node) -> Iterator[str]:
    """What an administrator must know about flags without asking."""
    for suspension in node.ledger.suspensions():
        by = f"by {suspension.suspended_by} since {suspension.since:%Y-%m-%d %H:%M} UTC"
        yield f"Flags of {suspension.model or 'every model'} are SUSPENDED {by}: {suspension.why}"
    for model in node.ledger.flagging_models(now=node.clock()):
        counts = dict(model.counts)
        held = sum(counts.get(reason, 0) for reason in HELD_BACK)
        if counts.get(FlagReason.RAISED, 0) or held:
            yield f"Flags of {model.model}: {counts.get(FlagReason.RAISED, 0)} raised, {held} held back (dicom-node flags list)"


def _destinations_in_words(node: Node) -> Iterator[str]:
    """Destinations that do not take results now, and what waits for an operator."""
    waiting = node.ledger.waiting(now=node.clock())
    for name, circuit in sorted(node.ledger.circuits().items()):
        if circuit.state is not CircuitState.CLOSED:
            held = waiting.get(name, Waiting())
            yield f"Destination {name} takes nothing since {circuit.changed_at:%Y-%m-%d %H:%M} UTC; {held.pending} wait: {circuit.reason}"
    for name, held in sorted(waiting.items()):
        if held.parked:
            yield f"{held.parked} parked for {name} (dicom-node deliveries list --state parked)"


def _audit_in_words(node: Node) -> Iterator[str]:
    """How far the audit trail is, if there is one."""
    folder = trail_folder(node.settings)
    if node.settings.audit.enabled and (last := read_head(folder).n):
        waiting = f", {unsent(folder)} wait for the repository" if node.settings.audit.repository else ""
        yield f"Audit trail: {last} records{waiting} (dicom-node audit verify)"


def _analysis(node: Node, item: WorkItemRow) -> Analysis | None:
    return None if item.analysis_path is None else decode_analysis(node.store.absolute(item.analysis_path).read_bytes())


def in_words(finding: Finding) -> str:
    """Return a finding with its number, and what kind of number that is."""
    if finding.calibrated:
        return f"{_subject(finding)} {finding.presence.value.upper()} {finding.score:.0%}"
    return f"{_subject(finding)} score {finding.score:.2f}, not calibrated"


def _subject(finding: Finding) -> str:
    return f"{finding.label} (patient, {len(finding.images)} images)" if finding.others else finding.label


def what_was_found(analysis: Analysis | None) -> str:
    """Return an analysis in one line, without patient data."""
    if analysis is None:
        return ""
    parts = [analysis.outcome.value]
    parts += [in_words(finding) for finding in analysis.findings if finding.presence is Presence.PRESENT]
    if analysis.in_shadow and analysis.findings:
        parts.append(f"in shadow, highest: {in_words(max(analysis.findings, key=lambda finding: finding.score))}")
    if analysis.grade:
        found = dict.fromkeys(verdict.check for verdict in analysis.quality if verdict.grade)
        parts.append(f"quality {analysis.grade.name.replace('_', '-').lower()} ({', '.join(found)})")
    parts += dict.fromkeys(f"looks like {kind.kind}" for kind in analysis.kinds if not kind.expected)
    parts += sorted({f"{abstention.reason.value}: {abstention.detail}" for abstention in analysis.abstentions})
    return "; ".join(parts)


def _studies_table(node: Node, rows: tuple[StudyRow, ...]) -> Table:
    table = Table(title="Studies", title_justify="left", show_lines=True)
    for column in ("Study", "Report", "What was found"):
        table.add_column(column, overflow="fold")
    for row in rows:
        urgent = ", URGENT" if row.urgent else ""
        study = f"{row.study_instance_uid}\n{row.instances} {'/'.join(row.modalities)}, {row.state.lower()}{urgent}"
        if not row.work_items:
            table.add_row(study, "none yet", "")
        for item in row.work_items:
            table.add_row(study, _report(item), item.error or what_was_found(_analysis(node, item)))
            study = ""
    return table


def _report(item: WorkItemRow) -> str:
    sent = [f"{delivery.destination}: {delivery.state.lower()} {delivery.status or ''}".strip() for delivery in item.deliveries]
    return "\n".join([f"{item.route}, revision {item.revision}", item.state, *sent])


def _history_table(node: Node, study: str) -> Table:
    table = Table("At (UTC)", "Event", "Detail", title="History", title_justify="left")
    for event in node.ledger.history(study):
        table.add_row(event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], event.event, event.detail)
    return table


def _print_account(node: Node, rows: tuple[StudyRow, ...], console: Console) -> None:
    """Every instance that was acknowledged, by what became of it."""
    quarantined = node.ledger.quarantine_rows()
    if quarantined:
        table = Table("At (UTC)", "Kept as", "From", "Reason", title="Quarantine", title_justify="left")
        for kept in quarantined:
            table.add_row(kept.at.strftime("%Y-%m-%d %H:%M:%S"), kept.path.as_posix(), kept.calling_ae_title, kept.reason)
        console.print(table)
    table = Table("Instances", "Studies", "What became of them", title="Account", title_justify="left")
    instances: Counter[str] = Counter()
    studies: Counter[str] = Counter()
    for row in rows:
        fate = _fate(node, row)
        instances[fate] += row.instances
        studies[fate] += 1
    for fate, number in sorted(instances.items(), key=lambda entry: -entry[1]):
        table.add_row(str(number), str(studies[fate]), fate)
    table.add_row(str(len(quarantined)), "", "refused as not understandable, kept in quarantine")
    table.add_section()
    table.add_row(str(instances.total() + len(quarantined)), str(studies.total()), "accounted for")
    console.print(table)


_FATES = {"RECEIVING": "still arriving", "PURGED": "reported, the report delivered, and purged from this node"}


def _fate(node: Node, row: StudyRow) -> str:
    """Where a study stands; of several reports the one that needs somebody most decides."""
    newest = [item for item in row.work_items if item.state != "SUPERSEDED"]
    if row.state in _FATES:
        return _FATES[row.state]
    if not newest:
        return "settled, about to be routed"
    if any(item.state == "FAILED" for item in newest):
        return "waits for an operator: a report could not be made (dicom-node requeue)"
    if any(delivery.state == "FAILED" for item in newest for delivery in item.deliveries):
        return "waits for an operator: a result could not be delivered (dicom-node deliveries)"
    if any(item.state != "DELIVERED" for item in newest):
        return "in work"
    return _outcome(node, newest)


def _outcome(node: Node, newest: Sequence[WorkItemRow]) -> str:
    if dropped := sorted({delivery.destination for item in newest for delivery in item.deliveries if delivery.state == "DROPPED"}):
        return f"reported, but an operator dropped what was for {', '.join(dropped)}"
    outcomes = {analysis.outcome.value for item in newest if (analysis := _analysis(node, item)) is not None}
    return f"reported, and the report delivered: {', '.join(sorted(outcomes))}"


def _json(node: Node, rows: tuple[StudyRow, ...]) -> str:
    def plain(row: StudyRow) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(row, enc_hook=str)
        for item, values in zip(row.work_items, built["work_items"], strict=True):
            values["found"] = what_was_found(_analysis(node, item))
        return built | {"fate": _fate(node, row)}

    answer = {"studies": [plain(row) for row in rows], "quarantine": node.ledger.quarantine_rows(), "counts": node.ledger.counts()}
    answer |= _flags(node)
    answer["audit"] = {"last": read_head(trail_folder(node.settings)).n, "unsent": unsent(trail_folder(node.settings))}
    answer["destinations"] = destinations_plain(node)
    return msgspec.json.encode(answer, enc_hook=str).decode()


def _flags(node: Node) -> dict[str, Any]:
    models = node.ledger.flagging_models(now=node.clock())
    counts = {model.model: {reason.value: number for reason, number in model.counts} for model in models}
    return {"flags": {"decisions": counts, "suspended": [found.model or "every model" for found in node.ledger.suspensions()]}}


def requeue(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    again: Annotated[bool, typer.Option("--again", help="Analyse the study once more although it was reported: a new revision.")] = False,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the study's history.")] = "asked for by an operator",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Requeue: give what FAILED a new start, or have a study analysed again.

    Example: dicom-node requeue 1.2.840.113619.2.1 --again --why "new prompt set"
    """
    node = existing_node(config)
    if not node.ledger.study_rows(study):
        stop_with(f"study {study} never arrived here")
    if again:
        revision = node.ledger.renew_revision(study, why=why, now=node.clock())
        if revision is None:
            stop_with(f"study {study} is still arriving, or was purged; wait until it has settled, or send it again")
        done, words = {"revision": revision}, f"revision {revision} of study {study} will be analysed"
    else:
        count = node.ledger.requeue_failed(study, now=node.clock())
        if count == 0:
            stop_with(f"nothing of study {study} has FAILED; --again has it analysed once more all the same")
        done, words = {"started_anew": count}, f"{count} started anew"
    record(OperatorActed(user=operator(), action="requeue --again" if again else "requeue", subject=study, why=why))
    typer.echo(json.dumps({"study_instance_uid": study, **done}) if as_json else words)

"""`dicom-node flags`: which models flag, how often, and the switch that stops them."""

import getpass
import json
import os
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from dicom_node.audit import record
from dicom_node.audit.events import OperatorActed
from dicom_node.commands.opening import USAGE, ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.ledger.flags import EVERY_MODEL, FlaggingModel, FlagRow, Suspension
from dicom_node.node import Node

SHOWN = 20

app = typer.Typer(no_args_is_help=True)
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Name of a model; every model if left out.")]
WhyOption = Annotated[str, typer.Option("--why", help="Reason, kept with your name.", prompt="Why")]


def operator() -> str:
    """Return who gives a command: the account, and behind sudo the account that asked."""
    try:
        account = getpass.getuser()
    except OSError:  # no name for this number, as in many containers
        account = f"uid {os.getuid()}"
    asked = os.environ.get("SUDO_USER")
    return f"{asked} as {account}" if asked and asked != account else account


@app.command("list")
def list_flags(
    study: Annotated[str | None, typer.Option("--study", help="Study Instance UID: every decision about it.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every decision about a finding that was there, and ended suspensions.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List: the models that flag, who is suspended, and the latest decisions with their reasons.

    Example: dicom-node flags list --study 1.2.840.113619.2.1
    """
    node = existing_node(config)
    limit = None if everything or study else SHOWN
    rows = node.ledger.flag_rows(study_instance_uid=study, limit=limit)
    models = node.ledger.flagging_models(now=node.clock())
    suspensions = node.ledger.suspensions(ended=everything)
    if as_json:
        answer = {"models": [_plain(node, model, suspensions) for model in models], "suspensions": suspensions, "decisions": rows}
        typer.echo(msgspec.json.encode(answer).decode())
        return
    console = Console()
    if suspensions:
        console.print(_suspensions_table(suspensions))
    console.print(_models_table(node, models, suspensions))
    console.print(_decisions_table(rows))


def _plain(node: Node, model: FlaggingModel, suspensions: tuple[Suspension, ...]) -> dict[str, object]:
    limits = node.settings.flags.limits_of(model.model)
    plain: dict[str, object] = msgspec.to_builtins(model)
    return plain | {
        "counts": {reason.value: number for reason, number in model.counts},
        "suspended": _is_suspended(model.model, suspensions),
        "budget_per_hour": limits.budget_per_hour,
        "expected_rate": limits.expected_rate,
    }


def _is_suspended(model: str, suspensions: tuple[Suspension, ...]) -> bool:
    return any(found.until is None and found.model in {model, EVERY_MODEL} for found in suspensions)


def _suspensions_table(suspensions: tuple[Suspension, ...]) -> Table:
    table = Table("Model", "Since (UTC)", "By", "Why", "Ended", title="Suspended", title_justify="left")
    for found in suspensions:
        ended = "" if found.until is None else f"{found.until:%Y-%m-%d %H:%M} by {found.resumed_by}: {found.resumed_why}"
        table.add_row(found.model or "every model", f"{found.since:%Y-%m-%d %H:%M}", found.suspended_by, found.why, ended)
    return table


def _models_table(node: Node, models: tuple[FlaggingModel, ...], suspensions: tuple[Suspension, ...]) -> Table:
    table = Table("Model", "Flags", "Raised in an hour", "Wanted", "Decisions", title="Models that flag", title_justify="left")
    for model in models:
        limits = node.settings.flags.limits_of(model.model)
        state = "SUSPENDED" if _is_suspended(model.model, suspensions) else "on"
        wanted = f"{model.wanted} of {model.studies} studies, expected {limits.expected_rate:.3g} of them"
        counts = ", ".join(f"{number} {reason.value}" for reason, number in model.counts)
        table.add_row(model.model, state, f"{model.raised_within_the_hour} of {limits.budget_per_hour}", wanted, counts)
    return table


def _decisions_table(rows: tuple[FlagRow, ...]) -> Table:
    table = Table("At (UTC)", "Study", "Revision, route", "Level", "Decision", "Why", title="Decisions", title_justify="left")
    for row in rows:
        made = row.decision
        where = f"{row.revision}, {row.route}"
        level = made.level.name.lower()
        table.add_row(f"{made.at:%Y-%m-%d %H:%M:%S}", row.study_instance_uid, where, level, made.reason.value, made.detail)
    return table


@app.command()
def suspend(why: WhyOption, model: ModelOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Suspend: raise no study from now on. Images and reports go on; reports say that a flag was held back, and why.

    Example: dicom-node flags suspend --model chexzero --why "flags every portable radiograph"
    """
    node = _asked_well(config, model, why)
    who = operator()
    done = node.ledger.suspend_flags(model=model or EVERY_MODEL, who=who, why=why, now=node.clock())
    record(OperatorActed(user=who, action="flags suspend", subject=f"model:{model or '*'}", why=why))
    words = f"flags of {model or 'every model'} are suspended" if done else f"flags of {model or 'every model'} were suspended already"
    typer.echo(json.dumps({"model": model, "suspended": True, "changed": done, "by": who}) if as_json else words)


@app.command()
def resume(why: WhyOption, model: ModelOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Resume: let a model flag again, and begin its control chart anew. Without --model: end the suspension of every model.

    Example: dicom-node flags resume --model chexzero --why "threshold was corrected"
    """
    node = _asked_well(config, model, why)
    who = operator()
    done = node.ledger.resume_flags(model=model or EVERY_MODEL, who=who, why=why, now=node.clock())
    left = tuple(found.model or "every model" for found in node.ledger.suspensions())
    if not done:
        stop_with(f"flags of {model or 'every model'} are not suspended as such; suspended: {', '.join(left) or 'nothing'}")
    record(OperatorActed(user=who, action="flags resume", subject=f"model:{model or '*'}", why=why))
    if as_json:
        typer.echo(json.dumps({"model": model, "suspended": False, "by": who, "still_suspended": left}))
        return
    typer.echo(f"flags of {model or 'every model'} are resumed" + (f"; still suspended: {', '.join(left)}" if left else ""))


def _asked_well(config: ConfigOption, model: str | None, why: str) -> Node:
    """Open the node; end with a message if the model is unknown or the reason empty."""
    node = existing_node(config)
    if not why.strip():
        stop_with("a reason is needed: --why", USAGE)
    known = sorted(
        {manifest.name for manifest in node.catalogue.manifests} | {row.model for row in node.ledger.flagging_models(now=node.clock())}
    )
    if model is not None and model not in known:
        stop_with(f"there is no model {model!r} here; there are {', '.join(known)}", USAGE)
    return node

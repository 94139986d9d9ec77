"""`dicom-node rerun`: analyse a reported study once more, for instance with another model or prompt set."""

import json
from typing import Annotated

import typer

from dicom_node.audit import record
from dicom_node.audit.events import OperatorActed
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import USAGE, ConfigOption, JsonOption, existing_node, stop_with


def rerun(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    route: Annotated[str | None, typer.Option("--route", help="Under this route only; under every route if left out.")] = None,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the study's history.")] = "asked for by an operator",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rerun: analyse a reported study once more with the models and prompt sets of today. The new report names the old one.

    Example: dicom-node rerun 1.2.840.113619.2.1 --route chest-radiograph --why "new prompt set"
    """
    node = existing_node(config)
    known = [rule.name for rule in node.catalogue.routes]
    if route is not None and route not in known:
        stop_with(f"there is no route {route}; there are {', '.join(known)}", code=USAGE)
    if not node.ledger.study_rows(study):
        stop_with(f"study {study} never arrived here")
    revision = node.ledger.renew_revision(study, why=why, now=node.clock(), route=route)
    if revision is None:
        stop_with(f"study {study} is still arriving, or was purged; wait until it has settled, or send it again")
    record(OperatorActed(user=operator(), action="rerun", subject=study, why=why))
    words = f"revision {revision} of study {study} will be analysed under {route or 'every route that takes it'}"
    typer.echo(json.dumps({"study_instance_uid": study, "revision": revision, "route": route}) if as_json else words)

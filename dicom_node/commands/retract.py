"""`dicom-node retract`: take back what was reported about a study."""

import json
from typing import Annotated

import typer

from dicom_node.audit import record
from dicom_node.audit.events import OperatorActed
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import USAGE, ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.withdrawal import NotWithdrawnError, withdraw


def retract(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    why: Annotated[str, typer.Option("--why", help="Reason. It stands in what is sent and in the study's history: no patient data.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retract: withdraw the results of a study. A document that says so, and why, follows each to every destination that got one.

    What was sent stays in the archive. Doing it twice changes nothing; `requeue --again` has the study analysed anew.

    Example: dicom-node retract 1.2.840.113619.2.1 --why "images of another patient"
    """
    if not why.strip() or not why.isprintable():
        stop_with("--why needs a reason in one line", code=USAGE)
    node = existing_node(config)
    try:
        routes = withdraw(node, study, why=why.strip(), who=operator())
    except NotWithdrawnError as exc:
        stop_with(str(exc))
    record(OperatorActed(user=operator(), action="retract", subject=study, why=why.strip()))
    if as_json:
        typer.echo(json.dumps({"study_instance_uid": study, "withdrawn_routes": routes}))
    elif routes:
        typer.echo(f"withdrawn under {', '.join(routes)}; what says so is on its way to whoever got a result")
    else:
        typer.echo(f"nothing to withdraw: no result of study {study} stands")

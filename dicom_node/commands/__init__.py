"""`dicom-node`: one verb a command; exit 0 done, 1 it failed, 2 asked wrongly."""

import typer

from config.schema import TelemetrySection
from dicom_node.commands import audit, deliveries, flags, ledger, models, routes
from dicom_node.commands.analyse import analyse
from dicom_node.commands.check_config import check_config
from dicom_node.commands.demo import demo
from dicom_node.commands.destinations import destinations
from dicom_node.commands.evaluate import evaluate
from dicom_node.commands.frames import frames
from dicom_node.commands.probe import probe
from dicom_node.commands.processes import deliver, receive, schedule, serve, work
from dicom_node.commands.purge import hold, purge, release
from dicom_node.commands.rerun import rerun
from dicom_node.commands.retract import retract
from dicom_node.commands.send import send
from dicom_node.commands.status import requeue, status
from dicom_node.commands.train_embedded import train_embedded
from dicom_node.commands.version import version
from dicom_node.telemetry import configure_logging

app = typer.Typer(
    help="A DICOM node between a hospital's PACS and medical CLIP models. Nothing it says is a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
for command in (
    demo,
    serve,
    receive,
    work,
    deliver,
    schedule,
    send,
    analyse,
    frames,
    evaluate,
    status,
    requeue,
    purge,
    hold,
    release,
    rerun,
    retract,
    check_config,
    destinations,
    train_embedded,
    probe,
    version,
):
    app.command()(command)
app.add_typer(ledger.app, name="ledger", help="Check the ledger against the stored files; back both up and restore them.")
app.add_typer(deliveries.app, name="deliveries", help="What waits for each destination, what is parked, and what to do about it.")
app.add_typer(routes.app, name="routes", help="What goes where, and why.")
app.add_typer(models.app, name="models", help="The installed models.")
app.add_typer(audit.app, name="audit", help="The audit trail: who did what with whose images, and the proof that it is whole.")
app.add_typer(flags.app, name="flags", help="Worklist flags: who raises them, how often, and the switch that stops them.")


def main() -> None:
    """Run the command line. Commands say what they say themselves; only warnings are logged unless a process says otherwise."""
    configure_logging(TelemetrySection(log_format="console", log_level="warning"), process="dicom-node")
    app()

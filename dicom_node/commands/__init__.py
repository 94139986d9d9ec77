"""`dicom-node`: one verb a command; exit 0 done, 1 it failed, 2 asked wrongly."""

import typer

from config.schema import TelemetrySection
from dicom_node.commands import models, routes
from dicom_node.commands.analyse import analyse
from dicom_node.commands.check_config import check_config
from dicom_node.commands.demo import demo
from dicom_node.commands.evaluate import evaluate
from dicom_node.commands.probe import probe
from dicom_node.commands.processes import deliver, receive, schedule, serve, work
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
    evaluate,
    status,
    requeue,
    check_config,
    train_embedded,
    probe,
    version,
):
    app.command()(command)
app.add_typer(routes.app, name="routes", help="What goes where, and why.")
app.add_typer(models.app, name="models", help="The installed models.")


def main() -> None:
    """Run the command line. Commands say what they say themselves; only warnings are logged unless a process says otherwise."""
    configure_logging(TelemetrySection(log_format="console", log_level="warning"), process="dicom-node")
    app()

"""`dicom-node`: one verb a command; exit 0 done, 1 it failed, 2 asked wrongly."""

import typer

from dicom_node.commands import analyse, check_config, demo, models, probe, processes, routes, send, status, version

app = typer.Typer(
    help="A DICOM node between a hospital's PACS and medical CLIP models. Nothing it says is a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
for command in (
    demo.demo,
    processes.serve,
    processes.receive,
    processes.work,
    processes.deliver,
    processes.schedule,
    send.send,
    analyse.analyse,
    status.status,
    status.requeue,
    check_config.check_config,
    probe.probe,
    version.version,
):
    app.command()(command)
app.add_typer(routes.app, name="routes", help="What goes where, and why.")
app.add_typer(models.app, name="models", help="The installed models.")


def main() -> None:
    """Run the command line."""
    app()

"""`dicom-node demo`: the whole main path on the studies that ship, with nothing but this machine."""

import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicom_node.commands.opening import JsonOption, stop_with
from dicom_node.demo.run import DemoError, DemoProgress, run_demo
from dicom_node.demo.worklist import DISCLAIMER, SHADOW_NOTICE, print_worklist, worklist_json


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the page, reports and log.")] = Path("demo-output"),
    as_json: JsonOption = False,
) -> None:
    """Demo: run a node, an archive and a modality on this machine, send real studies, show the worklist. Not a diagnosis.

    Example: dicom-node demo --output demo-output
    """
    console = Console(stderr=as_json)
    console.print(f"[bold]{DISCLAIMER}[/bold] {SHADOW_NOTICE}")
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as bars:
            sending = bars.add_task("Sending instances over C-STORE", total=None)
            reporting = bars.add_task("Reports in the archive, by study", total=None)
            progress = DemoProgress(
                sending=lambda done, total: bars.update(sending, completed=done, total=total),
                reporting=lambda done, total: bars.update(reporting, completed=done, total=total),
            )
            rows = run_demo(output, progress)
    except DemoError as exc:
        stop_with(str(exc))
    if as_json:
        typer.echo(worklist_json(rows))
        return
    print_worklist(rows, console)
    waits = [row.seconds_to_report for row in rows if row.seconds_to_report is not None]
    console.print(
        f"{len(rows)} studies, {sum(row.instances for row in rows)} instances, {sum(len(row.reports) for row in rows)} reports in "
        f"{time.monotonic() - started:.0f} s; last acknowledgement to report in the archive: median {median(waits):.1f} s"
    )
    console.print(f"Page: {(output / 'index.html').resolve()}\nReports: {(output / 'reports').resolve()}", soft_wrap=True, highlight=False)

"""`dicom-node check-config`: every mistake in the configuration, with file, line and field."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import config
from dicom_node.tls.files import tls_mistakes


def check_config(
    path: Annotated[Path | None, typer.Argument(help="Settings file; the defaults if left out.", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check config: name every mistake in the settings, routes, models, prompts and calibrations, and TLS files of no use.

    Exit code 0: nothing is wrong. 1: there are mistakes; each is printed as FILE:LINE: FIELD: what is wrong; what to do.

    Example: dicom-node check-config /etc/dicom-node/settings.yaml
    """
    mistakes: tuple[config.Mistake, ...] = ()
    summary: dict[str, int] = {}
    try:
        settings, catalogue = config.load(path)
        summary = {
            "routes": len(catalogue.routes),
            "models": len(catalogue.manifests),
            "prompt sets": len(catalogue.prompt_sets),
            "calibrations": len(catalogue.calibrations),
            "destinations": len(settings.destinations),
        }
        config.check_ready_to_serve(settings, path)
        mistakes = tuple(tls_mistakes(settings, path))
    except config.ConfigurationError as exc:
        mistakes = exc.mistakes
    if as_json:
        found = [{"file": one.file, "line": one.line, "field": one.field, "message": one.message} for one in mistakes]
        typer.echo(json.dumps({"ok": not mistakes, "mistakes": found, "summary": summary}, indent=2))
    elif mistakes:
        for mistake in mistakes:
            typer.echo(str(mistake), err=True)
    else:
        counts = ", ".join(f"{number} {name}" for name, number in summary.items())
        Console().print(f"[green]OK[/green]: {counts}", highlight=False)
    if mistakes:
        raise typer.Exit(1)

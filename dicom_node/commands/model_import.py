"""`dicom-node models import` and `models verify --golden`: published weights in, a model that proved itself out."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from config import Catalogue, ConfigurationError, load
from config.catalogue import published_model
from config.preferences import acknowledgement
from config.schema import Settings
from dicom_node.commands.opening import FAILED, USAGE, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from inference.adapters import ModelLoadError

if TYPE_CHECKING:
    from inference.golden import GoldenReport
    from inference.importing.install import Imported

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def import_model(  # noqa: PLR0917 - typer passes every option by name
    source: Annotated[Path, typer.Argument(help="Published weight file, or the folder that the publisher offers.")],
    name: Annotated[str, typer.Option("--as", help="Name in this node; of a model that it knows, its facts are taken from there.")],
    family: Annotated[str | None, typer.Option(help="Family of the model, where the files do not tell.")] = None,
    golden: Annotated[Path | None, typer.Option(help="Folder with reference outputs: facts, and the proof at every start.")] = None,
    supplement: Annotated[Path | None, typer.Option(help="Folder with files that the publisher does not ship with the weights.")] = None,
    facts: Annotated[Path | None, typer.Option(help="YAML file with fields of the manifest that nothing else states.")] = None,
    models_folder: Annotated[Path | None, typer.Option(help="Folder for the model; by default the first of models.folders.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model of published files: safetensors, a manifest and SHA-256, in a process of its own and without a network."""
    from inference.golden import GoldenError  # noqa: PLC0415 - torch takes seconds to import
    from inference.importing import ImportRefusedError  # noqa: PLC0415
    from inference.importing.install import ImportRequest, install  # noqa: PLC0415

    if not _NAME.fullmatch(name):
        stop_with(f"{name!r} is no name for a model; use lower-case letters, digits and hyphens", USAGE)
    folder = models_folder or _first_folder(config)
    request = ImportRequest(
        source=source, name=name, family=family, supplement=supplement, golden=golden, facts=facts, description=published_model(name)
    )
    try:
        imported = install(request, folder)
    except (ImportRefusedError, GoldenError, ModelLoadError) as exc:
        stop_with(str(exc))
    except OSError as exc:
        stop_with(f"{exc.filename or folder} cannot be used ({exc.strerror}); make it readable, and the models folder writable")
    if as_json:
        typer.echo(json.dumps(_as_values(imported), indent=2, ensure_ascii=False))
    else:
        _print_import(imported)
        _print_what_is_next(imported, config)


def verify_golden(folder: Path, *, as_json: bool) -> None:
    """Print how the checkpoints of a fixture folder, or of a set of them, reproduce their reference outputs; exit 1 if one does not."""
    import torch  # noqa: PLC0415 - takes seconds to import

    from inference.golden import GoldenError  # noqa: PLC0415
    from inference.golden.folder import fixtures_in  # noqa: PLC0415
    from inference.importing import ImportRefusedError  # noqa: PLC0415
    from inference.importing.install import verify_fixture  # noqa: PLC0415

    device = "cuda" if torch.cuda.is_available() else "cpu"
    reports: list[GoldenReport] = []
    refused: dict[str, str] = {}
    try:
        fixtures = fixtures_in(folder)
    except GoldenError as exc:
        stop_with(str(exc), USAGE)
    for fixture in fixtures:
        try:
            reports += verify_fixture(fixture, device)
        except (GoldenError, ImportRefusedError, ModelLoadError) as exc:
            refused[fixture.name] = str(exc)
    if as_json:
        values = {"device": device, "fixtures": [_report_values(report) for report in reports], "refused": refused}
        typer.echo(json.dumps(values, indent=2))
    else:
        _print_reports(reports, refused, device)
    if refused or not all(report.ok for report in reports):
        raise typer.Exit(FAILED)


def _first_folder(config: Path | None) -> Path:
    settings, _ = settings_and_catalogue(config)
    if not settings.models.folders:
        stop_with("no folder for models: give --models-folder, or name one in models.folders of the settings", USAGE)
    return settings.models.folders[0]


def _as_values(imported: "Imported") -> dict[str, object]:
    return {
        "manifest": str(imported.path),
        "model": imported.manifest.model_dump(mode="json"),
        "report": asdict(imported.report),
        "golden": _report_values(imported.golden) if imported.golden else None,
        "notices": [*imported.notices, *_licence_notice(imported)],
    }


def _report_values(report: "GoldenReport") -> dict[str, object]:
    arrays = [{**asdict(array), "ok": array.ok} for array in report.arrays]
    return {"fixture": report.name, "family": report.family, "ok": report.ok, "looks_like": report.looks_like, "arrays": arrays}


def _print_import(imported: "Imported") -> None:
    console, report = Console(), imported.report
    table = Table(title=f"{imported.manifest.name}, family {report.family}", show_header=True)
    for column in ("what", "value", "where from"):
        table.add_column(column, overflow="fold")
    for number, file in enumerate(report.files, start=1):
        table.add_row(f"file {number}", file, "read")
    for name, value in report.inferred.items():
        table.add_row(name, value, "tensors")
    for name, value, origin in report.facts:
        table.add_row(name, value, origin)
    for name, value, origin in report.overruled:
        table.add_row(f"[dim]{name}[/dim]", f"[dim]{value}[/dim]", f"[dim]{origin}; overruled[/dim]")
    for name, why in report.dropped.items():
        table.add_row(f"[dim]{name}[/dim]", "[dim]dropped[/dim]", f"[dim]{why}[/dim]")
    console.print(table)
    if imported.golden:
        _print_reports([imported.golden], {}, "cpu")
    else:
        console.print(
            "Nothing proved that it computes what its publisher's code does: give reference outputs with --golden.", style="yellow"
        )
    for notice in imported.notices:
        console.print(f"Note: {notice}.", style="yellow", highlight=False, soft_wrap=True, markup=False)
    console.print(f"Written: {imported.path}", highlight=False, soft_wrap=True)


def _print_what_is_next(imported: "Imported", config: Path | None) -> None:
    """What stands between this import and its use: the folder in the settings, the licence, a route."""
    name, folder = imported.manifest.name, imported.path.parents[1]
    settings, catalogue = _settings_if_right(config)
    steps = [] if folder.absolute() in settings.models.folders else [f"Name {folder} in models.folders of the settings."]
    if name not in settings.models.acknowledged_licences:
        steps += _licence_notice(imported)
    preferring = [route.name for route in catalogue.routes if any(preference.model == name for preference in route.prefer)]
    if preferring:
        steps.append(f"Then it looks for findings on: {', '.join(preferring)}, where `dicom-node routes list` shows no better one in use.")
    else:
        steps.append("No route uses it by itself: name it in a route of your routes file.")
    steps.append("Restart the node: a running one keeps the models that it began with.")
    console = Console(highlight=False, soft_wrap=True)
    for number, step in enumerate(steps, start=1):
        console.print(f"{number}. {step}", markup=False)


def _licence_notice(imported: "Imported") -> list[str]:
    licence = imported.manifest.licence
    if not licence.needs_acknowledgement:
        return []
    return [f"The node refuses to use it until its terms are acknowledged: {acknowledgement(imported.manifest.name, licence)}."]


def _settings_if_right(config: Path | None) -> tuple[Settings, Catalogue]:
    """The settings; the defaults where they have mistakes, which `check-config` tells better."""
    try:
        return load(config)
    except ConfigurationError:
        return load(None)


def _print_reports(reports: Sequence["GoldenReport"], refused: dict[str, str], device: str) -> None:
    table = Table(title=f"Reference outputs, recomputed on {device}")
    for column in ("fixture", "family", "array", "largest difference", "tolerance", "result"):
        table.add_column(column, overflow="fold")
    for report in reports:
        for array in report.arrays:
            difference = "-" if array.difference is None else f"{array.difference:.3g}"
            result = "[green]ok[/green]" if array.ok else f"[red]{array.problem}[/red]"
            table.add_row(report.name, report.family, array.array, difference, f"{array.tolerance:g}", result)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for report in reports:
        if report.looks_like:
            console.print(f"{report.name} looks like: {report.looks_like}", style="red", markup=False)
    for name, reason in refused.items():
        console.print(f"{name} could not be compared: {reason}", style="red", markup=False)

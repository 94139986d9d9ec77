"""`dicom-node models`: which models are installed, what is known of one, and whether they really load."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from config import Catalogue
from config.catalogue import model_digest, published_model, published_models
from config.manifests import ModelDescription, ModelManifest, PublishedModel
from config.preferences import may_be_used
from dicom_node.commands.model_import import import_model, verify_golden
from dicom_node.commands.opening import FAILED, USAGE, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from inference.adapters import ModelLoadError, verify_weights

app = typer.Typer(no_args_is_help=True, help="Installed models: list, show, verify, import.")

_ROUTES_NAMED = 8
app.command("import", epilog="Example: dicom-node models import plip/ --as plip --models-folder site")(import_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that `verify` did with one model. `problem` is empty if it went well."""

    model: str
    check: str
    detail: str
    seconds: float
    problem: str = ""


@app.command("list", epilog="Example: dicom-node models list --json")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the installed models, and those that this node knows and can import."""
    settings, catalogue = settings_and_catalogue(config)
    accepted = settings.models.acknowledged_licences
    known = [model for model in published_models() if model.name not in {manifest.name for manifest in catalogue.manifests}]
    if as_json:
        found = [_summary(manifest, catalogue, accepted) for manifest in catalogue.manifests]
        typer.echo(json.dumps([*found, *(_known_summary(model, catalogue, accepted) for model in known)], indent=2))
        return
    console = Console()
    console.print(_installed(catalogue, accepted))
    if known:
        console.print(_known(known, catalogue, accepted))
        console.print(
            "What to fetch first, and from where: dicom-node models show NAME. An import goes to the first of models.folders, or where"
            " --models-folder says.",
            highlight=False,
            soft_wrap=True,
        )


def _installed(catalogue: Catalogue, accepted: Sequence[str]) -> Table:
    table = Table(title="Installed models")
    for column in ("name", "version", "family", "input", "gate", "image quality", "licence", "used by routes"):
        table.add_column(column)
    for manifest in catalogue.manifests:
        side = manifest.preprocessing.image_size
        table.add_row(
            manifest.name,
            manifest.version,
            manifest.family,
            f"{side} x {side} {manifest.colour}",
            manifest.gate.prompt_set if manifest.gate else "none",
            _faults(manifest),
            f"{_terms(manifest)}{'' if may_be_used(manifest, accepted) else '; not acknowledged, not used'}",
            _few(_routes(manifest, catalogue)),
        )
    return table


def _known(models: Sequence[PublishedModel], catalogue: Catalogue, accepted: Sequence[str]) -> Table:
    table = Table(title="Published models that are not installed")
    table.add_column("name", no_wrap=True)
    for column in ("licence", "would be used by routes", "how to install it"):
        table.add_column(column, overflow="fold")
    for model in models:
        terms = f"{_terms(model)}{'; to be acknowledged' if model.licence.needs_acknowledgement and model.name not in accepted else ''}"
        table.add_row(model.name, terms, ", ".join(_preferring(model.name, catalogue)) or "none", model.import_command)
    return table


@app.command(epilog="Example: dicom-node models show gatekeeper")
def show(name: Annotated[str, typer.Argument(help="Name of the model.")], config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show everything that is known of one model, and where its weights lie or how to install it."""
    _, catalogue = settings_and_catalogue(config)
    published = published_model(name)
    if published is not None and name not in {manifest.name for manifest in catalogue.manifests}:
        facts = {
            "installed": False,
            **published.model_dump(mode="json"),
            "would_be_used_by_routes": _preferring(name, catalogue),
            "command": published.import_command,
        }
    else:
        manifest = _manifest(catalogue, name)
        facts = {
            **manifest.model_dump(mode="json"),
            "model_digest": model_digest(manifest),
            "weights_folder": str(catalogue.weights_path(manifest)),
            "routes": _routes(manifest, catalogue),
            "prompt_sets": list(catalogue.prompt_sets_asked(manifest)),
            "calibrations": [calibration.id for calibration in catalogue.calibrations if calibration.model == name],
        }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    table = Table(title=name, show_header=False)
    table.add_column("field", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for field, value in _flat(facts):
        table.add_row(field, value)
    Console().print(table)


@app.command(epilog="Examples: dicom-node models verify   or   dicom-node models verify gatekeeper --json")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names of models; all if left out.")] = None,
    golden: Annotated[Path | None, typer.Option(help="Folder with reference outputs and their checkpoint, or a set of them.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash the weights again, load them, recompute reference outputs, embed every prompt set. Exit 1 if anything is wrong."""
    if golden is not None:
        verify_golden(golden, as_json=as_json)
        return
    _, catalogue = settings_and_catalogue(config)
    manifests = [_manifest(catalogue, name) for name in names] if names else list(catalogue.manifests)
    checks = [check for manifest in manifests for check in _verify(manifest, catalogue)]
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print_checks(checks)
    if any(check.problem for check in checks):
        raise typer.Exit(FAILED)


def _verify(manifest: ModelManifest, catalogue: Catalogue) -> list[Check]:
    from inference.engine import Engine  # noqa: PLC0415 - torch takes seconds to import, and only this command needs it

    done: list[Check] = []
    start = time.perf_counter()

    def note(check: str, detail: str, problem: str = "") -> None:
        done.append(Check(model=manifest.name, check=check, detail=detail, seconds=time.perf_counter() - start, problem=problem))

    step = "weights"
    try:
        folder = catalogue.weights_path(manifest)
        verify_weights(manifest, folder)
        note(step, f"{manifest.weights.file} has SHA-256 {manifest.weights.sha256}")
        step, start = "load", time.perf_counter()
        engine = Engine(catalogue, device="auto", batch_size=32, cache_folder=None)
        note(step, f"loaded to {engine.device}, logit scale {engine.adapter(manifest.name).logit_scale:.2f}")
        if manifest.golden:
            note("golden", f"reference outputs in {manifest.golden} reproduced")
        for prompt_set in catalogue.prompt_sets_asked(manifest):
            step, start = f"prompts {prompt_set}", time.perf_counter()
            embedded = engine.prompt_embeddings(manifest.name, prompt_set).positive
            note(step, f"{len(embedded.counts)} labels embedded, {embedded.vectors.shape[1]} dimensions")
    except ModelLoadError as exc:
        note(step, "", str(exc))
    return done


def _print_checks(checks: Sequence[Check]) -> None:
    table = Table(title="Models verified")
    for column in ("model", "check", "result", "what was done"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for check in checks:
        result = "[red]failed[/red]" if check.problem else "[green]ok[/green]"
        table.add_row(check.model, check.check, result, check.problem or check.detail, f"{check.seconds:.2f}")
    Console().print(table)


def _summary(manifest: ModelManifest, catalogue: Catalogue, accepted: Sequence[str]) -> dict[str, object]:
    return {
        "name": manifest.name,
        "installed": True,
        "version": manifest.version,
        "family": manifest.family,
        "colour": manifest.colour,
        "model_digest": model_digest(manifest),
        "gate": manifest.gate.prompt_set if manifest.gate else None,
        "quality": manifest.quality.prompt_set if manifest.quality else None,
        "licence": manifest.licence.name,
        "usage": manifest.licence.usage,
        "may_be_used": may_be_used(manifest, accepted),
        "read": manifest.licence.read,
        "routes": _routes(manifest, catalogue),
    }


def _known_summary(model: PublishedModel, catalogue: Catalogue, accepted: Sequence[str]) -> dict[str, object]:
    return {
        "name": model.name,
        "installed": False,
        "version": model.version,
        "family": model.family,
        "colour": model.colour,
        "licence": model.licence.name,
        "usage": model.licence.usage,
        "may_be_used": not model.licence.needs_acknowledgement or model.name in accepted,
        "read": model.licence.read,
        "routes": _preferring(model.name, catalogue),
        "source": model.source,
        "command": model.import_command,
    }


def _terms(model: ModelDescription) -> str:
    return f"{model.licence.name} ({model.licence.usage})"


def _faults(manifest: ModelManifest) -> str:
    """The prompt set of image quality and how many of its faults are asked."""
    return f"{manifest.quality.prompt_set}: {len(manifest.quality.labels)} faults" if manifest.quality else "none"


def _few(routes: Sequence[str]) -> str:
    """The names of some routes, the number of many."""
    return f"{len(routes)} of them" if len(routes) > _ROUTES_NAMED else ", ".join(routes) or "none"


def _routes(manifest: ModelManifest, catalogue: Catalogue) -> list[str]:
    return [route.name for route in catalogue.routes if manifest.name in route.models]


def _preferring(name: str, catalogue: Catalogue) -> list[str]:
    return [route.name for route in catalogue.routes if any(preference.model == name for preference in route.prefer)]


def _flat(facts: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for field, value in facts.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{field}.")
        else:
            rows.append((prefix + field, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows


def _manifest(catalogue: Catalogue, name: str) -> ModelManifest:
    try:
        return catalogue.manifest(name)
    except KeyError:
        installed = ", ".join(manifest.name for manifest in catalogue.manifests)
        if known := published_model(name):
            stop_with(f"{name} is not installed; {known.import_command}; fetch first: {known.source}", USAGE)
        stop_with(f"no model {name!r}; installed: {installed}; `dicom-node models list` shows what can be imported", USAGE)

"""The importing process started, its answer checked, and the model put into its place, whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import inference
from config.catalogue import companion
from config.manifests import ModelDescription, ModelManifest, PublishedModel
from inference.adapters import ModelAdapter, load_adapter
from inference.golden import Golden, GoldenReport, check, read_golden, require_match
from inference.importing.published import ImportRefusedError

GOLDEN_FOLDER = "golden"

_TIMEOUT_S = 2 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What to import, and under which name. `only` names the weight files of the folder to take, all if empty."""

    source: Path
    name: str
    family: str | None = None
    supplement: Path | None = None
    golden: Path | None = None
    facts: Path | None = None
    description: PublishedModel | None = None
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What the importing process saw and inferred; `facts` and `overruled` are (field, value, origin)."""

    family: str
    files: tuple[str, ...]
    inferred: Mapping[str, str]
    dropped: Mapping[str, str]
    facts: tuple[tuple[str, str, str], ...]
    overruled: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An installed model: where its manifest lies, what was inferred, and how it compares with reference outputs, if there are any.

    `notices` are for the person who imports.
    """

    manifest: ModelManifest
    path: Path
    report: ImportReport
    golden: GoldenReport | None = field(default=None)
    notices: tuple[str, ...] = ()


def install(request: ImportRequest, models_folder: Path, device: str = "cpu") -> Imported:
    """Make `models/NAME.yaml` and `models/NAME/` in `models_folder`, after the model was loaded and, if asked, compared.

    Raises:
        ImportRefusedError: the files cannot become a model, or the name is taken.
        ModelLoadError: the converted model does not load, or does not reproduce the reference outputs.
        GoldenError: the folder with reference outputs cannot be used.
    """
    models = models_folder / "models"
    path, place = models / f"{request.name}.yaml", models / request.name
    for taken in (path, place):
        if taken.exists():
            raise ImportRefusedError(f"{taken} is there already; remove it, or import under another name")
    models.mkdir(parents=True, exist_ok=True)
    with _staging(models, request.name) as staging:
        manifest, report = _converted(request, staging)
        golden = read_golden(request.golden) if request.golden else None
        adapter = load_adapter(manifest, staging, device)
        proof = require_match(golden, adapter) if golden else None
        if golden:
            _keep(golden, staging / GOLDEN_FOLDER)
            manifest = manifest.model_copy(update={"golden": GOLDEN_FOLDER})
        staging.chmod(0o755)
        staging.rename(place)
    _write_manifest(manifest, path)
    return Imported(manifest=manifest, path=path, report=report, golden=proof, notices=_notices(request, manifest))


def verify_fixture(folder: Path, device: str) -> tuple[GoldenReport, ...]:
    """Return how the checkpoint of a fixture folder compares with its reference outputs, once for each form it is published in.

    It is imported into a temporary folder with nothing but the folder's files and the facts of its golden.json.

    Raises:
        GoldenError, ImportRefusedError, ModelLoadError: it cannot be imported or loaded.
    """
    golden = read_golden(folder)
    files = tuple(Path(file).relative_to(golden.checkpoint.folder).as_posix() for file in golden.checkpoint.files)
    forms = (files,) if golden.checkpoint.is_ensemble else tuple((file,) for file in files)
    reports = tuple(_verified(golden, form, device) for form in forms)
    return (
        reports if len(forms) == 1 else tuple(replace(one, name=f"{one.name} {form[0]}") for one, form in zip(reports, forms, strict=True))
    )


def _verified(golden: Golden, files: tuple[str, ...], device: str) -> GoldenReport:
    request = ImportRequest(
        source=golden.folder / golden.checkpoint.folder, name="fixture", supplement=golden.supplement, golden=golden.folder, only=files
    )
    with tempfile.TemporaryDirectory(prefix="dicom-node-golden-") as work:
        manifest, _ = _converted(request, Path(work))
        return check(golden, load_adapter(manifest, Path(work), device))


def fixture_adapter(golden: Golden, folder: Path, device: str) -> ModelAdapter:
    """Return the model of a fixture, imported into `folder`, which must stay while the model is used.

    Raises:
        GoldenError, ImportRefusedError, ModelLoadError: it cannot be imported or loaded.
    """
    files = tuple(Path(file).relative_to(golden.checkpoint.folder).as_posix() for file in golden.checkpoint.files)
    only = files if golden.checkpoint.is_ensemble else files[:1]
    source = golden.folder / golden.checkpoint.folder
    request = ImportRequest(source=source, name="fixture", supplement=golden.supplement, golden=golden.folder, only=only)
    manifest, _ = _converted(request, folder)
    return load_adapter(manifest, folder, device)


@contextmanager
def _staging(models: Path, name: str) -> Iterator[Path]:
    """A folder beside the final place, so that moving there is one step; removed if the import fails."""
    folder = Path(tempfile.mkdtemp(dir=models, prefix=f".{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _converted(request: ImportRequest, folder: Path) -> tuple[ModelManifest, ImportReport]:
    source = request.source
    files = [source] if source.is_file() else [path for path in source.glob("*") if path.is_file()]
    answer = _ask(
        {
            "source": str(source.absolute()),
            "name": request.name,
            "family": request.family,
            "supplement": str(request.supplement.absolute()) if request.supplement else None,
            "golden": str(request.golden.absolute()) if request.golden else None,
            "facts": str(request.facts.absolute()) if request.facts else None,
            **_described(request.description),
            "only": list(request.only),
            "folder": str(folder.absolute()),
            "source_bytes": sum(path.stat().st_size for path in files),
        }
    )
    return ModelManifest.model_validate(answer["manifest"]), _report(answer["report"])


def _described(model: PublishedModel | None) -> dict[str, Any]:
    """What the importing process is told of a model that this node knows."""
    if model is None:
        return {"description": None, "known_files": {}, "overrules": [], "companions": {}, "hints": {}}
    return {
        "description": model.model_dump(mode="json", include=set(ModelDescription.model_fields) - {"name"}),
        "known_files": model.files,
        "overrules": list(model.overrules),
        "companions": {name: str(companion(place)) for name, place in model.companions.items()},
        "hints": model.supplement,
    }


def _notices(request: ImportRequest, manifest: ModelManifest) -> tuple[str, ...]:
    """What the person who imports should know: where the files are not quite what the publisher's results were made with."""
    model = request.description
    if model is None:
        return ()
    found: list[str] = []
    if manifest.weights.checkpoints != model.checkpoints:
        found.append(
            f"the publisher's results are those of {model.checkpoints} checkpoint{'s' if model.checkpoints > 1 else ''},"
            f" and {manifest.weights.checkpoints} came in: scores will differ from the published ones"
        )
    if model.files and not set(model.files.values()) & set(manifest.imported_from.values()):
        found.append(f"none of the files is known, by its SHA-256, as one of the publisher's: {', '.join(model.files)}")
    return tuple(found)


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the importing process, which has this installation's code, no other environment, and limits of its own."""
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(inference.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "inference.importing"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise ImportRefusedError(f"importing {request['source']} took more than {_TIMEOUT_S} s and was ended; is it a model?") from exc
    try:
        answer = json.loads(done.stdout)
    except ValueError as exc:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise ImportRefusedError(
            f"importing {request['source']} failed: {last}; if it was ended by a signal, this machine has too little memory for it"
        ) from exc
    if "refused" in answer:
        raise ImportRefusedError(answer["refused"])
    found: dict[str, Any] = answer
    return found


def _report(told: Mapping[str, Any]) -> ImportReport:
    def line(file: Mapping[str, Any]) -> str:
        wrapper = f", under {file['wrapper']!r}" if file["wrapper"] else ""
        prefix = f", without the prefix {file['prefix']!r}" if file["prefix"] else ""
        unused = f", not used: {', '.join(file['not_used'])}" if file["not_used"] else ""
        return f"{file['file']}: {file['format']}, {file['tensors']} tensors{wrapper}{prefix}{unused}"

    return ImportReport(
        family=told["family"],
        files=tuple(line(file) for file in told["files"]),
        inferred=told["inferred"],
        dropped=told["dropped"],
        facts=tuple((fact["field"], str(fact["value"]), fact["origin"]) for fact in told["facts"]),
        overruled=tuple((fact["field"], str(fact["value"]), fact["origin"]) for fact in told["overruled"]),
    )


def _keep(golden: Golden, folder: Path) -> None:
    """Copy what the check at every start needs, without the published weights."""
    folder.mkdir()
    for name in ("golden.json", "expected.npz", *golden.images):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(golden.folder / name, folder / name)


def _write_manifest(manifest: ModelManifest, path: Path) -> None:
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)

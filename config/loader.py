"""Reads the settings, routes, models, prompts and calibrations; tells every mistake in every file at once."""

import importlib.resources
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from config.calibrations import Calibration
from config.catalogue import Catalogue
from config.consistency import Inventory, Sourced, inconsistencies
from config.destinations import located
from config.manifests import ModelManifest
from config.mistakes import ConfigurationError, Mistake, mistake_at, mistakes_of
from config.preferences import switched_on
from config.prompt_sets import PromptSet
from config.routes import RouteRule, Routes
from config.schema import Settings
from config.section import Section
from config.source import Location, SourceDocument, SourceError, read_source

__all__ = ["ConfigurationError", "Mistake", "check_ready_to_serve", "load", "load_settings"]

_S = TypeVar("_S", bound=Section)

DEFAULTS = "(defaults)"


@dataclass(slots=True)
class _Reader:
    """Reads files and gathers their mistakes. `broken` names what is there but wrong, so that it is not also called unknown."""

    mistakes: list[Mistake]
    broken: set[str]

    def document(self, path: Path) -> SourceDocument | None:
        try:
            return read_source(path)
        except SourceError as exc:
            self.mistakes += (Mistake(file=str(path), line=line, field=field, message=message) for line, field, message in exc.problems)
            self.broken.add(path.stem)
            return None

    def section(self, document: SourceDocument, model: type[_S]) -> _S | None:
        try:
            return model.model_validate(document.value)
        except ValidationError as exc:
            self.mistakes += mistakes_of(document, model, exc)
            self.broken.update(_names_in(document.value))
            return None

    def folder(self, folder: Path, model: type[_S]) -> tuple[Sourced[_S], ...]:
        documents = [self.document(path) for path in sorted(folder.glob("*.yaml"))]
        read = ((document, self.section(document, model)) for document in documents if document is not None)
        return tuple(Sourced(value=value, document=document) for document, value in read if value is not None)


def load(path: Path | None) -> tuple[Settings, Catalogue]:
    """Return the settings of one YAML file, and what they refer to; without a file the defaults and what ships.

    Paths in the settings come back absolute: relative ones lie beside the settings file (without one: in the current folder).

    Raises:
        ConfigurationError: with every mistake of every file.
    """
    reader = _Reader([], set())
    document = _settings_document(path, reader)
    settings, unsure = _settings(document, reader)
    shipped = Path(str(importlib.resources.files("config")))
    folders = (shipped, *_existing_folders(settings, document, reader))
    inventory = Inventory(
        settings=settings,
        settings_document=document,
        routes=tuple(_routes(settings.routes_file or shipped / "routes.yaml", reader)),
        manifests=tuple(_located(found) for folder in folders for found in reader.folder(folder / "models", ModelManifest)),
        prompt_sets=tuple(found for folder in folders for found in reader.folder(folder / "prompts", PromptSet)),
        calibrations=tuple(found for folder in folders for found in reader.folder(folder / "calibrations", Calibration)),
        broken=frozenset(reader.broken),
    )
    if not unsure & {"models", "routes_file"}:
        reader.mistakes += inconsistencies(inventory)
    if reader.mistakes:
        raise ConfigurationError(reader.mistakes)
    return settings, _catalogue(inventory)


def load_settings(path: Path | None) -> Settings:
    """Return the settings of one YAML file without looking at what they refer to: for a process whose starter has done that.

    Raises:
        ConfigurationError: with every mistake in the file.
    """
    reader = _Reader([], set())
    settings, _ = _settings(_settings_document(path, reader), reader)
    if reader.mistakes:
        raise ConfigurationError(reader.mistakes)
    return settings


def check_ready_to_serve(settings: Settings, path: Path | None = None) -> None:
    """Make sure that somebody may send: `receive` and `serve` need calling AE titles, `analyse` does not.

    `path` is the settings file, for the line in the message.

    Raises:
        ConfigurationError: nobody may associate, or a sender that is called urgent may not.
    """
    document = SourceDocument(path=Path(DEFAULTS), value={}, root=None) if path is None else read_source(path)
    receive = settings.receive
    if receive.any_calling_ae_title:
        return
    allowed = set(receive.known_ae_titles)
    mistakes = [
        mistake_at(
            document,
            ("receive", "urgent_calling_ae_titles"),
            f"{title!r} may not associate; add it to receive.calling_ae_titles too",
        )
        for title in receive.urgent_calling_ae_titles
        if title not in allowed
    ]
    if not allowed:
        message = "nobody may associate; list the modalities that send, or set receive.any_calling_ae_title on a closed test network"
        mistakes.append(mistake_at(document, ("receive", "calling_ae_titles"), message))
    if mistakes:
        raise ConfigurationError(mistakes)


def _settings_document(path: Path | None, reader: _Reader) -> SourceDocument:
    empty = SourceDocument(path=path or Path(DEFAULTS), value={}, root=None)
    return empty if path is None else reader.document(path) or empty


def _settings(document: SourceDocument, reader: _Reader) -> tuple[Settings, set[str]]:
    """Return the settings, without the sections that have mistakes, and the names of those."""
    base = document.path.absolute().parent if document.path != Path(DEFAULTS) else Path.cwd()
    settings = reader.section(document, Settings)
    if settings is not None:
        return _with_absolute_paths(settings, base), set()
    if not isinstance(document.value, dict):
        return Settings(), set(Settings.model_fields)
    try:
        Settings.model_validate(document.value)
    except ValidationError as exc:
        unsure = {str(found["loc"][0]) for found in exc.errors() if found["loc"]} or {"destinations"}
        rest = {name: value for name, value in document.value.items() if name not in unsure}
        return _with_absolute_paths(Settings.model_validate(rest), base), unsure
    raise AssertionError("settings that were wrong are right")


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    destinations = tuple(located(destination, base) for destination in settings.destinations)
    tls = settings.deliver.commitment_tls
    deliver = settings.deliver.model_copy(update={"commitment_tls": tls.beside(base) if tls else None})
    models = settings.models.model_copy(update={"folders": tuple(base / folder for folder in settings.models.folders)})
    node = settings.node.model_copy(update={"data_folder": base / settings.node.data_folder})
    routes_file = base / settings.routes_file if settings.routes_file else None
    receive = settings.receive.model_copy(update={"tls": settings.receive.tls.beside(base) if settings.receive.tls else None})
    changed = {
        "node": node,
        "receive": receive,
        "models": models,
        "deliver": deliver,
        "destinations": destinations,
        "routes_file": routes_file,
        "audit": settings.audit.located(base),
    }
    return settings.model_copy(update=changed)


def _existing_folders(settings: Settings, document: SourceDocument, reader: _Reader) -> tuple[Path, ...]:
    for index, folder in enumerate(settings.models.folders):
        if not folder.is_dir():
            where: Location = ("models", "folders", index)
            reader.mistakes.append(mistake_at(document, where, f"there is no folder {folder}; make it or remove the entry"))
    return tuple(folder for folder in settings.models.folders if folder.is_dir())


def _routes(path: Path, reader: _Reader) -> Iterator[Sourced[RouteRule]]:
    document = reader.document(path)
    routes = reader.section(document, Routes) if document else None
    if document and routes:
        yield from (Sourced(value=route, document=document, at=("routes", index)) for index, route in enumerate(routes.routes))


def _located(found: Sourced[ModelManifest]) -> Sourced[ModelManifest]:
    """The manifest with an absolute weights folder, unless it lies in a package."""
    weights = found.value.weights
    if weights.folder.startswith("package:"):
        return found
    folder = str(found.document.path.absolute().parent / weights.folder)
    value = found.value.model_copy(update={"weights": weights.model_copy(update={"folder": folder})})
    return Sourced(value=value, document=found.document)


def _catalogue(inventory: Inventory) -> Catalogue:
    manifests = tuple(found.value for found in inventory.manifests)
    acknowledged = inventory.settings.models.acknowledged_licences
    return Catalogue(
        routes=tuple(switched_on(found.value, manifests, acknowledged) for found in inventory.routes),
        manifests=manifests,
        prompt_sets=tuple(found.value for found in inventory.prompt_sets),
        calibrations=tuple(found.value for found in inventory.calibrations),
    )


def _names_in(value: object) -> Iterable[str]:
    """Every `name` in the raw value of a file."""
    if isinstance(value, dict):
        name = value.get("name")
        if isinstance(name, str):
            yield name
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)

"""The catalogue: the routes, models, prompt sets and calibrations of a node, all of which fit each other."""

import functools
import hashlib
import importlib.resources
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.calibrations import Calibration
from config.manifests import ModelManifest, PublishedModel, SeriesSection
from config.prompt_sets import PromptSet
from config.routes import RouteRule

_PACKAGE = "package:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What `config.load` read beside the settings. Names are unique within each kind."""

    routes: tuple[RouteRule, ...]
    manifests: tuple[ModelManifest, ...]
    prompt_sets: tuple[PromptSet, ...]
    calibrations: tuple[Calibration, ...] = ()

    def manifest(self, name: str) -> ModelManifest:
        """Return the model of this name.

        Raises:
            KeyError: there is none.
        """
        return {manifest.name: manifest for manifest in self.manifests}[name]

    def prompt_set(self, name: str) -> PromptSet:
        """Return the prompt set of this name.

        Raises:
            KeyError: there is none.
        """
        return {prompt_set.name: prompt_set for prompt_set in self.prompt_sets}[name]

    def route(self, name: str) -> RouteRule:
        """Return the route of this name.

        Raises:
            KeyError: there is none.
        """
        return {route.name: route for route in self.routes}[name]

    def prompt_sets_asked(self, manifest: ModelManifest) -> tuple[str, ...]:
        """Return the names of the prompt sets that the model is asked with: its gate, image quality, the findings of its routes."""
        own = (section.prompt_set for section in (manifest.gate, manifest.quality) if section is not None)
        findings = (route.prompt_set for route in self.routes if route.searched_by == manifest.name and route.prompt_set)
        return tuple(dict.fromkeys((*own, *findings)))

    def models_used(self) -> tuple[str, ...]:
        """Return the names of the models that some route asks, for kind and quality or for findings."""
        return tuple(dict.fromkeys(name for route in self.routes for name in route.models))

    def weights_path(self, manifest: ModelManifest) -> Path:
        """Return the folder of the model's files, `package:` resolved; relative to the manifest was made absolute by the loader."""
        return weights_folder(manifest.weights.folder)

    def calibration_for(self, manifest: ModelManifest, prompt_set: PromptSet, site: str) -> Calibration | None:
        """Return the calibration of exactly this model and these prompts at this site; None puts the model in shadow."""
        wanted = (site, manifest.name, model_digest(manifest), prompt_set.name, prompt_set_digest(prompt_set))
        for found in self.calibrations:
            if (found.site, found.model, found.model_digest, found.prompt_set, found.prompt_set_digest) == wanted:
                return found
        return None


@functools.cache
def published_models() -> tuple[PublishedModel, ...]:
    """Return the models that ship without weights, by name: what `models import` needs to know of them."""
    folder = Path(str(importlib.resources.files("config"))) / "models" / "published"
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml")))
    return tuple(PublishedModel.model_validate(yaml.safe_load(text)) for text in texts)


def published_model(name: str) -> PublishedModel | None:
    """Return the model of this name that ships without weights, or None."""
    return next((model for model in published_models() if model.name == name), None)


def companion(place: str) -> Path:
    """Return the path of a file that comes with this node for a published model, as `companions` names it."""
    return Path(str(importlib.resources.files("config"))) / "models" / "published" / "companions" / place


def prompt_set_digest(prompt_set: PromptSet) -> str:
    """Return the SHA-256 (hexadecimal) of the prompt set as canonical JSON: keys sorted, no spaces, UTF-8."""
    return _digest(prompt_set.model_dump(mode="json"))


def model_digest(model: ModelManifest) -> str:
    """Return the SHA-256 (hexadecimal) of all that its scores depend on beside the words: weights, architecture, tokenizer, preprocessing,
    views.

    Where the files lie, its licence and its limits do not count.
    """
    computes = model.model_dump(mode="json", include={"architecture", "tokenizer", "preprocessing", "views", "looks", "colour"})
    weights = model.weights.model_dump(mode="json", include={"sha256", "checkpoints", "files"})
    # Left out where it is the default, so that calibrations which were made before there was a choice still hold.
    pooled = {} if model.series == SeriesSection() else {"series": model.series.model_dump(mode="json")}
    tiles = {} if model.slides is None else {"slides": model.slides.model_dump(mode="json", exclude={"source"})}
    return _digest({**computes, **pooled, **tiles, "weights": weights})


def _digest(value: dict[str, Any]) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def weights_folder(folder: str) -> Path:
    """Return the path of a manifest's `weights.folder`; `package:NAME/FOLDER` lies in an installed package.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    if not folder.startswith(_PACKAGE):
        return Path(folder)
    package, _, inner = folder.removeprefix(_PACKAGE).partition("/")
    return Path(str(importlib.resources.files(package))) / inner

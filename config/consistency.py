"""Mistakes that no single file shows: names that nobody has, two of one name, calibrations that fit nothing any more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from config.calibrations import Calibration
from config.catalogue import model_digest, prompt_set_digest, published_model, published_models, weights_folder
from config.destinations import target_of, token_file_of
from config.heads import cannot_answer, heads_of
from config.manifests import ModelManifest, QualitySection
from config.mistakes import Mistake, mistake_at, suggestion
from config.preferences import may_be_used, switched_on
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from config.schema import Settings
from config.source import Location, SourceDocument

_GATE_RECIPE, _FAULT_RECIPE = "multi-class-softmax", "pair-softmax"

_V_co = TypeVar("_V_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced(Generic[_V_co]):
    """A value and the place in a file that it was read from."""

    value: _V_co
    document: SourceDocument
    at: Location = ()

    def mistake(self, location: Location, message: str) -> Mistake:
        """Return a mistake at a place inside the value."""
        return mistake_at(self.document, (*self.at, *location), message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything that was read. `broken` names what is there but has mistakes of its own: a reference to it is not one more."""

    settings: Settings
    settings_document: SourceDocument
    routes: tuple[Sourced[RouteRule], ...]
    manifests: tuple[Sourced[ModelManifest], ...]
    prompt_sets: tuple[Sourced[PromptSet], ...]
    calibrations: tuple[Sourced[Calibration], ...]
    broken: frozenset[str]

    def manifest(self, name: str) -> ModelManifest | None:
        return next((found.value for found in self.manifests if found.value.name == name), None)

    def prompt_set(self, name: str) -> PromptSet | None:
        return next((found.value for found in self.prompt_sets if found.value.name == name), None)

    def model_names(self) -> tuple[str, ...]:
        return tuple(found.value.name for found in self.manifests)

    def prompt_set_names(self) -> tuple[str, ...]:
        return tuple(found.value.name for found in self.prompt_sets)


def inconsistencies(inventory: Inventory) -> Iterator[Mistake]:
    """Yield every mistake between the files."""
    yield from _repeated(inventory.manifests, "name")
    yield from _repeated(inventory.prompt_sets, "name")
    for route in inventory.routes:
        yield from _route(route, inventory)
    for manifest in inventory.manifests:
        yield from _gate(manifest, inventory)
        yield from _quality(manifest, inventory)
    yield from _calibrations(inventory)
    yield from _destinations(inventory)
    for index, name in enumerate(inventory.settings.models.acknowledged_licences):
        if message := _unknown(name, "model", _known_models(inventory), inventory):
            yield mistake_at(inventory.settings_document, ("models", "acknowledged_licences", index), message)


def _destinations(inventory: Inventory) -> Iterator[Mistake]:
    """What is wrong with a destination beyond its own section: no token, two of one target, commitment that nobody hears of."""
    settings, targets = inventory.settings, dict[str, str]()
    for index, destination in enumerate(settings.destinations):
        where: Location = ("destinations", index)
        token = token_file_of(destination)
        if token is not None and not token.is_file():
            yield mistake_at(inventory.settings_document, (*where, "bearer_token_file"), f"there is no file {token}; put the token there")
        first = targets.setdefault(target_of(destination), destination.name)
        if first != destination.name:
            message = f"{first!r} already sends to {target_of(destination)}; name all its results in one destination"
            yield mistake_at(inventory.settings_document, where, message)
        if repeated := [kind for kind in destination.results if destination.results.count(kind) > 1]:
            yield mistake_at(inventory.settings_document, (*where, "results"), f"{repeated[0]!r} is listed twice; remove one")


def _known_models(inventory: Inventory) -> tuple[str, ...]:
    """Names of the installed models and of those that this node knows and can import."""
    return tuple(dict.fromkeys((*inventory.model_names(), *(model.name for model in published_models()))))


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def _repeated(found: Iterable[Sourced[_Named]], field: str) -> Iterator[Mistake]:
    first: dict[str, SourceDocument] = {}
    for one in found:
        earlier = first.setdefault(one.value.name, one.document)
        if earlier is not one.document:
            yield one.mistake((field,), f"{one.value.name!r} is also the name in {earlier.path}; rename one of the two")


def _unknown(name: str | None, kind: str, known: Iterable[str], inventory: Inventory) -> str:
    """What is wrong with a reference; empty if nothing is."""
    names = tuple(known)
    if name is None or name in names or name in inventory.broken:
        return ""
    return f"there is no {kind} {name!r}" + suggestion(name, names)


def _route(route: Sourced[RouteRule], inventory: Inventory) -> Iterator[Mistake]:
    rule = route.value
    if message := _unknown(rule.model, "model", inventory.model_names(), inventory):
        yield route.mistake(("model",), message)
    if message := _unknown(rule.findings_model, "model", inventory.model_names(), inventory):
        yield route.mistake(("findings_model",), message)
    yield from _findings(route, rule.findings_model or rule.model, rule.prompt_set, ("prompt_set",), inventory)
    for index, preference in enumerate(rule.prefer):
        if message := _unknown(preference.model, "model", _known_models(inventory), inventory):
            yield route.mistake(("prefer", index, "model"), message)
        yield from _findings(route, preference.model, preference.prompt_set, ("prefer", index, "prompt_set"), inventory)
    for index, name in enumerate(rule.destinations or ()):
        known = (destination.name for destination in inventory.settings.destinations)
        if message := _unknown(name, "destination", known, inventory):
            yield route.mistake(("destinations", index), message)
    manifest = inventory.manifest(rule.model) if rule.model else None
    if manifest is not None:
        yield from _expected_kinds(route, manifest, inventory)
    for field, name in _models_asked(rule, inventory):
        model = inventory.manifest(name)
        if model is not None:
            yield from _licence(route, field, model, inventory)
            yield from _weights(route, field, model)


def _models_asked(rule: RouteRule, inventory: Inventory) -> Iterator[tuple[str, str]]:
    """The field and the name of each model that the route really asks."""
    if rule.model:
        yield "model", rule.model
    manifests = (found.value for found in inventory.manifests)
    finder = switched_on(rule, manifests, inventory.settings.models.acknowledged_licences).findings_model
    if finder and finder != rule.model:
        yield ("findings_model" if finder == rule.findings_model else "prefer"), finder


def _findings(route: Sourced[RouteRule], model: str | None, name: str | None, where: Location, inventory: Inventory) -> Iterator[Mistake]:
    if message := _unknown(name, "prompt set", inventory.prompt_set_names(), inventory):
        yield route.mistake(where, message)
    asked = inventory.prompt_set(name) if name else None
    if asked is not None and any(label.fault for label in asked.labels):
        yield route.mistake(where, f"{asked.name} holds faults, not findings; name it under quality in a model's manifest")
    finder = (inventory.manifest(model) or published_model(model)) if model else None
    if asked is not None and finder is not None:
        yield from (route.mistake(where, message) for message in cannot_answer(finder, asked))


def _expected_kinds(route: Sourced[RouteRule], manifest: ModelManifest, inventory: Inventory) -> Iterator[Mistake]:
    if manifest.gate is None:
        if route.value.expect:
            yield route.mistake(("expect",), f"model {manifest.name} has no gate; remove expect or take a model with one")
        return
    gate = inventory.prompt_set(manifest.gate.prompt_set)
    for index, kind in enumerate(route.value.expect if gate else ()):
        known = tuple(label.name for label in gate.labels) if gate else ()
        if kind not in known:
            yield route.mistake(("expect", index), f"the gate of {manifest.name} has no kind {kind!r}" + suggestion(kind, known))


def _licence(route: Sourced[RouteRule], field: str, manifest: ModelManifest, inventory: Inventory) -> Iterator[Mistake]:
    if not may_be_used(manifest, inventory.settings.models.acknowledged_licences):
        licence = manifest.licence
        terms = f"model {manifest.name} is {licence.usage} ({licence.name})"
        yield route.mistake((field,), f"{terms}; {licence.to_acknowledge}, then add it to models.acknowledged_licences")


def _weights(route: Sourced[RouteRule], field: str, manifest: ModelManifest) -> Iterator[Mistake]:
    try:
        file = weights_folder(manifest.weights.folder) / manifest.weights.file
    except ModuleNotFoundError:
        message = f"the weights of {manifest.name} lie in {manifest.weights.folder}, a package that is not installed; install it"
        yield route.mistake((field,), message)
        return
    if not file.is_file():
        yield route.mistake((field,), f"the weights of {manifest.name} are not at {file}; put the file there")


def _gate(manifest: Sourced[ModelManifest], inventory: Inventory) -> Iterator[Mistake]:
    gate = manifest.value.gate
    if gate is None:
        return
    where = ("gate", "prompt_set")
    if message := _unknown(gate.prompt_set, "prompt set", inventory.prompt_set_names(), inventory):
        yield manifest.mistake(where, message)
    prompt_set = inventory.prompt_set(gate.prompt_set)
    if prompt_set is not None and prompt_set.recipe != _GATE_RECIPE:
        yield manifest.mistake(where, f"{gate.prompt_set} is {prompt_set.recipe}; a gate needs the recipe {_GATE_RECIPE}")
    if heads := heads_of(manifest.value.architecture):
        yield manifest.mistake(
            ("gate",), f"a gate asks about any image, and the heads of this family see eyes ({', '.join(heads)}); remove it"
        )


def _quality(manifest: Sourced[ModelManifest], inventory: Inventory) -> Iterator[Mistake]:
    quality = manifest.value.quality
    if quality is None:
        return
    where = ("quality", "prompt_set")
    if message := _unknown(quality.prompt_set, "prompt set", inventory.prompt_set_names(), inventory):
        yield manifest.mistake(where, message)
    prompt_set = inventory.prompt_set(quality.prompt_set)
    if prompt_set is not None and prompt_set.recipe != _FAULT_RECIPE:
        yield manifest.mistake(where, f"{prompt_set.name} is {prompt_set.recipe}; image quality needs the recipe {_FAULT_RECIPE}")
    elif prompt_set is not None:
        yield from _faults(manifest, quality, prompt_set)
    yield from _kinds_of_faults(manifest, quality, inventory)
    if heads := heads_of(manifest.value.architecture):
        message = f"image quality is asked of any image, and the heads of this family see eyes ({', '.join(heads)}); remove it"
        yield manifest.mistake(("quality",), message)


def _faults(manifest: Sourced[ModelManifest], quality: QualitySection, prompt_set: PromptSet) -> Iterator[Mistake]:
    labels = {label.name: label for label in prompt_set.labels}
    for name in quality.labels:
        where = ("quality", "labels", name)
        if name not in labels:
            yield manifest.mistake(where, f"prompt set {prompt_set.name} has no label {name!r}" + suggestion(name, tuple(labels)))
        elif labels[name].fault is None:
            message = f"prompt set {prompt_set.name} does not say what a report makes of {name!r}; give that label a fault"
            yield manifest.mistake(where, message)


def _kinds_of_faults(manifest: Sourced[ModelManifest], quality: QualitySection, inventory: Inventory) -> Iterator[Mistake]:
    gate = manifest.value.gate
    kinds = inventory.prompt_set(gate.prompt_set) if gate else None
    known = tuple(label.name for label in kinds.labels) if kinds and kinds.recipe == _GATE_RECIPE else ()
    for name, limit in quality.labels.items():
        where: Location = ("quality", "labels", name, "kinds")
        if limit.kinds and gate is None:
            yield manifest.mistake(where, f"model {manifest.value.name} has no gate, which would tell kinds apart; remove kinds")
        for index, kind in enumerate(limit.kinds if known else ()):
            if kind not in known:
                message = f"the gate of {manifest.value.name} has no kind {kind!r}" + suggestion(kind, known)
                yield manifest.mistake((*where, index), message)


def _calibrations(inventory: Inventory) -> Iterator[Mistake]:
    ids: dict[str, SourceDocument] = {}
    subjects: dict[tuple[str, str, str], str] = {}
    for found in inventory.calibrations:
        value = found.value
        earlier = ids.setdefault(value.id, found.document)
        if earlier is not found.document:
            yield found.mistake(("id",), f"{value.id!r} is also the id in {earlier.path}; rename one of the two")
        same = subjects.setdefault((value.site, value.model, value.prompt_set), value.id)
        if same != value.id:
            yield found.mistake(("id",), f"{same} is for the same site, model and prompt set; keep one of the two")
        yield from _calibrated_model(found, inventory)
        yield from _calibrated_prompts(found, inventory)


def _calibrated_model(found: Sourced[Calibration], inventory: Inventory) -> Iterator[Mistake]:
    value = found.value
    if message := _unknown(value.model, "model", inventory.model_names(), inventory):
        yield found.mistake(("model",), message)
    manifest = inventory.manifest(value.model)
    if manifest is not None and (now := model_digest(manifest)) != value.model_digest:
        yield found.mistake(
            ("model_digest",),
            f"made for other weights, architecture, tokenizer, preprocessing, views or looks of {value.model}, whose digest is now {now};"
            " recalibrate, or restore the model",
        )


def _calibrated_prompts(found: Sourced[Calibration], inventory: Inventory) -> Iterator[Mistake]:
    value = found.value
    if message := _unknown(value.prompt_set, "prompt set", inventory.prompt_set_names(), inventory):
        yield found.mistake(("prompt_set",), message)
    prompt_set = inventory.prompt_set(value.prompt_set)
    if prompt_set is None:
        return
    if prompt_set_digest(prompt_set) != value.prompt_set_digest:
        yield found.mistake(("prompt_set_digest",), f"made for other words of {value.prompt_set}; recalibrate, or restore those prompts")
    known = tuple(label.name for label in prompt_set.labels)
    for label in value.labels:
        if label not in known:
            yield found.mistake(("labels", label), f"prompt set {value.prompt_set} has no label {label!r}" + suggestion(label, known))

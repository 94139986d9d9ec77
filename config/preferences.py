"""Which model looks for the findings of a route: the first preferred one that is installed and may be used."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from config.manifests import LicenceSection, ModelManifest, PublishedModel
from config.routes import RouteRule

State = Literal["in use", "another is preferred", "licence not acknowledged", "not installed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceState:
    """How it stands with one preferred model of a route. `remedy` says what would bring it into use; empty if nothing is needed."""

    route: str
    model: str
    prompt_set: str
    state: State
    remedy: str


def switched_on(route: RouteRule, manifests: Iterable[ModelManifest], acknowledged: Iterable[str]) -> RouteRule:
    """Return the route with the model and the prompt set that its preferences come to; unchanged if none can be used."""
    installed, accepted = {manifest.name: manifest for manifest in manifests}, frozenset(acknowledged)
    for preference in route.prefer:
        if preference.model in installed and may_be_used(installed[preference.model], accepted):
            return route.model_copy(update={"findings_model": preference.model, "prompt_set": preference.prompt_set})
    return route


def may_be_used(manifest: ModelManifest, acknowledged: Iterable[str]) -> bool:
    """True if the terms of the model need no acknowledgement, or somebody has given it."""
    return not manifest.licence.needs_acknowledgement or manifest.name in acknowledged


def preference_states(
    route: RouteRule, manifests: Iterable[ModelManifest], published: Iterable[PublishedModel], acknowledged: Iterable[str]
) -> Iterator[PreferenceState]:
    """Yield how it stands with each preferred model of a route, in order. `route` may be switched on or not."""
    installed, known, accepted = {one.name: one for one in manifests}, {one.name: one for one in published}, frozenset(acknowledged)
    chosen = switched_on(route, installed.values(), accepted).findings_model if route.prefer else None
    for preference in route.prefer:
        name = preference.model
        state: State
        if name in installed and not may_be_used(installed[name], accepted):
            state, remedy = "licence not acknowledged", acknowledgement(name, installed[name].licence)
        elif name in installed:
            state, remedy = ("in use" if name == chosen else "another is preferred"), ""
        else:
            state, remedy = "not installed", _installation(name, known.get(name), accepted)
        yield PreferenceState(route=route.name, model=name, prompt_set=preference.prompt_set, state=state, remedy=remedy)


def acknowledgement(name: str, licence: LicenceSection) -> str:
    """Return what to do before a model under such terms may be used."""
    return f"it is {licence.usage} ({licence.name}): {licence.to_acknowledge}, then add {name} to models.acknowledged_licences"


def _installation(name: str, model: PublishedModel | None, acknowledged: frozenset[str]) -> str:
    if model is None:
        return "import it, or put its manifest into a folder of models.folders"
    if model.licence.needs_acknowledgement and name not in acknowledged:
        return f"{model.import_command}; {acknowledgement(name, model.licence)}"
    return model.import_command

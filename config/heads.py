"""Model families with several heads: which of them answer, and from which views of a patient; and who can answer what."""

from collections.abc import Iterator, Mapping

from config.architecture import Architecture
from config.manifests import ModelDescription
from config.prompt_sets import PromptSet

ANY_IMAGE = ("image",)

_HEADS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ret_clip": {"patient": ("left", "right"), "left": ("left",), "right": ("right",)},
}
_WITH_A_BIAS = frozenset({"open_clip", "siglip"})  # families whose weights may hold a logit bias


def heads_of(architecture: Architecture) -> tuple[str, ...]:
    """Return the heads that a prompt set must choose from; empty for a model that answers in one way only."""
    return tuple(_HEADS.get(architecture.family, ()))


def views_of(architecture: Architecture, head: str | None) -> tuple[str, ...]:
    """Return what a head sees at once, in order: an image, one eye, or the left and the right eye.

    Raises:
        KeyError: the model has no head of this name, or has several and `head` is None.
    """
    heads = _HEADS.get(architecture.family, {})
    if head is None and not heads:
        return ANY_IMAGE
    return heads[head or ""]


def cannot_answer(manifest: ModelDescription, asked: PromptSet) -> Iterator[str]:
    """Yield why the model cannot answer the prompt set: its recipe, or the heads and levels that it names."""
    heads, family = heads_of(manifest.architecture), manifest.family
    if asked.recipe == "sigmoid" and family not in _WITH_A_BIAS:
        needed = " or ".join(sorted(_WITH_A_BIAS))
        yield f"{asked.name} is sigmoid, which needs a model trained with a bias (family {needed}); {manifest.name} is {family}"
    for label in asked.labels:
        head, level = asked.head_of(label), asked.level_of(label)
        if heads and head not in heads:
            yield f"label {label.name} of {asked.name} must name one of the heads of {manifest.name}: {', '.join(heads)}"
        elif head and not heads:
            yield f"label {label.name} of {asked.name} asks head {head}; model {manifest.name} ({family}) answers in one way only"
        elif (level == "patient") != (len(views_of(manifest.architecture, head)) > 1):
            seen = " and ".join(views_of(manifest.architecture, head))
            yield f"label {label.name} of {asked.name} has level {level}, but head {head} of {manifest.name} sees {seen}"

"""The words of `words.yaml` as captions and claims.

Some words and sentence forms are held back: training never sees them, and the evaluation asks with them whether a text that was not
trained on works as well.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Literal

import msgspec
import numpy as np

Wording = Literal["seen", "held-back forms", "held-back words"]
WORDINGS: tuple[Wording, ...] = ("seen", "held-back forms", "held-back words")


class Phrases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Phrasings of one thing: those of the training, and those that only the evaluation uses."""

    seen: tuple[str, ...]
    held_back: tuple[str, ...]


class ImageKind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One label of `kind-of-image`: a technique and a part of the body, or fixed phrases where no such pair fits.

    `gate_class` is its name in the training pack. `medical` None: neither clearly medical nor clearly not.
    """

    name: str
    gate_class: str = ""
    technique: str | None = None
    part: str | None = None
    fixed: Phrases | None = None
    medical: bool | None = True


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is true or false of an image."""

    name: str
    when_true: Phrases
    when_false: Phrases


class _Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    techniques: dict[str, Phrases]
    parts: dict[str, Phrases]
    kinds: tuple[ImageKind, ...]
    claims: tuple[Claim, ...]
    findings: tuple[Claim, ...]
    nouns: Phrases
    forms: Phrases
    templates: Phrases


_WORDS = msgspec.yaml.decode(resources.files(__package__).joinpath("words.yaml").read_bytes(), type=_Words)

KINDS_OF_IMAGE, CLAIMS, FINDINGS = _WORDS.kinds, _WORDS.claims, _WORDS.findings
KIND_NUMBER: Mapping[str, int] = {kind.name: number for number, kind in enumerate(KINDS_OF_IMAGE)}
CLAIM_NUMBER: Mapping[str, int] = {claim.name: number for number, claim in enumerate(CLAIMS)}

_WITH_AN = ("a", "e", "i", "o", "u", "x-ray", "xray", "A", "E", "I", "O", "U", "MR", "X-ray")


def name_kind(kind: ImageKind, wording: Wording, rng: np.random.Generator) -> str:
    """Return one bare phrase for a kind of image, such as "x-ray of the chest"."""
    new_words = wording == "held-back words"
    if kind.fixed is not None and (kind.technique is None or rng.random() < 0.7):  # noqa: PLR2004
        return _pick(kind.fixed, rng, held_back=new_words)
    form = _pick(_WORDS.forms, rng, held_back=wording == "held-back forms")
    new_part = new_words and bool(rng.random() < 0.5)  # noqa: PLR2004 - one of the two words is new, sometimes both
    new_technique = new_words and (not new_part or bool(rng.random() < 0.3))  # noqa: PLR2004
    part = _pick(_WORDS.parts[kind.part or ""], rng, held_back=new_part)
    technique = _pick(_WORDS.techniques[kind.technique or ""], rng, held_back=new_technique)
    return form.format(part=part, technique=technique)


def caption(kind: ImageKind, wording: Wording, rng: np.random.Generator) -> str:
    """Return a caption of a kind of image."""
    return _in_template(name_kind(kind, wording, rng), wording, rng)


def claim_text(claim: Claim, *, holds: bool, wording: Wording, rng: np.random.Generator, kind: ImageKind | None = None) -> str:
    """Return a sentence that makes a claim, or its opposite, of an image (of a kind, where one is given)."""
    phrase = _pick(claim.when_true if holds else claim.when_false, rng, held_back=wording == "held-back words")
    noun = name_kind(kind, "seen", rng) if kind is not None else _pick(_WORDS.nouns, rng, held_back=False)
    return _in_template(phrase.replace("{}", noun), wording, rng)


def _in_template(text: str, wording: Wording, rng: np.random.Generator) -> str:
    template = _pick(_WORDS.templates, rng, held_back=wording == "held-back forms")
    if template.endswith("a {}") and text.startswith(_WITH_AN):
        template = template.replace("a {}", "an {}")
    return template.replace("{}", text)


def _pick(phrases: Phrases, rng: np.random.Generator, *, held_back: bool) -> str:
    choices = phrases.held_back if held_back else phrases.seen
    return choices[int(rng.integers(len(choices)))]

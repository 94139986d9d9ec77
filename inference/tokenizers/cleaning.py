"""Cleaning of a text before it is cut into tokens, step by step as the references do."""

import html
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ftfy

from config.tokenizer import CleanUp

if TYPE_CHECKING:
    from collections.abc import Callable

_STRAIGHT = str.maketrans({"\u201c": '"', "\u201d": '"'})
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, steps: Sequence[CleanUp]) -> str:
    """Return the text after all steps, in order."""
    for step in steps:
        text = _STEPS[step](text)
    return text


def _repair(text: str) -> str:
    """Source: openai/CLIP, simple_tokenizer.basic_clean (entities are unescaped twice there too)."""
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


_STEPS: Mapping[CleanUp, "Callable[[str], str]"] = {
    "repair": _repair,
    "compose": lambda text: unicodedata.normalize("NFC", text),
    "collapse-whitespace": lambda text: " ".join(text.split()),
    "lower-case": str.lower,
    "straight-quotes": lambda text: text.translate(_STRAIGHT),
    "remove-punctuation": lambda text: text.translate(_NO_PUNCTUATION),
}

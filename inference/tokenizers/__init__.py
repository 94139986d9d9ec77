"""Texts as token ids: one registry, one file for each kind of `config.tokenizer`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from config.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch


class TokenizerError(Exception):
    """A vocabulary cannot be read, or contradicts what the manifest says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Texts of one group: `ids` and `attended` (1 where there is a token, 0 where there is padding), int64 `(n, length)`."""

    ids: "torch.Tensor"
    attended: "torch.Tensor"


Tokenize = Callable[[Sequence[str]], Tokens]
_Load = Callable[[Tokenizer, Path], Tokenize]

TOKENIZERS: Mapping[str, str] = {
    "clip-bpe": "inference.tokenizers.clip_bpe:load",
    "sentencepiece": "inference.tokenizers.sentencepiece:load",
    "wordpiece": "inference.tokenizers.wordpiece:load",
}


def load_tokenizer(section: Tokenizer, folder: Path) -> Tokenize:
    """Return what makes tokens of the texts of one group. Files lie in `folder` and must have been verified before.

    Raises:
        TokenizerError: a file is missing or damaged, or no tokenizer of this kind is built in.
    """
    if section.kind not in TOKENIZERS:
        raise TokenizerError(f"no tokenizer of kind {section.kind} is built in; known are: {', '.join(TOKENIZERS)}")
    module, _, attribute = TOKENIZERS[section.kind].partition(":")
    return cast("_Load", getattr(importlib.import_module(module), attribute))(section, folder)

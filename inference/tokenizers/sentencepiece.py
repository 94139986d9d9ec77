"""SentencePiece's unigram tokenizer from the `tokenizer.json` that a publisher ships beside his spiece.model.

Only pieces, scores and the table of characters are taken from that file; cleaning is the manifest's, white space is
SentencePiece's own rule. So the ids are those of spiece.model, whatever the file says of cleaning, padding and cutting.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import Precompiled
from tokenizers.pre_tokenizers import Metaspace

from config.tokenizer import SentencePiece
from inference.tokenizers import Tokenize, TokenizerError, Tokens
from inference.tokenizers.cleaning import clean

_SPACE = "\u2581"  # SentencePiece's own sign for a space; in a text it is one


def load(section: SentencePiece, folder: Path) -> Tokenize:
    """Return the tokenizer of the vocabulary in `folder`.

    Raises:
        TokenizerError: the vocabulary is missing, is no unigram vocabulary, or has no token of an id of the section.
    """
    described = read_vocabulary(folder / section.vocabulary)
    size = len(described.model.vocab)
    for field, number in (("end_id", section.end_id), ("pad_id", section.pad_id)):
        if number >= size:
            raise TokenizerError(f"tokenizer.{field} is {number}, {folder / section.vocabulary} has {size} pieces; correct the manifest")
    cutter, characters = _cutter(described), _characters(described, folder / section.vocabulary)

    def pieces(text: str) -> list[int]:
        cleaned = clean(text.replace(_SPACE, " "), section.clean_up)
        found: list[int] = cutter.encode(_spaced(cleaned, characters), add_special_tokens=False).ids
        return found[: section.context_length - 1]

    def tokenize(texts: Sequence[str]) -> Tokens:
        """Pieces and the end; a longer text keeps its first pieces and the end."""
        ids = torch.full((len(texts), section.context_length), section.pad_id, dtype=torch.int64)
        attended = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            found = [*pieces(text), section.end_id]
            ids[row, : len(found)] = torch.tensor(found)
            attended[row, : len(found)] = 1
        return Tokens(ids=ids, attended=attended)

    return tokenize


class Normalizer(msgspec.Struct):
    """What a tokenizer.json does to a text; of a sequence, its parts."""

    type: str
    normalizers: "list[Normalizer]" = []
    precompiled_charsmap: str | None = None

    def parts(self) -> "Iterator[Normalizer]":
        """Yield each step, in order."""
        if self.type != "Sequence":
            yield self
        for inner in self.normalizers:
            yield from inner.parts()


class Pieces(msgspec.Struct):
    """The pieces of a vocabulary by id, with the logarithms of their shares."""

    type: str
    vocab: list[tuple[str, float]]
    unk_id: int
    byte_fallback: bool = False


class Described(msgspec.Struct):
    """What is taken from a tokenizer.json."""

    model: Pieces
    normalizer: Normalizer | None = None

    def characters(self) -> Precompiled | None:
        """Return SentencePiece's table of characters; None if characters stay as they are.

        Raises:
            ValueError: the table is damaged.
        """
        steps = self.normalizer.parts() if self.normalizer else ()
        told = next((step.precompiled_charsmap for step in steps if step.precompiled_charsmap), None)
        return Precompiled(_table(told)) if told else None


def _table(told: str) -> bytes:
    """The bytes of a table: the length of its trie, the trie in units of four bytes, the replacements in UTF-8."""
    table = base64.b64decode(told, validate=True)
    length = int.from_bytes(table[:4], "little")
    if len(table) <= 4 or length % 4 or 4 + length > len(table):  # noqa: PLR2004 - see above
        raise ValueError(f"its trie of {length} bytes does not fit into {len(table)}")
    table[4 + length :].decode("utf-8")
    return table


def read_vocabulary(path: Path) -> Described:
    """Return what a tokenizer.json says of its vocabulary.

    Raises:
        TokenizerError: it is missing or damaged, or holds no unigram vocabulary.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Described)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise TokenizerError(f"vocabulary {path} cannot be read ({exc}); take it from the model's publisher") from exc
    if found.model.type != "Unigram" or not 0 <= found.model.unk_id < len(found.model.vocab):
        raise TokenizerError(f"{path} holds no SentencePiece unigram vocabulary; take tokenizer.json from the model's publisher")
    return found


def _characters(described: Described, path: Path) -> Precompiled | None:
    try:
        return described.characters()
    except ValueError as exc:
        raise TokenizerError(f"{path} has a damaged table of characters ({exc}); take it from the model's publisher") from exc


def _cutter(described: Described) -> FastTokenizer:
    model = described.model
    cutter = FastTokenizer(Unigram(model.vocab, model.unk_id, model.byte_fallback))
    cutter.pre_tokenizer = Metaspace(replacement=_SPACE, prepend_scheme="always", split=True)
    return cutter


def _spaced(text: str, characters: Precompiled | None) -> str:
    """Characters replaced, then no space at the ends and single ones inside (add_dummy_prefix is Metaspace's)."""
    replaced = characters.normalize_str(text) if characters else text
    return " ".join(part for part in replaced.split(" ") if part)

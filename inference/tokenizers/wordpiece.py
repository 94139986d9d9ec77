"""BERT's word-piece tokenizer from a vocabulary file."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordPiece as WordPieceModel
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from config.tokenizer import LongestOfGroup, WordPiece
from inference.tokenizers import Tokenize, TokenizerError, Tokens
from inference.tokenizers.cleaning import clean

_CLS, _SEP, _PAD, _UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
_MASK = "[MASK]"


def load(section: WordPiece, folder: Path) -> Tokenize:
    """Return the tokenizer of the vocabulary in `folder`.

    Raises:
        TokenizerError: the vocabulary is missing, is no text, or lacks a special token.
    """
    vocabulary = read_vocabulary(folder / section.vocabulary)
    cutter = _cutter(vocabulary, section)
    cls, sep, pad = (vocabulary[token] for token in (_CLS, _SEP, _PAD))

    def tokenize(texts: Sequence[str]) -> Tokens:
        """[CLS], pieces, [SEP]; a longer text keeps its first pieces."""
        cut = [cutter.encode(clean(text, section.clean_up), add_special_tokens=False).ids for text in texts]
        rows = [[cls, *pieces[: section.context_length - 2], sep] for pieces in cut]
        length = max(map(len, rows), default=0) if isinstance(section.padding, LongestOfGroup) else section.context_length
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), length)
        attended = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], dtype=torch.int64)
        return Tokens(ids=ids, attended=attended.reshape(len(rows), length))

    return tokenize


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return token -> id of a file with one token a line (LF or CRLF; the last of equal lines counts, as in the references).

    A `tokenizer.json` of the `tokenizers` library is read too, its vocabulary only.

    Raises:
        TokenizerError: the file is missing, is no text, or lacks a special token.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        vocabulary = _Described.vocabulary_of(text) if path.suffix == ".json" else _numbered(text)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as exc:
        raise TokenizerError(f"vocabulary {path} cannot be read ({exc}); take it from the model's publisher") from exc
    if missing := [token for token in (_CLS, _SEP, _PAD, _UNKNOWN) if token not in vocabulary]:
        raise TokenizerError(f"vocabulary {path} has no {missing[0]}; it is no BERT vocabulary, take it from the model's publisher")
    return vocabulary


def _numbered(text: str) -> dict[str, int]:
    tokens = [line.removesuffix("\r") for line in text.split("\n")]
    return {token: number for number, token in enumerate(tokens[:-1] if tokens[-1] == "" else tokens)}


class _Model(msgspec.Struct):
    vocab: dict[str, int]


class _Described(msgspec.Struct):
    model: _Model

    @staticmethod
    def vocabulary_of(text: str) -> dict[str, int]:
        return msgspec.json.decode(text, type=_Described).model.vocab


def _cutter(vocabulary: dict[str, int], section: WordPiece) -> FastTokenizer:
    cutter = FastTokenizer(WordPieceModel(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=section.longest_word))
    cutter.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=section.lower_case)
    cutter.pre_tokenizer = BertPreTokenizer()
    cutter.add_special_tokens([token for token in (_PAD, _UNKNOWN, _CLS, _SEP, _MASK) if token in vocabulary])
    return cutter

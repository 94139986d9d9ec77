"""SentencePiece's unigram pieces from a tokenizer.json, as SigLIP's own tokenizer gives them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from config.tokenizer import SentencePiece
from inference.tokenizers import Tokenize, TokenizerError, load_tokenizer
from tests import golden_siglip as small

FACTS: dict[str, Any] = {"kind": "sentencepiece", "vocabulary": "tokenizer.json", "end_id": 1, "pad_id": 1, "context_length": 16}
CLEAN_UP = ("lower-case", "remove-punctuation", "collapse-whitespace")
TEXTS = (
    *small.TEXTS,
    "",
    "!?",
    "  leading",
    "trailing\u200b",
    "a\tb\n c",
    "a\u00a0b\u3000c",
    "\u2581a \u2581 b",
    "x </s> y <unk>",
    "\u65e5\u672c",
    "fusion effusion ef",
    "\u0130 stanbul",
    "\u200b",
    "\ufb01\ufb01 \u2460\u2460",
)


def tokenizer(folder: Path, *, changes: dict[str, Any] | None = None, **facts: object) -> Tokenize:
    small.write_files(folder, **({"tokenizer": changes} if changes else {}))
    return load_tokenizer(SentencePiece.model_validate({**FACTS, "clean_up": CLEAN_UP, **facts}), folder)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_likeliest_ones_of_the_cleaned_text(tmp_path: Path, text: str) -> None:
    assert tokenizer(tmp_path)([text]).ids.tolist() == small.tokens([text]).tolist()


def test_every_text_ends_with_the_end_and_is_padded_to_the_full_length(tmp_path: Path) -> None:
    found = tokenizer(tmp_path, pad_id=0)(["a photo", "no rash " * 20])
    assert found.ids[0].tolist() == [259, 260, 1, *[0] * 13]
    assert found.ids[1, -1] == 1
    assert found.attended.sum(dim=1).tolist() == [3, 16]
    assert found.ids.dtype == found.attended.dtype == torch.int64


def test_cleaning_is_what_the_manifest_says_whatever_the_file_says(tmp_path: Path) -> None:
    cased = tokenizer(tmp_path, clean_up=("collapse-whitespace",))(["A photo."])
    assert cased.ids[0, :3].tolist() == [small.PIECES.index((small.SPACE, -3.07)), small.BYTES + ord("A"), 260]
    assert cased.ids[0, 3] == small.BYTES + ord(".")


def test_a_file_without_a_table_leaves_characters_alone(tmp_path: Path) -> None:
    found = tokenizer(tmp_path, changes={"normalizer": None})(["\ufb01"])
    assert found.ids[0, 1:4].tolist() == [small.BYTES + byte for byte in "\ufb01".encode()]


def test_no_texts_give_no_rows(tmp_path: Path) -> None:
    assert tokenizer(tmp_path)([]).ids.shape == (0, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"type": "WordPiece", "unk_id": 0, "vocab": [["a", 0.0]]}}, "holds no SentencePiece unigram vocabulary"),
        ({"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}}, "holds no SentencePiece unigram vocabulary"),
        ({"model": {"type": "Unigram", "vocab": {"a": 0}}}, "cannot be read"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "has a damaged table of characters"),
    ],
)
def test_what_is_no_unigram_vocabulary_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        tokenizer(tmp_path, changes=changes)


@pytest.mark.parametrize("field", ["end_id", "pad_id"])
def test_an_id_that_no_piece_has_is_refused_with_its_field(tmp_path: Path, field: str) -> None:
    with pytest.raises(TokenizerError, match=rf"tokenizer\.{field} is 999, .* has {len(small.PIECES)} pieces"):
        tokenizer(tmp_path, **{field: 999})


def test_a_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(SentencePiece.model_validate({**FACTS, "clean_up": CLEAN_UP}), tmp_path)

"""Texts as token ids: cleaned, cut and padded as the references do."""

from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import BertTokenizer

from config.tokenizer import ClipBpe, FullLength, LongestOfGroup, WordPiece
from inference.tokenizers import TokenizerError, load_tokenizer
from inference.tokenizers.cleaning import clean

TEXTS = ("Small LEFT pleural effusion, 2.5 mm.", "", "caf\u00e9 \u00d6dem na\u00efve", "\u53cc\u773cDR", "effusion " * 60)
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "small",
    "left",
    "effusion",
    "pleural",
    "##s",
    "cafe",
    "odem",
    ",",
    ".",
    "2",
    "5",
    "mm",
)
OPENAI = ("repair", "collapse-whitespace", "lower-case")


def word_pieces(folder: Path, *, line_end: str = "\n", padding: FullLength | LongestOfGroup | None = None, **changes: object) -> WordPiece:
    (folder / "vocab.txt").write_bytes((line_end.join((*WORDS, "\u53cc", "\u773c", "dr")) + line_end).encode())
    facts = {"vocabulary": "vocab.txt", "lower_case": True, "longest_word": 100, "clean_up": (), "context_length": 16}
    return WordPiece.model_validate(facts | {"padding": padding or FullLength()} | changes)


@pytest.mark.parametrize("pad_id", [0, 49407])
def test_clip_tokens_are_those_of_open_clip_with_the_padding_of_the_manifest(pad_id: int) -> None:
    section = ClipBpe(context_length=24, clean_up=OPENAI, pad_id=pad_id)
    found = load_tokenizer(section, Path())(TEXTS)
    expected = SimpleTokenizer()(list(TEXTS), context_length=24)
    assert torch.equal(found.ids * found.attended, expected)
    assert (found.ids[found.attended == 0] == pad_id).all()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_word_pieces_are_those_of_bert_whatever_the_line_ends(tmp_path: Path, line_end: str) -> None:
    section = word_pieces(tmp_path, line_end=line_end)
    reference = BertTokenizer(vocab={word: number for number, word in enumerate((*WORDS, "\u53cc", "\u773c", "dr"))}, do_lower_case=True)
    expected = reference(list(TEXTS), max_length=16, padding="max_length", truncation=True, return_tensors="pt")
    found = load_tokenizer(section, tmp_path)(TEXTS)
    assert torch.equal(found.ids, expected["input_ids"])
    assert torch.equal(found.attended, expected["attention_mask"])


def test_a_cased_vocabulary_is_read_as_the_manifest_says(tmp_path: Path) -> None:
    lower, cased = (load_tokenizer(word_pieces(tmp_path, lower_case=value), tmp_path)(["Effusion"]).ids[0, 1] for value in (True, False))
    assert (int(lower), int(cased)) == (WORDS.index("effusion"), WORDS.index("[UNK]"))


def test_texts_of_one_group_are_padded_to_the_longest_of_them(tmp_path: Path) -> None:
    tokenize = load_tokenizer(word_pieces(tmp_path, padding=LongestOfGroup(group="label")), tmp_path)
    assert tokenize(["effusion", "small left effusion"]).ids.shape == (2, 5)
    assert tokenize(["effusion"]).ids.shape == (1, 3)
    assert tokenize(["effusion " * 60]).ids.shape == (1, 16)


def test_a_longer_word_than_the_publishers_limit_is_unknown(tmp_path: Path) -> None:
    tokenize = load_tokenizer(word_pieces(tmp_path, longest_word=4), tmp_path)
    assert tokenize(["left small"]).ids[0, 1:3].tolist() == [WORDS.index("left"), WORDS.index("[UNK]")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), " \u201cA\u201d  &amp; b! "),
        (("repair",), '"A"  & b!'),
        (("straight-quotes", "lower-case"), ' "a"  &amp; b! '),
        (("collapse-whitespace", "remove-punctuation"), "\u201cA\u201d amp b"),
    ],
)
def test_cleaning_does_what_the_manifest_lists_in_its_order(steps: tuple[str, ...], expected: str) -> None:
    section = ClipBpe.model_validate({"context_length": 8, "clean_up": steps, "pad_id": 0})
    assert clean(" \u201cA\u201d  &amp; b! ", section.clean_up) == expected


def test_a_vocabulary_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    section = word_pieces(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(TokenizerError, match=r"has no \[CLS\]"):
        load_tokenizer(section, tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(TokenizerError, match="cannot be read"):
        load_tokenizer(section, tmp_path)


def test_a_kind_that_is_not_built_in_is_refused() -> None:
    with pytest.raises(TokenizerError, match="no tokenizer of kind braille"):
        load_tokenizer(ClipBpe.model_construct(kind="braille"), Path())

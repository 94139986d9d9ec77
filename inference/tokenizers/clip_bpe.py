"""CLIP's byte-pair tokenizer with the standard vocabulary, which ships with open_clip."""

from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer

from config.tokenizer import ClipBpe
from inference.tokenizers import Tokenize, Tokens
from inference.tokenizers.cleaning import clean

VOCABULARY_SIZE = 49408


def load(section: ClipBpe, folder: Path) -> Tokenize:
    """Return the tokenizer; `folder` is not looked at."""
    del folder
    tokenizer = SimpleTokenizer()
    tokenizer.clean_fn = lambda text: clean(text, section.clean_up)

    def tokenize(texts: Sequence[str]) -> Tokens:
        """Start, pieces, end; a longer text keeps its first pieces and the end."""
        ids = torch.full((len(texts), section.context_length), section.pad_id, dtype=torch.int64)
        attended = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            pieces: list[int] = tokenizer.encode(text)[: section.context_length - 2]  # type: ignore[no-untyped-call]  # open_clip's
            found = [tokenizer.sot_token_id, *pieces, tokenizer.eot_token_id]
            ids[row, : len(found)] = torch.tensor(found)
            attended[row, : len(found)] = 1
        return Tokens(ids=ids, attended=attended)

    return tokenize

"""Vocabulary and word vectors of the text tower, taken from a sentence encoder so that words never trained on have a meaning too.

The vectors are what the encoder makes of each token alone, reduced by principal components; they stay frozen in training.
"""

import json
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertTokenizer

WIDTH = 128
CONTEXT_LENGTH = 32
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

_FIRST, _LAST = ("[PAD]", "[UNK]", "[CLS]"), "[SEP]"  # the text tower pools at the highest token number
WEIGHTS_FILE = "open_clip_model.safetensors"

_VECTORS = "token_embedding.weight"
_BATCH = 512
_SPREAD = 0.02  # standard deviation of a token embedding in CLIP before training


def distil_words(encoder: Path, folder: Path) -> None:
    """Write the tokenizer's files and the word vectors to `folder`, where `words_of` finds them.

    `encoder` is a BERT sentence encoder in Hugging Face layout (all-MiniLM-L6-v2 was used). Tokens that are not ASCII are left out.

    Raises:
        OSError: the encoder's files are missing.
    """
    tokens = _tokens(encoder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    kept = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT_LENGTH}
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[UNK]"}
    settings.write_text(json.dumps(kept | special, indent=1) + "\n", encoding="utf-8")
    save_file({_VECTORS: _reduced(_meanings(encoder, tokens)).half().contiguous()}, folder / WEIGHTS_FILE)


def words_of(folder: Path) -> torch.Tensor:
    """Return the word vectors of a model trained before or of `distil_words`, float32 `(vocabulary, WIDTH)`."""
    return load_file(folder / WEIGHTS_FILE)[_VECTORS].float()


def _tokens(encoder: Path) -> tuple[str, ...]:
    lines = (encoder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = [line for line in lines if line.isascii() and not line.startswith("[")]
    return (*_FIRST, *words, _LAST)


def _meanings(encoder: Path, tokens: tuple[str, ...]) -> torch.Tensor:
    original = {line: number for number, line in enumerate((encoder / "vocab.txt").read_text(encoding="utf-8").splitlines())}
    model = AutoModel.from_pretrained(encoder, local_files_only=True).eval()
    first, last = original["[CLS]"], original["[SEP]"]
    ids = torch.tensor([[first, original[token], last] for token in tokens])
    with torch.inference_mode():
        parts = [cast("torch.Tensor", model(input_ids=batch).last_hidden_state).mean(dim=1) for batch in torch.split(ids, _BATCH)]
    return torch.cat(parts)


def _reduced(vectors: torch.Tensor) -> torch.Tensor:
    centred: torch.Tensor = vectors - vectors.mean(dim=0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    reduced: torch.Tensor = centred @ directions[:, -WIDTH:].flip(1)
    return reduced * (_SPREAD / float(reduced.std()))

"""Parts of small fixtures with a BERT text tower: its tensors, what it gives in plain tensor operations, its files, golden.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import BertTokenizer

from tests.golden_fixtures import norm
from tests.golden_reference import Tensors, gelu, linear

WIDTH, LAYERS, HEADS, INTERMEDIATE, POSITIONS, EPSILON = 16, 2, 2, 20, 24, 1e-12
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "an", "the", "of", "no", "image", "scan", "chest", "x", "ray", "tissue"),
    *("normal", "tumor", "effusion", "##s", "##al", "h", "e", "&", ".", ",", "-", '"', "ct", "liver", "showing"),
)


def shapes(prefix: str, vocabulary: int, *, pooler: bool, layers: int = LAYERS) -> dict[str, tuple[int, ...]]:
    """A BERT by Hugging Face's names."""
    found: dict[str, tuple[int, ...]] = {
        f"{prefix}embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        f"{prefix}embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        f"{prefix}embeddings.token_type_embeddings.weight": (2, WIDTH),
        **norm(f"{prefix}embeddings.LayerNorm", WIDTH),
    }
    for layer in range(layers):
        name = f"{prefix}encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= layer_shapes(f"{name}.{part}", WIDTH, WIDTH)
        found |= layer_shapes(f"{name}.intermediate.dense", WIDTH, INTERMEDIATE) | layer_shapes(f"{name}.output.dense", INTERMEDIATE, WIDTH)
        found |= norm(f"{name}.attention.output.LayerNorm", WIDTH) | norm(f"{name}.output.LayerNorm", WIDTH)
    return found | (layer_shapes(f"{prefix}pooler.dense", WIDTH, WIDTH) if pooler else {})


def layer_shapes(name: str, inside: int, outside: int) -> dict[str, tuple[int, ...]]:
    """A linear layer with a bias."""
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def states(tensors: Tensors, prefix: str, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """The last hidden states, `(n, length, width)`."""
    return all_states(tensors, prefix, ids, attended)[-1]


def all_states(tensors: Tensors, prefix: str, ids: torch.Tensor, attended: torch.Tensor) -> list[torch.Tensor]:
    """The hidden states after the embeddings and after each layer."""
    places = tensors[f"{prefix}embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = tensors[f"{prefix}embeddings.word_embeddings.weight"][ids] + places
    x = _norm(x + tensors[f"{prefix}embeddings.token_type_embeddings.weight"][0], tensors, f"{prefix}embeddings.LayerNorm")
    hidden = torch.where(attended[:, None, None, :] == 1, 0.0, float("-inf"))
    found = [x]
    while f"{prefix}encoder.layer.{len(found) - 1}.output.dense.weight" in tensors:
        name = f"{prefix}encoder.layer.{len(found) - 1}"
        x = _norm(x + _attention(x, tensors, name, hidden), tensors, f"{name}.attention.output.LayerNorm")
        inner = gelu(linear(x, tensors, f"{name}.intermediate.dense"))
        x = _norm(x + linear(inner, tensors, f"{name}.output.dense"), tensors, f"{name}.output.LayerNorm")
        found.append(x)
    return found


def _attention(x: torch.Tensor, tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    number, length, width = x.shape
    q, k, v = (
        linear(x, tensors, f"{name}.attention.self.{part}").reshape(number, length, HEADS, width // HEADS).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    shares = torch.softmax(q @ k.transpose(-1, -2) / (width // HEADS) ** 0.5 + hidden, dim=-1)
    return linear((shares @ v).transpose(1, 2).reshape(number, length, width), tensors, f"{name}.attention.output.dense")


def _norm(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], EPSILON)


def tokens(texts: Sequence[str], words: Sequence[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask as transformers' BertTokenizer gives them."""
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=True)
    found = tokenizer(list(texts), max_length=length, padding="max_length", truncation=True, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def hugging_face_config(vocabulary: int) -> dict[str, Any]:
    """What the config.json of this BERT says."""
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "hidden_act": "gelu",
        "layer_norm_eps": EPSILON,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
    }


def moved(mistake: str, array: str, right: torch.Tensor, wrong: torch.Tensor) -> dict[str, Any]:
    """A typical mistake and how far it moves an array."""
    return {"mistake": mistake, "array": array, "max_abs_difference": float((wrong - right).abs().max())}


def write_golden(
    folder: Path,
    facts: Mapping[str, Any],
    *,
    files: Sequence[str],
    pictures: int,
    texts: Sequence[str],
    expected: Mapping[str, torch.Tensor],
    mistakes: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any] | None = None,
    axes: Mapping[str, str] | None = None,
) -> None:
    """Write expected.npz and golden.json. `facts` are family, architecture, preprocess, tokenizer and scoring."""
    np.savez(folder / "expected.npz", **{name: array.numpy() for name, array in expected.items()})
    images = [{"file": f"inputs/{number}.png"} for number in range(pictures)]
    described = {"class_embeddings": "class,dim (L2-normalised)"} | dict(axes or {})
    golden = {
        "format_version": 1,
        "fixture": folder.name,
        "title": f"Small model of the tests, {facts['family']}",
        **facts,
        "checkpoint": {"dir": str(Path(files[0]).parent), "files": [{"path": name} for name in files]},
        "inputs": {"images": images, "texts": list(texts), **(inputs or {})},
        "expected": {"file": "expected.npz", "arrays": {name: {"axes": described.get(name, "")} for name in expected}},
        "tolerance": {
            "token_ids": "exact",
            "preprocessed_max_abs": 1e-5,
            "embeddings_max_abs": 1e-5,
            "logits_max_abs": 1e-3,
            "probabilities_max_abs": 1e-4,
        },
        "typical_mistakes": list(mistakes),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False), encoding="utf-8")


def text_facts() -> dict[str, Any]:
    """`architecture.text` of golden.json."""
    return {"type": "bert", "heads": HEADS, "hidden_act": "gelu", "layer_norm_eps": EPSILON}


def write_words(path: Path, words: Sequence[str], line_end: str = "\n") -> None:
    """A vocabulary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(word + line_end for word in words).encode())

"""A small SigLIP of our own with reference outputs: bytes for unknown letters, padding that is attended, a bias on the logits."""

import base64
import json
import string
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from tests.golden_bert import layer_shapes, moved, write_golden
from tests.golden_fixtures import drawn, norm, pictures
from tests.golden_reference import Activation, Tensors, gelu, linear

SIDE, PATCH, WIDTH, HEADS, INNER, LAYERS, EPSILON = 32, 8, 24, 3, 40, 2, 1e-6
TEXT_WIDTH, TEXT_HEADS, LENGTH, SCALE_LN, BIAS = 20, 2, 16, 2.3, -3.5
SPACE = "\u2581"
WORDS = ("a", "photo", "of", "arm", "no", "rash", "chest", "xray", "pleural", "effusion", "ef", "fusion", "left", "34", "view")
PIECES: tuple[tuple[str, float], ...] = (
    *((name, 0.0) for name in ("<pad>", "</s>", "<unk>")),
    *((f"<0x{number:02X}>", 0.0) for number in range(256)),
    *((SPACE + word, -3 - 0.11 * number) for number, word in enumerate(WORDS)),
    (SPACE, -3.07),
    *((letter, -6 - 0.13 * number) for number, letter in enumerate(string.ascii_lowercase)),
)
END, BYTES = 1, 3
CHARACTERS = {"\ufb01": "fi", "\u200b": " ", "\u2460": "1"}  # what SentencePiece's table of characters replaces
TEXTS = (
    "A photo of an ARM, with no rash!",
    " - chest X-ray:  Left  effusion \u200b",
    "3/4 view of d\u00e9j\u00e0 vu, \ufb01nding \u2460",
    "no pleural effusion and " * 6,
)
_LEAF = -1
MARKS = "".join(f"\\{mark}" for mark in string.punctuation if mark not in "/<>")  # as tokenizer.json says; its reference removes all


def write(folder: Path) -> None:
    """Write checkpoint, inputs and reference outputs into the folder."""
    weights, inner = tensors(51), folder / "checkpoint"
    inner.mkdir(exist_ok=True)
    save_file(weights, inner / "model.safetensors")
    write_files(inner)
    images = pictures(folder)
    padded = [_padded(image) for image in images]
    batch, squashed = _stacked(padded, InterpolationMode.BILINEAR), _stacked(images, InterpolationMode.BILINEAR)
    ids = tokens(TEXTS)
    image, plain, text = (_images(weights, batch, tanh_gelu), _images(weights, squashed, tanh_gelu), _texts(weights, ids, tanh_gelu))
    logits = float(torch.tensor(SCALE_LN).exp()) * image @ text.T + BIAS
    write_golden(
        folder,
        {
            "family": "D-siglip",
            "architecture": {"class": "SiglipModel", "vision": {"heads": HEADS}, "text": {"heads": TEXT_HEADS}},
            "preprocess": {"image_size": SIDE, "resize_mode": "pad_square_then_squash", "interpolation": "bilinear", "mean": [0.5] * 3}
            | {"std": [0.5] * 3, "antialias": True, "steps": ["zero padding to a square"]},
            "tokenizer": {"kind": "sentencepiece_unigram", "lowercase": True, "context_length": LENGTH},
            "scoring": {"kind": "sigmoid", "formula": "logits = exp(logit_scale)*cos + logit_bias"},
        },
        files=["checkpoint/model.safetensors"],
        pictures=len(images),
        texts=TEXTS,
        expected={
            "preprocessed": batch,
            "preprocessed_squash": squashed,
            "token_ids": ids,
            "image_embeddings": image,
            "image_embeddings_squash": plain,
            "text_embeddings": text,
            "logits": logits,
            "probabilities": logits.sigmoid(),
        },
        mistakes=[
            moved("erf gelu", "image_embeddings", image, _images(weights, batch, gelu)),
            moved("erf gelu", "text_embeddings", text, _texts(weights, ids, gelu)),
            moved("first token", "text_embeddings", text, _texts(weights, ids, tanh_gelu, position=0)),
            moved("no padding to square", "image_embeddings", image, plain),
            moved("other filter", "preprocessed", batch, _stacked(padded, InterpolationMode.BICUBIC)),
            moved("softmax", "probabilities", logits.sigmoid(), logits.softmax(dim=-1)),
        ],
    )


def write_files(folder: Path, **changes: dict[str, Any]) -> None:
    """Write configuration, processor and tokenizer as Hugging Face's folders have them; `changes` by the stems of their names."""
    tower = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": EPSILON, "num_hidden_layers": LAYERS}
    normalizers = [
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"Regex": f"[{MARKS}]"}, "content": ""},
        {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": table_of(CHARACTERS)}]},
    ]
    found: dict[str, dict[str, Any]] = {
        "config": {"model_type": "siglip"}
        | {"vision_config": tower | {"num_attention_heads": HEADS}, "text_config": tower | {"num_attention_heads": TEXT_HEADS}},
        "preprocessor_config": {"size": {"height": SIDE, "width": SIDE}, "resample": 2, "rescale_factor": 1 / 255}
        | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        "tokenizer_config": {"do_lower_case": True, "model_max_length": LENGTH, "eos_token": {"content": "</s>"}, "pad_token": "</s>"},
        "tokenizer": {"version": "1.0", "normalizer": {"type": "Sequence", "normalizers": normalizers}}
        | {"model": {"type": "Unigram", "unk_id": 2, "byte_fallback": True, "vocab": PIECES}},
    }
    for name, value in found.items():
        (folder / f"{name}.json").write_text(json.dumps(value | changes.get(name, {})), encoding="utf-8")


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names."""
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.patch_embedding.bias": (WIDTH,),
        "vision_model.embeddings.position_embedding.weight": ((SIDE // PATCH) ** 2, WIDTH),
        **norm("vision_model.post_layernorm", WIDTH),
        "vision_model.head.probe": (1, 1, WIDTH),
        "vision_model.head.attention.in_proj_weight": (3 * WIDTH, WIDTH),
        "vision_model.head.attention.in_proj_bias": (3 * WIDTH,),
        **layer_shapes("vision_model.head.attention.out_proj", WIDTH, WIDTH),
        **norm("vision_model.head.layernorm", WIDTH),
        **layer_shapes("vision_model.head.mlp.fc1", WIDTH, INNER),
        **layer_shapes("vision_model.head.mlp.fc2", INNER, WIDTH),
        "text_model.embeddings.token_embedding.weight": (len(PIECES), TEXT_WIDTH),
        "text_model.embeddings.position_embedding.weight": (LENGTH, TEXT_WIDTH),
        **norm("text_model.final_layer_norm", TEXT_WIDTH),
        **layer_shapes("text_model.head", TEXT_WIDTH, WIDTH),
    }
    for tower, width in (("vision_model", WIDTH), ("text_model", TEXT_WIDTH)):
        for layer in range(LAYERS):
            name = f"{tower}.encoder.layers.{layer}"
            shapes |= norm(f"{name}.layer_norm1", width) | norm(f"{name}.layer_norm2", width)
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= layer_shapes(f"{name}.self_attn.{part}", width, width)
            shapes |= layer_shapes(f"{name}.mlp.fc1", width, INNER) | layer_shapes(f"{name}.mlp.fc2", INNER, width)
    return drawn(shapes, seed) | {"logit_scale": torch.tensor([SCALE_LN]), "logit_bias": torch.tensor([BIAS])}


def tokens(texts: Sequence[str]) -> torch.Tensor:
    """Ids by the rules of SiglipTokenizer: cleaned, the likeliest pieces, the end, and the end again as padding."""
    return torch.tensor([(_pieces(text)[: LENGTH - 1] + [END] * LENGTH)[:LENGTH] for text in texts])


def table_of(characters: Mapping[str, str]) -> str:
    """A precompiled_charsmap: the length of a double-array trie, the trie, and the replacements, each with a zero at its end."""
    tree: dict[int, Any] = {}
    texts = b""
    for character, text in characters.items():
        place = tree
        for byte in character.encode():
            place = place.setdefault(byte, {})
        place[_LEAF], texts = len(texts), texts + text.encode() + b"\0"
    units = {0: 0}
    _lay(tree, 0, units)
    length = max(units) // 256 * 256 + 256
    trie = struct.pack(f"<{length}I", *(units.get(number, 0) for number in range(length)))
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + texts).decode()


def _lay(place: Mapping[int, Any], position: int, units: dict[int, int]) -> None:
    """Put the children of the unit at `position` into a block of 256 of their own."""
    block = (max(units) // 256 + 1) * 256
    units[block] = 0
    units[position] |= (position ^ block) << 10
    for byte, child in place.items():
        if byte == _LEAF:
            units[position] |= 1 << 8
            units[block] = child | 1 << 31
        else:
            units[block + byte] = byte
            _lay(child, block + byte, units)


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _pieces(text: str) -> list[int]:
    """The path of the largest sum; a letter without a piece costs ten more than the rarest one and becomes its bytes."""
    cleaned = text.lower().translate(str.maketrans("", "", string.punctuation)).replace(SPACE, " ")
    words = cleaned.translate(str.maketrans(CHARACTERS)).split()
    line = "".join(SPACE + word for word in words)
    numbers = {piece: number for number, (piece, _) in enumerate(PIECES)}
    rarest = min(score for _, score in PIECES) - 10
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(1, len(line) + 1):
        ways = []
        for start in range(max(0, end - 12), end):
            piece, (score, path) = line[start:end], best[start]
            if piece in numbers:
                ways.append((score + PIECES[numbers[piece]][1], [*path, numbers[piece]]))
            elif end - start == 1:
                ways.append((score + rarest, [*path, *(BYTES + byte for byte in piece.encode())]))
        best.append(max(ways))
    return best[-1][1]


def _padded(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image.convert("RGB"), ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _stacked(images: Sequence[Image.Image], interpolation: InterpolationMode) -> torch.Tensor:
    steps = [transforms.Resize((SIDE, SIDE), interpolation), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    return torch.stack([transforms.Compose(steps)(image.convert("RGB")) for image in images])


def _images(weights: Tensors, batch: torch.Tensor, activation: Activation) -> torch.Tensor:
    name = "vision_model.embeddings.patch_embedding"
    patches = functional.conv2d(batch, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=PATCH).flatten(2).transpose(1, 2)
    x = _blocks(patches + weights["vision_model.embeddings.position_embedding.weight"], weights, "vision_model", HEADS, activation)
    x = _norm(x, weights, "vision_model.post_layernorm")
    head = "vision_model.head"
    kernels, biases = (weights[f"{head}.attention.in_proj_{part}"].chunk(3) for part in ("weight", "bias"))
    probe = weights[f"{head}.probe"].expand(len(batch), 1, WIDTH)
    q, k, v = (functional.linear(one, kernel, bias) for one, kernel, bias in zip((probe, x, x), kernels, biases, strict=True))
    pooled = linear(_attended(q, k, v, HEADS), weights, f"{head}.attention.out_proj")
    inner = activation(linear(_norm(pooled, weights, f"{head}.layernorm"), weights, f"{head}.mlp.fc1"))
    return functional.normalize((pooled + linear(inner, weights, f"{head}.mlp.fc2"))[:, 0], dim=-1)


def _texts(weights: Tensors, ids: torch.Tensor, activation: Activation, position: int = -1) -> torch.Tensor:
    x = weights["text_model.embeddings.token_embedding.weight"][ids] + weights["text_model.embeddings.position_embedding.weight"]
    x = _norm(_blocks(x, weights, "text_model", TEXT_HEADS, activation), weights, "text_model.final_layer_norm")
    return functional.normalize(linear(x[:, position], weights, "text_model.head"), dim=-1)


def _blocks(x: torch.Tensor, weights: Tensors, tower: str, heads: int, activation: Activation) -> torch.Tensor:
    for layer in range(LAYERS):
        name = f"{tower}.encoder.layers.{layer}"
        before = _norm(x, weights, f"{name}.layer_norm1")
        q, k, v = (linear(before, weights, f"{name}.self_attn.{part}_proj") for part in "qkv")
        x = x + linear(_attended(q, k, v, heads), weights, f"{name}.self_attn.out_proj")
        inner = activation(linear(_norm(x, weights, f"{name}.layer_norm2"), weights, f"{name}.mlp.fc1"))
        x = x + linear(inner, weights, f"{name}.mlp.fc2")
    return x


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (q, k, v))
    shares = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return (shares @ v).transpose(1, 2).flatten(2)


def _norm(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)

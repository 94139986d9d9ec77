"""A small RET-CLIP of our own with reference outputs: two pairs of eyes, three heads, Chinese word pieces."""

import json
from pathlib import Path

import torch
from torch.nn import functional

from tests import golden_bert as bert
from tests.golden_fixtures import MEAN, STD, block, drawn, norm, pictures, shortest_transform, squash_transform
from tests.golden_reference import Tensors, gelu, linear, quick_gelu, vision_transformer

SIDE, PATCH, WIDTH, HEADS, DIMENSIONS, LENGTH = 32, 8, 24, 3, 12, 18
NAMES = ("patient", "left", "right")
SCALES_LN = {"logit_scale": 2.9, "logit_scale_left": 2.5, "logit_scale_right": 3.2}
PAIRS = ({"left": 0, "right": 1}, {"left": 2, "right": 0})
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", '"', ":", ",", "\uff0c", "\uff1f", "od", "dr", "##me", "0", ".", "8", "normal"),
    *"\u53cc\u773c\u7cd6\u5c3f\u75c5\u89c6\u7f51\u819c\u5de6\u53f3\u6b63\u5e38\u5e95\u672a\u89c1",
)
TEXTS = (
    "\u53cc\u773c\u7cd6\u5c3f\u75c5\u89c6\u7f51\u819c\u75c5",
    "\u5de6\u773c\u672a\u89c1\u5f02\u5e38\uff0cDRME",
    "\u201c\u7f51\u819c\u75c5\u201d\uff1fOD: 0.8",
    "Normal \u6b63\u5e38\u773c\u5e95\uff0c" * 8,
)


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names, without the prefix."""
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, DIMENSIONS),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        **norm("visual.ln_pre", WIDTH),
        **norm("visual.ln_post", WIDTH),
        **block("visual.transformer.resblocks.0", WIDTH),
        **block("visual.transformer.resblocks.1", WIDTH),
        **bert.shapes("bert.", len(WORDS), pooler=False),
        "global_feature_mapping.weight": (DIMENSIONS, 2 * DIMENSIONS),
        "left_feature_mapping.weight": (DIMENSIONS, DIMENSIONS),
        "right_feature_mapping.weight": (DIMENSIONS, DIMENSIONS),
    }
    for name in ("text_projection", "text_projection_left", "text_projection_right"):
        shapes |= bert.layer_shapes(f"{name}.0", bert.WIDTH, bert.WIDTH) | bert.layer_shapes(f"{name}.2", bert.WIDTH, DIMENSIONS)
    return drawn(shapes, seed) | {name: torch.tensor(value) for name, value in SCALES_LN.items()}


def write(folder: Path) -> None:
    """Write checkpoint, supplement, inputs and reference outputs into the folder."""
    weights = tensors(51)
    unused = drawn(bert.layer_shapes("bert.pooler.dense", bert.WIDTH, bert.WIDTH), 52)
    wrapped = {f"module.{name}": tensor for name, tensor in (weights | unused).items()}
    torch.save({"epoch": 1, "step": 2, "name": "small", "state_dict": wrapped, "optimizer": {"state": {}}}, folder / "ret-clip.pt")
    _write_supplement(folder / "supplement")
    images = pictures(folder)
    batch = torch.stack([squash_transform(image, SIDE) for image in images])
    ids, attended = _tokens(clean=True)
    raw, text = vision_transformer(weights, batch, HEADS, quick_gelu), _texts(weights, ids, attended)
    image, swapped = _images(weights, raw, swap=False), _images(weights, raw, swap=True)
    logits = {
        name: float(torch.tensor(scale).exp()) * image[name] @ text[name].T for name, scale in zip(NAMES, SCALES_LN.values(), strict=True)
    }
    bert.write_golden(
        folder,
        {
            "family": "F-retclip",
            "architecture": {
                "quick_gelu": True,
                "vision": {"type": "vit", "heads": HEADS},
                "text": bert.text_facts(),
            },
            "preprocess": {"image_size": SIDE, "resize_mode": "squash", "interpolation": "bicubic", "mean": MEAN, "std": STD}
            | {"antialias": True, "steps": []},
            "tokenizer": {"kind": "wordpiece_chinese", "lowercase": True, "context_length": LENGTH},
            "scoring": {"kind": "cosine_scaled_three_heads", "formula": "exp(logit_scale)*cos, each head with its own"},
        },
        files=["ret-clip.pt"],
        pictures=len(images),
        texts=TEXTS,
        inputs={"pairs": PAIRS},
        expected={
            "preprocessed": batch,
            "token_ids": ids,
            "raw_visual_features": raw,
            **{f"image_embeddings_{name}": rows for name, rows in image.items()},
            **{f"text_embeddings_{name}": rows for name, rows in text.items()},
            **{f"logits_{name}": rows for name, rows in logits.items()},
        },
        mistakes=[
            bert.moved("eyes swapped", "image_embeddings_patient", image["patient"], swapped["patient"]),
            bert.moved("eyes swapped", "image_embeddings_left", image["left"], swapped["left"]),
            bert.moved("wrong gelu", "raw_visual_features", raw, vision_transformer(weights, batch, HEADS, gelu)),
            bert.moved("patient text head for left", "text_embeddings_left", text["left"], text["patient"]),
            bert.moved("shortest+crop", "preprocessed", batch, torch.stack([shortest_transform(one, SIDE) for one in images])),
            bert.moved("no quote clean-up", "token_ids", ids, _tokens(clean=False)[0]),
            bert.moved("no mask", "text_embeddings_patient", text["patient"], _texts(weights, ids, torch.ones_like(ids))["patient"]),
        ],
    )


def _write_supplement(folder: Path) -> None:
    """The vocabulary with the line ends of the publisher's file, and model configurations of which one fits."""
    bert.write_words(folder / "vocab.txt", WORDS, "\r\n")
    (folder / "model_configs").mkdir(exist_ok=True)
    small = {
        f"text_{name}": value
        for name, value in bert.hugging_face_config(len(WORDS)).items()
        if name not in {"vocab_size", "layer_norm_eps"}
    }
    for name, changes in (("RoBERTa-small", {}), ("RoBERTa-large", {"text_hidden_size": 1024, "text_num_attention_heads": 16})):
        (folder / "model_configs" / f"{name}.json").write_text(json.dumps({"vocab_size": len(WORDS)} | small | changes))
    (folder / "model_configs" / "ViT.json").write_text(json.dumps({"embed_dim": DIMENSIONS, "vision_layers": 2}))


def _tokens(*, clean: bool) -> tuple[torch.Tensor, torch.Tensor]:
    cleaned = [text.lower().replace("\u201c", '"').replace("\u201d", '"') if clean else text for text in TEXTS]
    return bert.tokens(cleaned, WORDS, LENGTH)


def _images(weights: Tensors, raw: torch.Tensor, *, swap: bool) -> dict[str, torch.Tensor]:
    left, right = (raw[[pair[view] for pair in PAIRS]] for view in (("right", "left") if swap else ("left", "right")))
    found = (
        torch.cat([left, right], dim=1) @ weights["global_feature_mapping.weight"].T,
        left @ weights["left_feature_mapping.weight"].T,
        right @ weights["right_feature_mapping.weight"].T,
    )
    return {name: functional.normalize(rows, dim=-1) for name, rows in zip(NAMES, found, strict=True)}


def _texts(weights: Tensors, ids: torch.Tensor, attended: torch.Tensor) -> dict[str, torch.Tensor]:
    start = bert.states(weights, "bert.", ids, attended)[:, 0]
    layers = ("text_projection", "text_projection_left", "text_projection_right")
    inner = (torch.relu(linear(start, weights, f"{name}.0")) for name in layers)
    found = (linear(rows, weights, f"{name}.2") for name, rows in zip(layers, inner, strict=True))
    return {name: functional.normalize(rows, dim=-1) for name, rows in zip(NAMES, found, strict=True)}

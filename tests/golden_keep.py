"""A small KEEP of our own with reference outputs."""

import json
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from tests import golden_bert as bert
from tests.golden_fixtures import MEAN, SCALE_LN, STD, drawn, norm, pictures
from tests.golden_reference import Tensors, gelu, linear

SIDE, PATCH, WIDTH, HEADS, LAYERS, EPSILON, LENGTH = 32, 8, 24, 3, 2, 1e-6, 20
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEXTS = ("an H&E image of normal tissue.", "an H&E image of Tumor.", "tumors in the tissue, " * 20)


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "visual.cls_token": (1, 1, WIDTH),
        "visual.pos_embed": (1, (SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "visual.patch_embed.proj.bias": (WIDTH,),
        **norm("visual.norm", WIDTH),
        **bert.layer_shapes("visual_head.0", WIDTH, bert.WIDTH),
        **bert.layer_shapes("visual_head.2", bert.WIDTH, bert.WIDTH),
        **bert.shapes("text.", len(bert.WORDS), pooler=True),
    }
    for layer in range(LAYERS):
        name = f"visual.blocks.{layer}"
        shapes |= (
            norm(f"{name}.norm1", WIDTH) | norm(f"{name}.norm2", WIDTH) | {f"{name}.ls1.gamma": (WIDTH,), f"{name}.ls2.gamma": (WIDTH,)}
        )
        shapes |= bert.layer_shapes(f"{name}.attn.qkv", WIDTH, 3 * WIDTH) | bert.layer_shapes(f"{name}.attn.proj", WIDTH, WIDTH)
        shapes |= bert.layer_shapes(f"{name}.mlp.fc1", WIDTH, 4 * WIDTH) | bert.layer_shapes(f"{name}.mlp.fc2", 4 * WIDTH, WIDTH)
    return drawn(shapes, seed)


def write(folder: Path) -> None:
    """Write checkpoint, inputs and reference outputs into the folder."""
    weights, inner = tensors(41), folder / "checkpoint"
    inner.mkdir(exist_ok=True)
    torch.save(weights, inner / "pytorch_model.bin")
    bert.write_words(inner / "vocab.txt", bert.WORDS)
    config = {"model_type": "keep", "projection_dim": bert.WIDTH, "vision_config": None}
    (inner / "config.json").write_text(json.dumps(config | {"text_config": bert.hugging_face_config(len(bert.WORDS))}))
    images = pictures(folder)
    shorter = transforms.Resize(SIDE, InterpolationMode.BICUBIC)
    batch, clips = (_stacked(images, shorter, *normal) for normal in ((IMAGENET_MEAN, IMAGENET_STD), (MEAN, STD)))
    ids, attended = bert.tokens(TEXTS, bert.WORDS, LENGTH)
    image, text = _images(weights, batch), _texts(weights, ids, attended)
    whole = {name: torch.ones_like(tensor) if name.endswith(".gamma") else tensor for name, tensor in weights.items()}
    squash = transforms.Resize((SIDE, SIDE), InterpolationMode.BICUBIC)
    bilinear = transforms.Resize(SIDE, InterpolationMode.BILINEAR)
    bert.write_golden(
        folder,
        {
            "family": "H-keep",
            "architecture": {
                "vision": {"type": "timm", "heads": HEADS, "layer_norm_eps": EPSILON},
                "text": bert.text_facts(),
            },
            "preprocess": {"image_size": SIDE, "resize_mode": "shortest", "interpolation": "bicubic", "mean": IMAGENET_MEAN}
            | {"std": IMAGENET_STD, "antialias": True, "steps": ["centre crop (offset int(round((side-image_size)/2)))"]},
            "tokenizer": {"kind": "wordpiece", "lowercase": True, "context_length": LENGTH},
            "scoring": {"kind": "cosine", "formula": "cosine = image . text; logits = exp(logit_scale)*cosine"},
        },
        files=["checkpoint/pytorch_model.bin"],
        pictures=len(images),
        texts=TEXTS,
        expected={
            "preprocessed": batch,
            "token_ids": ids,
            "image_embeddings": image,
            "text_embeddings": text,
            "cosine": image @ text.T,
            "logits": float(torch.tensor(SCALE_LN).exp()) * image @ text.T,
        },
        mistakes=[
            bert.moved("squash", "preprocessed", batch, _stacked(images, squash, IMAGENET_MEAN, IMAGENET_STD)),
            bert.moved("bilinear", "preprocessed", batch, _stacked(images, bilinear, IMAGENET_MEAN, IMAGENET_STD)),
            bert.moved("CLS instead of pooler", "text_embeddings", text, _starts(weights, ids, attended)),
            bert.moved("CLIP mean/std", "image_embeddings", image, _images(weights, clips)),
            bert.moved("no mask", "text_embeddings", text, _texts(weights, ids, torch.ones_like(attended))),
            bert.moved("LayerScale dropped", "image_embeddings", image, _images(whole, batch)),
        ],
    )


def _stacked(images: list[Image.Image], resize: transforms.Resize, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    steps = transforms.Compose([resize, transforms.CenterCrop(SIDE), transforms.ToTensor(), transforms.Normalize(mean, std)])
    return torch.stack([steps(image.convert("RGB")) for image in images])


def _images(weights: Tensors, batch: torch.Tensor) -> torch.Tensor:
    kernel, bias = weights["visual.patch_embed.proj.weight"], weights["visual.patch_embed.proj.bias"]
    patches = functional.conv2d(batch, kernel, bias, stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([weights["visual.cls_token"].expand(len(batch), 1, WIDTH), patches], dim=1) + weights["visual.pos_embed"]
    for layer in range(LAYERS):
        name = f"visual.blocks.{layer}"
        x = x + weights[f"{name}.ls1.gamma"] * _attention(_norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn")
        inner = gelu(linear(_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1"))
        x = x + weights[f"{name}.ls2.gamma"] * linear(inner, weights, f"{name}.mlp.fc2")
    start = _norm(x, weights, "visual.norm")[:, 0]
    return functional.normalize(linear(gelu(linear(start, weights, "visual_head.0")), weights, "visual_head.2"), dim=-1)


def _attention(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    number, length, width = x.shape
    q, k, v = linear(x, weights, f"{name}.qkv").reshape(number, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
    shares = torch.softmax(q @ k.transpose(-1, -2) / (width // HEADS) ** 0.5, dim=-1)
    return linear((shares @ v).transpose(1, 2).reshape(number, length, width), weights, f"{name}.proj")


def _norm(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)


def _texts(weights: Tensors, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    start = bert.states(weights, "text.", ids, attended)[:, 0]
    return functional.normalize(torch.tanh(linear(start, weights, "text.pooler.dense")), dim=-1)


def _starts(weights: Tensors, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    return functional.normalize(bert.states(weights, "text.", ids, attended)[:, 0], dim=-1)

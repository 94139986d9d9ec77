"""A small UniMed-CLIP of our own with reference outputs."""

import json
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from tests import golden_bert as bert
from tests.golden_fixtures import MEAN, SCALE_LN, STD, block, drawn, norm, pictures, shortest_transform, squash_transform
from tests.golden_reference import Activation, Tensors, gelu, quick_gelu, vision_transformer

SIDE, PATCH, WIDTH, HEADS, DIMENSIONS, INSIDE, LENGTH = 32, 8, 24, 3, 12, 14, 20
TEXTS = ("CT scan showing the liver.", "a chest  X-ray &amp; no effusions", "normal tissue, " * 20)
CLASSES = {"normal": ("normal chest x-ray", "no effusion"), "effusion": ("a pleural effusion", "an image of effusions", "effusional")}


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, DIMENSIONS),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        **norm("visual.ln_pre", WIDTH),
        **norm("visual.ln_post", WIDTH),
        **block("visual.transformer.resblocks.0", WIDTH),
        **block("visual.transformer.resblocks.1", WIDTH),
        **bert.shapes("text_encoder.transformer.", len(bert.WORDS), pooler=False),
        "text_encoder.proj.0.weight": (INSIDE, bert.WIDTH),
        "text_encoder.proj.2.weight": (DIMENSIONS, INSIDE),
    }
    return drawn(shapes, seed)


def write(folder: Path) -> None:
    """Write checkpoint, supplement, inputs and reference outputs into the folder."""
    weights = tensors(31)
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    wrapped["module.text_encoder.transformer.embeddings.position_ids"] = torch.arange(bert.POSITIONS)[None]
    torch.save({"epoch": 1, "name": "small", "state_dict": wrapped, "optimizer": {"state": {}}, "scaler": {}}, folder / "small-b8.pt")
    _write_supplement(folder / "supplement")
    images = pictures(folder)
    batch = torch.stack([shortest_transform(image, SIDE) for image in images])
    ids, attended = bert.tokens([_cleaned(text) for text in TEXTS], bert.WORDS, LENGTH)
    image, text = _images(weights, batch, quick_gelu), _texts(weights, ids, attended)
    vectors = [_texts(weights, *bert.tokens(texts, bert.WORDS, LENGTH)) for texts in CLASSES.values()]
    classes = functional.normalize(torch.stack([rows.mean(dim=0) for rows in vectors]), dim=-1)
    factor = float(torch.tensor(SCALE_LN).exp())
    logits, class_logits = factor * image @ text.T, factor * image @ classes.T
    bilinear = transforms.Compose([transforms.Resize(SIDE, InterpolationMode.BILINEAR), transforms.CenterCrop(SIDE), _colour, _normal()])
    bert.write_golden(
        folder,
        {
            "family": "E'-unimed",
            "architecture": {
                "quick_gelu": True,
                "vision": {"type": "vit", "heads": HEADS},
                "text": bert.text_facts(),
            },
            "preprocess": {"image_size": SIDE, "resize_mode": "shortest", "interpolation": "bicubic", "mean": MEAN, "std": STD}
            | {"antialias": True, "steps": ["centre crop (offset int(round((side-image_size)/2)))"]},
            "tokenizer": {"kind": "wordpiece", "lowercase": True, "context_length": LENGTH},
            "scoring": {"kind": "softmax", "formula": "logits = exp(logit_scale)*cos"},
        },
        files=["small-b8.pt"],
        pictures=len(images),
        texts=TEXTS,
        inputs={"class_prompts": CLASSES},
        expected={
            "preprocessed": batch,
            "token_ids": ids,
            "image_embeddings": image,
            "text_embeddings": text,
            "logits": logits,
            "probabilities": logits.softmax(dim=-1),
            "class_embeddings": classes,
            "class_logits": class_logits,
            "class_probabilities": class_logits.softmax(dim=-1),
        },
        mistakes=[
            bert.moved("squash", "preprocessed", batch, torch.stack([squash_transform(one, SIDE) for one in images])),
            bert.moved("bilinear", "preprocessed", batch, torch.stack([bilinear(one) for one in images])),
            bert.moved("wrong gelu", "image_embeddings", image, _images(weights, batch, gelu)),
            bert.moved("no mask", "text_embeddings", text, _texts(weights, ids, torch.ones_like(attended))),
        ],
    )


def _write_supplement(folder: Path) -> None:
    bert.write_words(folder / "text_backbone" / "vocab.txt", bert.WORDS)
    (folder / "text_backbone" / "config.json").write_text(json.dumps(bert.hugging_face_config(len(bert.WORDS))))
    (folder / "text_backbone" / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    vision = {"image_size": SIDE, "layers": 2, "width": WIDTH, "patch_size": PATCH}
    (folder / "model_config.json").write_text(json.dumps({"embed_dim": DIMENSIONS, "quick_gelu": True, "vision_cfg": vision}))


def _images(weights: Tensors, batch: torch.Tensor, activation: Activation) -> torch.Tensor:
    return functional.normalize(vision_transformer(weights, batch, HEADS, activation), dim=-1)


def _texts(weights: Tensors, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    start = bert.states(weights, "text_encoder.transformer.", ids, attended)[:, 0]
    inner = gelu(start @ weights["text_encoder.proj.0.weight"].T)
    return functional.normalize(inner @ weights["text_encoder.proj.2.weight"].T, dim=-1)


def _cleaned(text: str) -> str:
    return " ".join(text.replace("&amp;", "&").split())


def _colour(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _normal() -> transforms.Compose:
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

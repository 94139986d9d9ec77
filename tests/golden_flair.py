"""A small FLAIR of our own with reference outputs: a ResNet, clinical BERT, texts of a group padded together, a clamped scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torchvision import transforms

from tests import golden_clinical as clinical
from tests.golden_bert import moved, text_facts, write_golden
from tests.golden_clinical import Pooling
from tests.golden_fixtures import drawn, pictures
from tests.golden_reference import Tensors

SIDE, CAPTION = 64, "A fundus photograph of [CLS]"
CLASSES = ("normal", "macular edema", "Glaucoma")
DESCRIPTIONS = {"glaucoma": ["optic disc is enlarged", "glaucoma", "no normal disc"], "normal": ["no findings", "normal"]}
IMAGE_PROJECTION = "vision_model.projection_head_vision.projection"
TEXT_PROJECTION = "text_model.projection_head_text.projection"


def write(folder: Path) -> None:
    """Write checkpoint, supplement, inputs and reference outputs into the folder."""
    weights = tensors(61)
    torch.save(weights | {"text_model.model.embeddings.position_ids": torch.arange(24)[None]}, folder / "flair_resnet.pth")
    clinical.write_supplement(folder)
    images = pictures(folder)
    batch, blocky = (torch.stack([_preprocessed(image, antialias=antialias) for image in images]) for antialias in (True, False))
    texts = [CAPTION.replace("[CLS]", name) for name in CLASSES]
    ids, attended = clinical.tokens(texts)
    image, text = _images(weights, batch), _texts(weights, texts)
    alone = torch.cat([_texts(weights, [one]) for one in texts])
    means = torch.stack([_texts(weights, [CAPTION.replace("[CLS]", one) for one in group]).mean(dim=0) for group in DESCRIPTIONS.values()])
    factor, unclamped = (float(torch.tensor(ln).exp()) for ln in (clinical.HIGHEST_LN, clinical.SCALE_LN))
    logits, class_logits = factor * image @ text.T, factor * image @ means.T
    cased, _ = clinical.tokens(texts, lower_case=False)
    write_golden(
        folder,
        {
            "family": "G-flair",
            "architecture": {"class": "FLAIR", "text": text_facts()},
            "preprocess": {
                "image_size": SIDE,
                "resize_mode": "longest_side_then_pad_right_bottom",
                "interpolation": "bilinear (float tensor)",
            }
            | {"antialias": True, "mean": [0] * 3, "std": [1] * 3, "steps": []},
            "tokenizer": {"kind": "wordpiece", "lowercase": True, "context_length": 24},
            "scoring": {
                "kind": "softmax",
                "caption": CAPTION,
                "formula": "exp(clamp(logit_scale, 0, 4.6052)) * image . text",
                "clamped": True,
            },
        },
        files=["flair_resnet.pth"],
        pictures=len(images),
        texts=texts,
        expected={
            "preprocessed": batch,
            "token_ids": ids,
            "attention_mask": attended,
            "image_embeddings": image,
            "text_embeddings": text,
            "text_embeddings_single": alone,
            "logits": logits,
            "probabilities": logits.softmax(dim=-1),
            "class_embeddings": means,
            "class_logits": class_logits,
        },
        mistakes=[
            moved("class renormalised", "class_logits", class_logits, factor * image @ functional.normalize(means, dim=-1).T),
            moved("no antialias", "preprocessed", batch, blocky),
            moved("masked mean", "text_embeddings", text, _texts(weights, texts, "masked")),
            moved("last hidden only", "text_embeddings", text, _texts(weights, texts, "last state")),
            moved("no padding", "text_embeddings", text, alone),
            clinical.renumbered("cased", ids, cased),
            moved("scale not clamped", "logits", logits, unclamped * image @ text.T),
        ],
        inputs={"classes": CLASSES, "class_descriptions": DESCRIPTIONS},
        axes={"class_embeddings": "class of class_descriptions,dim (mean, not normalised)"},
    )


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names."""
    shapes = clinical.resnet_shapes("vision_model.model.") | clinical.text_shapes("projection_head_text.projection")
    drawn_tensors = drawn(shapes | {f"{IMAGE_PROJECTION}.weight": (clinical.DIMENSIONS, 2048)}, seed)
    return drawn_tensors | {"logit_scale": torch.tensor(clinical.SCALE_LN)}


def _preprocessed(image: Image.Image, *, antialias: bool) -> torch.Tensor:
    """FLAIRModel.preprocess_image, with torchvision's Resize as there."""
    levels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)[None]
    scale = max(levels.shape[-2:]) / SIDE
    rows, columns = (int(side / scale) for side in levels.shape[-2:])
    resized = transforms.Resize((rows, columns), antialias=antialias)(levels)
    return functional.pad(resized, (0, SIDE - columns, 0, SIDE - rows, 0, 0))[0]


def _images(weights: Tensors, batch: torch.Tensor) -> torch.Tensor:
    features = functional.normalize(clinical.resnet(weights, "vision_model.model.", batch), dim=-1)
    return clinical.projected(features, weights, IMAGE_PROJECTION)


def _texts(weights: Tensors, texts: Sequence[str], pooling: Pooling = "published") -> torch.Tensor:
    features = clinical.text_features(weights, *clinical.tokens(texts), pooling)
    return clinical.projected(functional.normalize(features, dim=-1), weights, TEXT_PROJECTION)

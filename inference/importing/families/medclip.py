"""MedCLIP as published: one pytorch_model.bin with the names of 2022; the files of Bio_ClinicalBERT and Swin come from elsewhere."""

from collections.abc import Mapping
from math import isqrt
from typing import TYPE_CHECKING

from inference.adapters.shapes import blocks
from inference.adapters.swin_names import published_name
from inference.golden import Golden
from inference.importing import bert
from inference.importing.clinical_text import NEEDED, PREFIX, configuration, text_tower, tokenizer
from inference.importing.families.hf_clip import activation
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts

if TYPE_CHECKING:
    import torch

GOLDEN_FAMILIES = ("G-medclip",)

_CODE = "RyanWangZf/MedCLIP"
_TEXT_PROJECTION = "text_model.projection_head.weight"
_IMAGE = "vision_model.model."
_TABLE = "blocks.0.attention.self.relative_position_bias_table"
_MEAN, _STD = 0.5862785803043838, 0.27950088968644304
_SWIN_DEFAULTS: Mapping[str, Json] = {"hidden_act": "gelu", "layer_norm_eps": 1e-5}  # of transformers' SwinConfig
_CLAMPED: Json = {"kind": "clamped", "lowest_ln": 0.0, "highest_ln": 4.6052}


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """The name of the text projection, over a BERT and an image tower of this prefix, is found nowhere else."""
    del published
    names = checkpoint.tensors
    return (
        _TEXT_PROJECTION in names
        and f"{PREFIX}embeddings.word_embeddings.weight" in names
        and any(name.startswith(_IMAGE) for name in names)
    )


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names are those of 2022; BERT's pooler and what networks compute by themselves are dropped."""
    tensors = {published_name(name): tensor for name, tensor in checkpoint.tensors.items()}
    text = bert.shapes(checkpoint, PREFIX)
    if _TEXT_PROJECTION not in tensors:
        raise ImportRefusedError(f"{checkpoint.name} is no MedCLIP: {_TEXT_PROJECTION} is missing; check --family")
    unused = {**bert.unused(checkpoint, PREFIX, pooler=False)}
    unused |= {name: "numbers of positions, which the network computes" for name in tensors if name.endswith(".relative_position_index")}
    kind, image = _image_tower(tensors, published, checkpoint.name)
    return Conversion(
        tensors={name: tensor for name, tensor in tensors.items() if name not in unused},
        dropped=unused,
        files={bert.VOCABULARY: bert.vocabulary(published, NEEDED)},
        facts=(
            *facts("architecture", f"medclip/modeling_medclip.py of {_CODE}", family="medclip", logit_scale=_CLAMPED),
            *image,
            *text_tower(checkpoint, published),
            *facts("preprocessing", f"medclip/dataset.py of {_CODE}", resize_mode="grey-square", interpolation="bicubic"),
            *facts("preprocessing", f"medclip/constants.py of {_CODE}", image_size=224, mean=[_MEAN] * 3, std=[_STD] * 3),
            *tokenizer(f"medclip/dataset.py of {_CODE}"),
        ),
        inferred={"image tower": kind, "text tower": bert.described(text), "dimensions": str(tensors[_TEXT_PROJECTION].shape[0])},
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """The text tower's heads, activation and epsilon; the image tower's stand in its config.json."""
    return {"text": bert.golden_section(golden.architecture["text"])}


def _image_tower(tensors: "Mapping[str, torch.Tensor]", published: Published, file: str) -> tuple[str, tuple[Fact, ...]]:
    """The image tower in words, and what the tensors and, for a Swin, its config.json state of it."""
    if f"{_IMAGE}layer1.0.conv3.weight" in tensors:
        return "ResNet of bottlenecks", facts("architecture", "tensors", image={"kind": "resnet"})
    try:
        shapes = _shapes(tensors)
    except (KeyError, IndexError) as exc:
        raise ImportRefusedError(f"{file} has neither a Swin nor a ResNet-50 as image tower: {exc} is missing; check --family") from exc
    words = ", ".join(f"{name} {value}" for name, value in shapes.items())
    found = configuration(published, "swin")
    if found is None:
        return f"Swin, {words}", facts("architecture", "tensors", image={"kind": "swin"})
    path, told = found
    for field, value in shapes.items():
        if field in told and told[field] != value:
            raise ImportRefusedError(
                f"{path} says {field} {told[field]}, the tensors {_IMAGE}* in {file} have {value};"
                " give the configuration of this image tower"
            )
    image = {**_SWIN_DEFAULTS, **{name: told[name] for name in _SWIN_DEFAULTS if name in told}}
    section: Json = {
        "kind": "swin",
        "activation": activation(image["hidden_act"], f"{path}: hidden_act"),
        "layer_norm_eps": image["layer_norm_eps"],
    }
    return f"Swin, {words}", facts("architecture", path.name, image=section)


def _shapes(tensors: "Mapping[str, torch.Tensor]") -> Mapping[str, Json]:
    """What the tensors of a Swin reveal, by the names of its configuration."""
    kernel = tensors[f"{_IMAGE}embeddings.patch_embeddings.projection.weight"].shape
    stages = [f"{_IMAGE}encoder.layers.{number}." for number in range(blocks(tensors, f"{_IMAGE}encoder.layers."))]
    tables = [tensors[f"{stage}{_TABLE}"].shape for stage in stages]
    return {
        "embed_dim": kernel[0],
        "patch_size": kernel[-1],
        "depths": [blocks(tensors, f"{stage}blocks.") for stage in stages],
        "num_heads": [table[1] for table in tables],
        "window_size": (isqrt(tables[0][0]) + 1) // 2,
    }

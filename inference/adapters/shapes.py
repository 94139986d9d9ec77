"""What tensors reveal of CLIP's towers and of transformers in general: shapes only, so that reading them needs no model library."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch

Tensors = Mapping[str, torch.Tensor]

_RESNET_REDUCTION = 32  # side of the image over side of the attention pool's grid
_RESNET_WIDENING = 32  # channels of the last stage over those of the first


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTower:
    """A ViT, or a ModifiedResNet with its four stages as `layers`. Sides in pixels; field names are those of open_clip's CLIPVisionCfg."""

    layers: int | tuple[int, ...]
    width: int
    head_width: int
    image_size: int
    mlp_ratio: float = 4.0
    patch_size: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTower:
    """A causal transformer; field names are those of open_clip's CLIPTextCfg."""

    context_length: int
    vocab_size: int
    width: int
    heads: int
    layers: int
    mlp_ratio: float


def image_tower(tensors: Tensors, heads: int) -> ImageTower:
    """Return what the tensors reveal of the image tower.

    Raises:
        KeyError, ValueError: they are none, or the heads do not divide its width.
    """
    if "visual.layer1.0.conv1.weight" in tensors:
        return _resnet(tensors, heads)
    width, _, patch_size, _ = tensors["visual.conv1.weight"].shape
    return ImageTower(
        layers=blocks(tensors, "visual.transformer.resblocks."),
        width=width,
        head_width=divided(width, heads, "image_heads"),
        mlp_ratio=tensors["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
        patch_size=patch_size,
        image_size=patch_size * isqrt(tensors["visual.positional_embedding"].shape[0] - 1),
    )


def _resnet(tensors: Tensors, heads: int) -> ImageTower:
    width = tensors["visual.layer1.0.conv1.weight"].shape[0]
    stages = tuple(blocks(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
    grid = isqrt(tensors["visual.attnpool.positional_embedding"].shape[0] - 1)
    return ImageTower(
        layers=stages,
        width=width,
        head_width=divided(width * _RESNET_WIDENING, heads, "image_heads"),
        image_size=grid * _RESNET_REDUCTION,
    )


def text_tower(tensors: Tensors, heads: int) -> TextTower:
    """Return what the tensors reveal of the text tower.

    Raises:
        KeyError, ValueError: they are none, or the heads do not divide its width.
    """
    vocabulary_size, width = tensors["token_embedding.weight"].shape
    divided(width, heads, "text_heads")
    return TextTower(
        context_length=tensors["positional_embedding"].shape[0],
        vocab_size=vocabulary_size,
        width=width,
        heads=heads,
        layers=blocks(tensors, "transformer.resblocks."),
        mlp_ratio=tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
    )


def blocks(tensors: Tensors, prefix: str) -> int:
    """Return how many numbered blocks have names that begin with `prefix`.

    Raises:
        KeyError: there is none.
    """
    numbers = {int(found[1]) for name in tensors if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", name))}
    if not numbers:
        raise KeyError(f"{prefix}0")
    return max(numbers) + 1


def divided(width: int, heads: int, field: str) -> int:
    """Return the width of one attention head.

    Raises:
        ValueError: the heads do not divide the width.
    """
    if width % heads:
        raise ValueError(f"architecture.{field} is {heads}, which does not divide the width {width}")
    return width // heads

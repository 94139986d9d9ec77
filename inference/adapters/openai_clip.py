"""OpenAI's CLIP, ViT and ModifiedResNet (also CheXzero, PubMedCLIP, MONET, EyeCLIP), as open_clip's `CLIP` builds it.

The architecture is read from the tensors; heads and activation, which they do not reveal, from the manifest.
"""

import re
from collections.abc import Mapping
from math import isqrt

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from config.architecture import OpenAiClip
from inference.adapters import ModelAdapter
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder

Tensors = Mapping[str, torch.Tensor]

_RESNET_REDUCTION = 32  # side of the image over side of the attention pool's grid
_RESNET_WIDENING = 32  # channels of the last stage over those of the first


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no OpenAI CLIP, or contradict the manifest.
    """
    facts = checkpoint.manifest.architecture
    assert isinstance(facts, OpenAiClip)
    tensors = checkpoint.tensors()
    try:
        image, text, dimensions = image_tower(tensors, facts.image_heads), text_tower(tensors, facts.text_heads), tensors["text_projection"]
    except (KeyError, ValueError) as exc:
        raise checkpoint.error(f"{checkpoint.manifest.weights.file} is no OpenAI CLIP ({exc}); check architecture.family") from exc
    where = checkpoint.manifest.weights.file
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, image.image_size, where)
    checkpoint.agree("tokenizer.context_length", checkpoint.manifest.tokenizer.context_length, text.context_length, where)
    network = CLIP(dimensions.shape[1], image, text, quick_gelu=facts.quick_gelu)
    load_strictly(network, tensors, checkpoint, device)
    return DualEncoder(
        checkpoint,
        device,
        encode_images=network.encode_image,
        encode_texts=lambda ids, _: network.encode_text(ids),
        logit_scale_ln=tensors["logit_scale"],
    )


def image_tower(tensors: Tensors, heads: int) -> CLIPVisionCfg:
    """Return what the tensors reveal of the image tower.

    Raises:
        KeyError, ValueError: they are none, or the heads do not divide its width.
    """
    if "visual.layer1.0.conv1.weight" in tensors:
        return _resnet(tensors, heads)
    width, _, patch_size, _ = tensors["visual.conv1.weight"].shape
    return CLIPVisionCfg(
        layers=blocks(tensors, "visual.transformer.resblocks."),
        width=width,
        head_width=divided(width, heads, "image_heads"),
        mlp_ratio=tensors["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
        patch_size=patch_size,
        image_size=patch_size * isqrt(tensors["visual.positional_embedding"].shape[0] - 1),
    )


def _resnet(tensors: Tensors, heads: int) -> CLIPVisionCfg:
    width = tensors["visual.layer1.0.conv1.weight"].shape[0]
    stages = tuple(blocks(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
    grid = isqrt(tensors["visual.attnpool.positional_embedding"].shape[0] - 1)
    return CLIPVisionCfg(
        layers=stages,  # type: ignore[arg-type]  # open_clip takes four numbers for a ResNet and says int
        width=width,
        head_width=divided(width * _RESNET_WIDENING, heads, "image_heads"),
        image_size=grid * _RESNET_REDUCTION,
    )


def text_tower(tensors: Tensors, heads: int) -> CLIPTextCfg:
    """Return what the tensors reveal of the text tower.

    Raises:
        KeyError, ValueError: they are none, or the heads do not divide its width.
    """
    vocabulary_size, width = tensors["token_embedding.weight"].shape
    divided(width, heads, "text_heads")
    return CLIPTextCfg(
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

"""KEEP: timm's ViT with LayerScale and an MLP, and transformers' BERT with its pooler, whose width is that of the embedding."""

from functools import partial
from math import isqrt
from typing import cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from config.architecture import Keep
from inference.adapters import ModelAdapter
from inference.adapters.bert import Tensors, bert, check_tokenizer
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.shapes import blocks, divided

_ANY_INITIAL_VALUE = 1.0  # any number gives the network LayerScale; the weights replace it


class Network(nn.Module):
    """Both towers, not loaded yet."""

    def __init__(self, tensors: Tensors, facts: Keep) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no KEEP."""
        super().__init__()
        self.visual = image_tower(tensors, facts)
        self.text = bert(tensors, "text.", facts.text, pooler=True)
        width, dimensions = self.visual.embed_dim, self.text.config.hidden_size
        self.visual_head = nn.Sequential(nn.Linear(width, dimensions), nn.GELU(), nn.Linear(dimensions, dimensions))
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.visual_head(self.visual(batch)))

    def encode_texts(self, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.text(input_ids=ids, attention_mask=attended).pooler_output)


def image_tower(tensors: Tensors, facts: Keep) -> VisionTransformer:
    """Return the ViT whose tensors have names that begin with "visual.", not loaded yet.

    Raises:
        KeyError, ValueError, IndexError: the tensors are no ViT of timm's, or the heads do not divide its width.
    """
    width, _, patch_size, _ = tensors["visual.patch_embed.proj.weight"].shape
    divided(width, facts.image_heads, "image_heads")
    return VisionTransformer(
        img_size=patch_size * isqrt(tensors["visual.pos_embed"].shape[1] - 1),
        patch_size=patch_size,
        embed_dim=width,
        depth=blocks(tensors, "visual.blocks."),
        num_heads=facts.image_heads,
        mlp_ratio=tensors["visual.blocks.0.mlp.fc1.weight"].shape[0] / width,
        init_values=_ANY_INITIAL_VALUE,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=facts.image_layer_norm_eps),
    )


def network(checkpoint: Checkpoint, device: str) -> Network:
    """Return the loaded network on `device`.

    Raises:
        ModelLoadError: the tensors are no KEEP, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, Keep)
    where = checkpoint.manifest.weights.file
    try:
        built = Network(tensors, facts)
    except (KeyError, ValueError, IndexError) as exc:
        raise checkpoint.error(f"{where} is no KEEP, or architecture does not fit it ({exc}); check architecture") from exc
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, built.visual.patch_embed.img_size[0], where)
    check_tokenizer(checkpoint, built.text)
    load_strictly(built, tensors, checkpoint, device)
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no KEEP, or contradict the manifest.
    """
    loaded = network(checkpoint, device)
    return DualEncoder(
        checkpoint, device, encode_images=loaded.encode_images, encode_texts=loaded.encode_texts, logit_scale_ln=loaded.logit_scale.cpu()
    )

"""OpenAI's ViT alone, as open_clip builds it, for families that put another text tower beside it."""

from collections.abc import Mapping

import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from inference.adapters.shapes import image_tower


def vision_transformer(tensors: Mapping[str, torch.Tensor], heads: int, *, quick_gelu: bool) -> VisionTransformer:
    """Return the network whose tensors have names that begin with "visual.", not loaded yet.

    Raises:
        KeyError, ValueError, IndexError: the tensors are no ViT, or the heads do not divide its width.
    """
    tower = image_tower(tensors, heads)
    if not isinstance(tower.layers, int) or not isinstance(tower.image_size, int):
        raise ValueError("its image tower is a ResNet; only the ViT of this family is known")  # noqa: TRY004 - of tensors, not of types
    return VisionTransformer(
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        width=tower.width,
        layers=tower.layers,
        heads=heads,
        mlp_ratio=tower.mlp_ratio,
        output_dim=tensors["visual.proj"].shape[1],
        act_layer=QuickGELU if quick_gelu else torch.nn.GELU,
    )

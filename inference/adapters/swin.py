"""Hugging Face's Swin from tensors by their names of 2022, whatever the installed transformers calls them.

Widths, depths, heads and windows are read from the tensors; activation and epsilon, which they do not reveal, from the manifest.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from transformers import SwinConfig, SwinModel

from config.architecture import SwinSection
from inference.adapters.hf_clip import ACTIVATIONS
from inference.adapters.shapes import blocks
from inference.adapters.swin_names import published_name

Tensors = Mapping[str, torch.Tensor]


def swin(tensors: Tensors, prefix: str, facts: SwinSection, image_size: int) -> SwinModel:
    """Return the network whose tensors have names that begin with `prefix`, not loaded yet.

    Raises:
        KeyError, ValueError: the tensors are no Swin, or its last stage is smaller than a window.
    """
    kernel = tensors[f"{prefix}embeddings.patch_embeddings.projection.weight"]
    width, patch_size = kernel.shape[0], kernel.shape[-1]
    depths = stages(tensors, prefix)
    tables = [
        tensors[f"{prefix}encoder.layers.{stage}.blocks.0.attention.self.relative_position_bias_table"] for stage in range(len(depths))
    ]
    first = f"{prefix}encoder.layers.0.blocks.0."
    config = SwinConfig(
        image_size=image_size,
        patch_size=patch_size,
        embed_dim=width,
        depths=depths,
        num_heads=[table.shape[1] for table in tables],
        window_size=window(tables[0].shape[0]),
        mlp_ratio=tensors[f"{first}intermediate.dense.weight"].shape[0] / width,
        qkv_bias=f"{first}attention.self.query.bias" in tensors,
        use_absolute_embeddings=f"{prefix}embeddings.position_embeddings" in tensors,
        hidden_act=ACTIVATIONS[facts.activation],
        layer_norm_eps=facts.layer_norm_eps,
    )
    if -(-image_size // (patch_size << (len(depths) - 1))) < config.window_size:
        raise ValueError(f"an image of {image_size} pixels is smaller than one window of {config.window_size} tokens in the last stage")
    network = SwinModel(config)
    _by_published_names(network)
    return network


def stages(tensors: Tensors, prefix: str) -> list[int]:
    """Return the number of blocks of each stage.

    Raises:
        KeyError: there is no stage.
    """
    number = blocks(tensors, f"{prefix}encoder.layers.")
    return [blocks(tensors, f"{prefix}encoder.layers.{stage}.blocks.") for stage in range(number)]


def window(rows: int) -> int:
    """Return the side of a window from the rows of a table of position biases, (2 * side - 1) squared.

    Raises:
        ValueError: no window has such a table.
    """
    side = (isqrt(rows) + 1) // 2
    if (2 * side - 1) ** 2 != rows:
        raise ValueError(f"relative_position_bias_table has {rows} rows, which no square window has")
    return side


def _by_published_names(network: SwinModel) -> None:
    """Let the network give and take its state by the names of 2022."""
    now = {published_name(name): name for name in network.state_dict()}

    def give(_module: torch.nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
        for then, name in now.items():
            state[prefix + then] = state.pop(prefix + name)

    def take(_module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
        for then, name in now.items():
            if prefix + then in state:
                state[prefix + name] = state.pop(prefix + then)

    network.register_state_dict_post_hook(give)  # type: ignore[no-untyped-call]  # torch's own
    network.register_load_state_dict_pre_hook(take)  # type: ignore[no-untyped-call]  # torch's own

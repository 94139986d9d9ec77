"""The embedded model as a network: built from an open_clip configuration, saved in open_clip's `local-dir:` layout."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from inference.embedded.training.views import SIDE
from inference.embedded.training.vocabulary import CONTEXT_LENGTH, WEIGHTS_FILE, WIDTH

CONFIG_FILE = "open_clip_config.json"
MEAN, STD = (0.4, 0.4, 0.4), (0.28, 0.28, 0.28)

_HIGHEST_SCALE = 100.0


def configuration(vocabulary: int) -> dict[str, Any]:
    """Return the content of `open_clip_config.json` for a vocabulary of this size."""
    vision = {
        "image_size": SIDE,
        "timm_model_name": "regnety_002",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    }
    text = {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": vocabulary,
        "width": WIDTH,
        "heads": 4,
        "layers": 2,
        "hf_tokenizer_name": "local",
        "pool_type": "argmax",
    }
    return {
        "model_cfg": {"embed_dim": 256, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"size": SIDE, "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"},
    }


def build(words: torch.Tensor) -> CLIP:
    """Return the untrained model; `words` float32 `(vocabulary, WIDTH)` become its frozen token embedding."""
    config = configuration(len(words))["model_cfg"]
    model = CLIP(**config, quick_gelu=False)
    with torch.no_grad():
        model.token_embedding.weight.copy_(words)
    model.token_embedding.weight.requires_grad_(requires_grad=False)
    return model


def clamp_scale(model: CLIP) -> None:
    """Keep the logit scale where CLIP keeps it (Radford et al. 2021, section 2.5)."""
    with torch.no_grad():
        cast("torch.Tensor", model.logit_scale).clamp_(0, float(torch.tensor(_HIGHEST_SCALE).log()))


def save(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write configuration and weights (floats in half precision) to `folder`."""
    halves = {name: (value.half() if value.is_floating_point() else value).contiguous().cpu() for name, value in state.items()}
    config = configuration(len(state["token_embedding.weight"]))
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    partial = folder / (WEIGHTS_FILE + ".part")
    save_file(halves, partial)
    partial.replace(folder / WEIGHTS_FILE)

"""Models in open_clip's own layout: a local folder with `open_clip_config.json` and one safetensors file.

Architecture comes from that file, what it leaves open (activation, preprocessing, tokenizer) from the manifest.
open_clip's `create_model` is not used: it picks a weights file by its own preference, falls back to random weights with
a warning and stretches position embeddings of another size without a word. Here the verified file is loaded strictly.
"""

import json
from typing import Any, cast

import torch
from open_clip.model import CLIP, CustomTextCLIP

from config.architecture import OpenClip
from inference.adapters import ModelAdapter
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.open_clip_files import BUFFERS, CONFIG_FILE, TEXT_CONFIG_FILE


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the folder contradicts the manifest, or the weights do not fit the architecture exactly.
    """
    network = _build(checkpoint, _model_config(checkpoint))
    tensors = {name: tensor for name, tensor in checkpoint.tensors().items() if not name.endswith(BUFFERS)}
    load_strictly(network, tensors, checkpoint, device)
    bias = network.logit_bias
    return DualEncoder(
        checkpoint,
        device,
        encode_images=network.encode_image,
        encode_texts=lambda ids, _: network.encode_text(ids),
        logit_scale_ln=tensors["logit_scale"],
        logit_bias=float(bias) if isinstance(bias, torch.Tensor) else 0.0,
    )


def _model_config(checkpoint: Checkpoint) -> dict[str, Any]:
    path = checkpoint.file(CONFIG_FILE)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        image_size, context_length = config["vision_cfg"]["image_size"], config["text_cfg"].get("context_length", 77)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise checkpoint.error(f"{path} is no open_clip configuration ({exc!r}); take it from the model's publisher") from exc
    checkpoint.agree("tokenizer.context_length", checkpoint.manifest.tokenizer.context_length, context_length, CONFIG_FILE)
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, image_size, CONFIG_FILE)
    return cast("dict[str, Any]", config)


def _build(checkpoint: Checkpoint, config: dict[str, Any]) -> CLIP | CustomTextCLIP:
    facts = checkpoint.manifest.architecture
    assert isinstance(facts, OpenClip)
    text, vision = dict(config["text_cfg"]), dict(config["vision_cfg"])
    foreign_text = "hf_model_name" in text
    if foreign_text:
        text |= {"hf_model_name": str(checkpoint.file(TEXT_CONFIG_FILE).parent), "hf_model_pretrained": False}
    if "timm_model_name" in vision:
        vision |= {"timm_model_pretrained": False}
    rest = {key: value for key, value in config.items() if key not in {"text_cfg", "vision_cfg", "custom_text"}}
    kind = CustomTextCLIP if foreign_text or config.get("custom_text") else CLIP
    try:
        return kind(**rest | {"text_cfg": text, "vision_cfg": vision, "quick_gelu": facts.quick_gelu})
    except (TypeError, ValueError, KeyError, OSError, RuntimeError) as exc:
        raise checkpoint.error(
            f"open_clip cannot build what {CONFIG_FILE} describes ({exc}); a text tower from another library needs its"
            f" {TEXT_CONFIG_FILE} in the same folder"
        ) from exc

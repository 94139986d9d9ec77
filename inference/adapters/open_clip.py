"""Models in open_clip's own layout: a local folder with `open_clip_config.json` and one safetensors file.

Architecture comes from the folder, everything that tensors cannot reveal (activation, preprocessing) from the manifest.
open_clip's `create_model` is not used: it picks a weights file by its own preference, falls back to random weights with
a warning and stretches position embeddings of another size without a word. Here the verified file is loaded strictly.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports below read it: weights never come from a hub
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import numpy as np
import torch
from open_clip.factory import get_tokenizer
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transform import image_transform
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from config.schema import ModelManifest
from inference.adapters import ModelLoadError

if TYPE_CHECKING:
    from inference.frames import Frame

CONFIG_FILE = "open_clip_config.json"
_BUFFERS = (".position_ids", "attn_mask")  # constants that older writers stored and current modules compute


class OpenClipAdapter:
    """`ModelAdapter` for open_clip models with the CLIP tokenizer or one whose files lie in the folder."""

    def __init__(self, manifest: ModelManifest, weights_folder: Path, device: str) -> None:
        """Load the model to `device`; the weights file must have been verified before.

        Raises:
            ModelLoadError: the folder contradicts the manifest, or the weights do not fit the architecture exactly.
        """
        self.manifest = manifest
        model_config = _model_config(manifest, weights_folder)
        self._device = torch.device(device)
        self._model = _build(manifest, model_config, weights_folder)
        _load_weights(self._model, manifest, weights_folder)
        self._model.eval().requires_grad_(requires_grad=False).to(self._device)
        self._tokenizer = get_tokenizer(f"local-dir:{weights_folder}", context_length=manifest.context_length)
        self._transform = _transform(manifest)
        self.logit_scale = float(self._model.logit_scale.exp())

    def preprocess(self, frame: "Frame") -> torch.Tensor:
        """Return float32 `(3, image_size, image_size)`: 8-bit, resized by PIL, cropped or padded, scaled, mean and std.

        The frame is rounded to 8 bits first, because that is what PIL resized when these models were trained; resizing
        floats differs by up to one grey level. Grey is repeated to three channels.
        """
        return self._transform(_as_8_bit(frame))

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Return token ids, int64 `(n, context_length)`; a longer text is cut as the model's publisher cuts it."""
        return cast("torch.Tensor", self._tokenizer(list(texts)))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return L2-normalised float32 `(n, d)` on the CPU."""
        with torch.inference_mode():
            return _unit(self._model.encode_image(batch.to(self._device, non_blocking=True)))

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return L2-normalised float32 `(n, d)` on the CPU."""
        with torch.inference_mode():
            return _unit(self._model.encode_text(self.tokenize(texts).to(self._device)))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu()


def _model_config(manifest: ModelManifest, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        image_size, context_length = config["vision_cfg"]["image_size"], config["text_cfg"].get("context_length", 77)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelLoadError(
            f"model {manifest.name}: {path} is missing or is no open_clip configuration ({exc!r}); take it from the model's publisher"
        ) from exc
    _agree(manifest, "context_length", manifest.context_length, context_length)
    _agree(manifest, "preprocessing.image_size", manifest.preprocessing.image_size, image_size)
    return cast("dict[str, Any]", config)


def _agree(manifest: ModelManifest, field: str, said: int, found: object) -> None:
    if said != found:
        raise ModelLoadError(
            f"model {manifest.name}: {field} is {said} in the manifest and {found} in {CONFIG_FILE}; correct the manifest,"
            " or take weights and configuration of the same release"
        )


def _build(manifest: ModelManifest, config: dict[str, Any], folder: Path) -> Any:
    text, vision = dict(config["text_cfg"]), dict(config["vision_cfg"])
    foreign_text = "hf_model_name" in text
    if foreign_text:
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    if "timm_model_name" in vision:
        vision |= {"timm_model_pretrained": False}
    rest = {key: value for key, value in config.items() if key not in {"text_cfg", "vision_cfg", "custom_text"}}
    kind = CustomTextCLIP if foreign_text or config.get("custom_text") else CLIP
    try:
        return kind(**rest | {"text_cfg": text, "vision_cfg": vision, "quick_gelu": manifest.quick_gelu})
    except (TypeError, ValueError, KeyError, OSError, RuntimeError) as exc:
        raise ModelLoadError(
            f"model {manifest.name}: open_clip cannot build what {CONFIG_FILE} describes ({exc}); a text tower from another library"
            " needs its config.json in the same folder"
        ) from exc


def _load_weights(model: torch.nn.Module, manifest: ModelManifest, folder: Path) -> None:
    try:
        tensors = load_file(folder / manifest.weights.file)
        if "logit_scale" in tensors:
            tensors["logit_scale"] = tensors["logit_scale"].reshape(cast("torch.Tensor", model.logit_scale).shape)
        known = {key: value for key, value in tensors.items() if not key.endswith(_BUFFERS)}
        model.load_state_dict(known, strict=True)
    except (OSError, SafetensorError, RuntimeError) as exc:
        raise ModelLoadError(
            f"model {manifest.name}: {manifest.weights.file} does not fit {CONFIG_FILE} ({exc}); take both from the same release"
        ) from exc


def _transform(manifest: ModelManifest) -> Callable[[Image.Image], torch.Tensor]:
    steps = manifest.preprocessing
    return cast(
        "Callable[[Image.Image], torch.Tensor]",
        image_transform(
            steps.image_size,
            is_train=False,
            mean=steps.mean,
            std=steps.std,
            resize_mode=steps.resize_mode,
            interpolation=steps.interpolation,
        ),
    )


def _as_8_bit(frame: "Frame") -> Image.Image:
    pixels = frame.pixels
    if pixels.dtype != np.float32 or pixels.size == 0 or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(f"pixels of {frame.ref.sop_instance_uid} are not float32 display values in [0, 1]")
    levels = pixels * np.float32(255)
    return Image.fromarray(np.rint(levels, out=levels).astype(np.uint8))

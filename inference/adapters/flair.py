"""FLAIR and KeepFIT: torchvision's ResNet-50 and clinical BERT, each brought to unit length before its projection."""

from typing import cast

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import BertModel

from config.architecture import Flair
from inference.adapters import ModelAdapter
from inference.adapters.bert import Tensors, check_tokenizer
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.clinical_text import check_dimensions, clinical_bert, linear, text_features
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.resnet import resnet

IMAGE_HEAD, TEXT_HEAD = "projection_head_vision", "projection_head_text"


class Projection(nn.Module):
    """FLAIR's ProjectionLayer without its last step, which every adapter does."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.projection = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.projection(normalize(features, dim=-1)))


class Network(nn.Module):
    """Both towers by their published names, not loaded yet."""

    def __init__(self, tensors: Tensors, facts: Flair) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no FLAIR."""
        super().__init__()
        image, text = linear(tensors, f"vision_model.{IMAGE_HEAD}.projection"), linear(tensors, f"text_model.{TEXT_HEAD}.projection")
        self.dimensions = image.out_features, text.out_features
        self.vision_model = nn.ModuleDict({"model": resnet(tensors, "vision_model.model."), IMAGE_HEAD: Projection(image)})
        self.text_model = nn.ModuleDict({"model": clinical_bert(tensors, facts.text), TEXT_HEAD: Projection(text)})
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.vision_model[IMAGE_HEAD](self.vision_model["model"](batch)))

    def encode_texts(self, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.text_model[TEXT_HEAD](text_features(self.text_model["model"], ids, attended)))


def network(checkpoint: Checkpoint, device: str) -> Network:
    """Return the loaded network on `device`.

    Raises:
        ModelLoadError: the tensors are no FLAIR, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, Flair)
    try:
        built = Network(tensors, facts)
    except (KeyError, ValueError, IndexError) as exc:
        where = checkpoint.manifest.weights.file
        raise checkpoint.error(f"{where} is no FLAIR, or architecture does not fit it ({exc}); check architecture") from exc
    check_dimensions(checkpoint, *built.dimensions)
    check_tokenizer(checkpoint, cast("BertModel", built.text_model["model"]))
    load_strictly(built, tensors, checkpoint, device)
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no FLAIR, or contradict the manifest.
    """
    loaded = network(checkpoint, device)
    return DualEncoder(
        checkpoint, device, encode_images=loaded.encode_images, encode_texts=loaded.encode_texts, logit_scale_ln=loaded.logit_scale.cpu()
    )

"""MedCLIP: Hugging Face's Swin with a projection, or torchvision's ResNet-50 with its last layer replaced, and clinical BERT."""

from typing import cast

import torch
from torch import nn
from transformers import BertModel

from config.architecture import MedClip, SwinSection
from inference.adapters import ModelAdapter
from inference.adapters.bert import Tensors, check_tokenizer
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.clinical_text import check_dimensions, clinical_bert, linear, text_features
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.resnet import resnet
from inference.adapters.swin import swin

HEAD = "projection_head"


class Network(nn.Module):
    """Both towers by their published names, not loaded yet."""

    def __init__(self, tensors: Tensors, facts: MedClip, image_size: int) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no MedCLIP."""
        super().__init__()
        text = linear(tensors, f"text_model.{HEAD}")
        if isinstance(facts.image, SwinSection):
            image = linear(tensors, f"vision_model.{HEAD}")
            self.vision_model = nn.ModuleDict({"model": swin(tensors, "vision_model.model.", facts.image, image_size), HEAD: image})
        else:
            image = linear(tensors, "vision_model.model.fc")
            self.vision_model = nn.ModuleDict({"model": resnet(tensors, "vision_model.model.")})
        self.dimensions = image.out_features, text.out_features
        self.text_model = nn.ModuleDict({"model": clinical_bert(tensors, facts.text), HEAD: text})
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        found = self.vision_model["model"](batch)
        return cast("torch.Tensor", self.vision_model[HEAD](found.pooler_output) if HEAD in self.vision_model else found)

    def encode_texts(self, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.text_model[HEAD](text_features(self.text_model["model"], ids, attended)))


def network(checkpoint: Checkpoint, device: str) -> Network:
    """Return the loaded network on `device`.

    Raises:
        ModelLoadError: the tensors are no MedCLIP, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, MedClip)
    try:
        built = Network(tensors, facts, checkpoint.manifest.preprocessing.image_size)
    except (KeyError, ValueError, IndexError) as exc:
        where = checkpoint.manifest.weights.file
        raise checkpoint.error(f"{where} is no MedCLIP, or architecture does not fit it ({exc}); check architecture") from exc
    check_dimensions(checkpoint, *built.dimensions)
    check_tokenizer(checkpoint, cast("BertModel", built.text_model["model"]))
    load_strictly(built, tensors, checkpoint, device)
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no MedCLIP, or contradict the manifest.
    """
    loaded = network(checkpoint, device)
    return DualEncoder(
        checkpoint, device, encode_images=loaded.encode_images, encode_texts=loaded.encode_texts, logit_scale_ln=loaded.logit_scale.cpu()
    )

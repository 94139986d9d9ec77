"""The text tower that MedCLIP and FLAIR share: clinical BERT, averaged over three of its hidden states and over all positions."""

import torch
from torch import nn
from transformers import BertModel

from config.architecture import BertSection
from inference.adapters.bert import Tensors, bert
from inference.adapters.checkpoint import Checkpoint

PREFIX = "text_model.model."

_AVERAGED_STATES = (1, 2, -1)  # 0 is the output of the embeddings


def clinical_bert(tensors: Tensors, facts: BertSection) -> BertModel:
    """Return the network whose tensors have names that begin with PREFIX, not loaded yet; without a pooler, which nothing reads.

    Raises:
        KeyError, ValueError, IndexError: the tensors are no such tower.
    """
    network = bert(tensors, PREFIX, facts, pooler=False)
    layers = network.config.num_hidden_layers
    if layers < max(_AVERAGED_STATES):
        raise ValueError(f"{PREFIX}encoder has {layers} layer, and hidden states 1, 2 and last are averaged")
    return network


def text_features(network: nn.Module, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """Return `(n, width)`, before any projection.

    The mean runs over padding too, as in both references: the vector of a text depends on the longest text of its group.
    """
    states = network(input_ids=ids, attention_mask=attended, output_hidden_states=True).hidden_states
    return torch.stack([states[number] for number in _AVERAGED_STATES]).mean(dim=2).mean(dim=0)


def linear(tensors: Tensors, name: str) -> nn.Linear:
    """Return a layer without bias of the shape of its weight, not loaded yet.

    Raises:
        KeyError, ValueError: there is no weight of this name, or it is no matrix.
    """
    outside, inside = tensors[f"{name}.weight"].shape
    return nn.Linear(inside, outside, bias=False)


def check_dimensions(checkpoint: Checkpoint, images: int, texts: int) -> None:
    """Return if images and texts have vectors of one length.

    Raises:
        ModelLoadError: they have not.
    """
    if images != texts:
        raise checkpoint.error(
            f"in {checkpoint.manifest.weights.file} the projection in vision_model gives {images} dimensions and that in text_model"
            f" {texts}, so images and texts do not meet; fetch the file again"
        )

"""UniMed-CLIP: OpenAI's ViT as open_clip builds it, and transformers' BERT, whose last [CLS] goes through an MLP without bias."""

from typing import cast

import torch
from torch import nn

from config.architecture import UnimedClip
from inference.adapters import ModelAdapter
from inference.adapters.bert import Tensors, bert, check_tokenizer
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.vit import vision_transformer


class TextTower(nn.Module):
    """BERT and the MLP behind it, named as open_clip names them."""

    def __init__(self, tensors: Tensors, facts: UnimedClip) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no such tower."""
        super().__init__()
        self.transformer = bert(tensors, "text.transformer.", facts.text, pooler=False)
        width, inside = self.transformer.config.hidden_size, tensors["text.proj.0.weight"].shape[0]
        dimensions = tensors["visual.proj"].shape[1]
        self.proj = nn.Sequential(nn.Linear(width, inside, bias=False), nn.GELU(), nn.Linear(inside, dimensions, bias=False))


class Network(nn.Module):
    """Both towers, not loaded yet."""

    def __init__(self, tensors: Tensors, facts: UnimedClip) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no UniMed-CLIP."""
        super().__init__()
        self.visual = vision_transformer(tensors, facts.image_heads, quick_gelu=facts.quick_gelu)
        self.text = TextTower(tensors, facts)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        return cast("torch.Tensor", self.visual(batch))

    def encode_texts(self, ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return `(n, d)`, not normalised."""
        states = self.text.transformer(input_ids=ids, attention_mask=attended).last_hidden_state
        return cast("torch.Tensor", self.text.proj(states[:, 0]))


def network(checkpoint: Checkpoint, device: str) -> Network:
    """Return the loaded network on `device`.

    Raises:
        ModelLoadError: the tensors are no UniMed-CLIP, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, UnimedClip)
    where = checkpoint.manifest.weights.file
    try:
        built = Network(tensors, facts)
    except (KeyError, ValueError, IndexError) as exc:
        raise checkpoint.error(f"{where} is no UniMed-CLIP, or architecture does not fit it ({exc}); check architecture") from exc
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, built.visual.image_size[0], where)
    check_tokenizer(checkpoint, built.text.transformer)
    load_strictly(built, tensors, checkpoint, device)
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no UniMed-CLIP, or contradict the manifest.
    """
    loaded = network(checkpoint, device)
    return DualEncoder(
        checkpoint, device, encode_images=loaded.encode_images, encode_texts=loaded.encode_texts, logit_scale_ln=loaded.logit_scale.cpu()
    )

"""Hugging Face's CLIPModel (PLIP, PubMedCLIP, MONET, XrayCLIP), as transformers builds it.

The architecture is read from the tensors; heads, activations and epsilons, which they do not reveal, from the manifest.
"""

from collections.abc import Mapping
from math import isqrt
from typing import cast

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from config.architecture import Activation, HfClip
from inference.adapters import ModelAdapter
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.shapes import blocks

ACTIVATIONS: Mapping[Activation, str] = {"gelu": "gelu", "quick-gelu": "quick_gelu", "tanh-gelu": "gelu_pytorch_tanh"}

END_OF_TEXT = 49407


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no CLIPModel, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, HfClip)
    where = checkpoint.manifest.weights.file
    try:
        image, text = _image_tower(tensors, facts), _text_tower(tensors, facts)
        dimensions = tensors["visual_projection.weight"].shape[0]
        network = CLIPModel(CLIPConfig(vision_config=image.to_dict(), text_config=text.to_dict(), projection_dim=dimensions))
    except (KeyError, ValueError) as exc:
        raise checkpoint.error(f"{where} is no CLIPModel, or architecture does not fit it ({exc}); check architecture") from exc
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, image.image_size, where)
    checkpoint.agree("tokenizer.context_length", checkpoint.manifest.tokenizer.context_length, text.max_position_embeddings, where)
    load_strictly(network, tensors, checkpoint, device)

    def encode_images(batch: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", network.visual_projection(network.vision_model(pixel_values=batch).pooler_output))

    def encode_texts(ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", network.text_projection(network.text_model(input_ids=ids, attention_mask=attended).pooler_output))

    return DualEncoder(checkpoint, device, encode_images=encode_images, encode_texts=encode_texts, logit_scale_ln=tensors["logit_scale"])


def _image_tower(tensors: Mapping[str, torch.Tensor], facts: HfClip) -> CLIPVisionConfig:
    patches = tensors["vision_model.embeddings.patch_embedding.weight"]
    return CLIPVisionConfig(
        hidden_size=patches.shape[0],
        patch_size=patches.shape[-1],
        image_size=patches.shape[-1] * isqrt(tensors["vision_model.embeddings.position_embedding.weight"].shape[0] - 1),
        intermediate_size=tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=blocks(tensors, "vision_model.encoder.layers."),
        num_attention_heads=facts.image_heads,
        hidden_act=ACTIVATIONS[facts.image_activation],
        layer_norm_eps=facts.image_layer_norm_eps,
    )


def _text_tower(tensors: Mapping[str, torch.Tensor], facts: HfClip) -> CLIPTextConfig:
    words = tensors["text_model.embeddings.token_embedding.weight"]
    return CLIPTextConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        max_position_embeddings=tensors["text_model.embeddings.position_embedding.weight"].shape[0],
        intermediate_size=tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=blocks(tensors, "text_model.encoder.layers."),
        num_attention_heads=facts.text_heads,
        hidden_act=ACTIVATIONS[facts.text_activation],
        layer_norm_eps=facts.text_layer_norm_eps,
        eos_token_id=END_OF_TEXT,
    )

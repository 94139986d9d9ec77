"""Hugging Face's SiglipModel (SigLIP, MedSigLIP, XraySigLIP), as transformers builds it: a bias on the logits, padding attended.

The architecture is read from the tensors; heads, activations and epsilon, which they do not reveal, from the manifest.
"""

from collections.abc import Mapping
from math import isqrt
from typing import cast

import torch
from transformers import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

from config.architecture import Siglip
from config.tokenizer import SentencePiece
from inference.adapters import ModelAdapter
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.hf_clip import ACTIVATIONS
from inference.adapters.shapes import blocks, divided
from inference.tokenizers import TokenizerError
from inference.tokenizers.sentencepiece import read_vocabulary


def network(checkpoint: Checkpoint, device: str) -> SiglipModel:
    """Return the loaded network on `device`.

    Raises:
        ModelLoadError: the tensors are no SiglipModel, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, Siglip)
    where = checkpoint.manifest.weights.file
    try:
        image, text = _image_tower(tensors, facts), _text_tower(tensors, facts)
        built = SiglipModel(SiglipConfig(vision_config=image.to_dict(), text_config=text.to_dict()))
    except (KeyError, ValueError, IndexError) as exc:
        raise checkpoint.error(f"{where} is no SiglipModel, or architecture does not fit it ({exc}); check architecture") from exc
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, image.image_size, where)
    checkpoint.agree("tokenizer.context_length", checkpoint.manifest.tokenizer.context_length, text.max_position_embeddings, where)
    if text.projection_size != image.hidden_size:
        raise checkpoint.error(
            f"in {where} texts have {text.projection_size} dimensions (text_model.head.weight) and images {image.hidden_size}"
            " (vision_model.head), so they do not meet; fetch the file again"
        )
    _check_vocabulary(checkpoint, text.vocab_size)
    load_strictly(built, tensors, checkpoint, device)
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no SiglipModel, or contradict the manifest.
    """
    loaded = network(checkpoint, device)

    def encode_images(batch: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", loaded.vision_model(pixel_values=batch).pooler_output)

    def encode_texts(ids: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        """The state at the last position, padding or not; padding is attended as it was in training."""
        return cast("torch.Tensor", loaded.text_model(input_ids=ids).pooler_output)

    return DualEncoder(
        checkpoint,
        device,
        encode_images=encode_images,
        encode_texts=encode_texts,
        logit_scale_ln=loaded.logit_scale.cpu(),
        logit_bias=float(loaded.logit_bias),
    )


def _image_tower(tensors: Mapping[str, torch.Tensor], facts: Siglip) -> SiglipVisionConfig:
    patches = tensors["vision_model.embeddings.patch_embedding.weight"]
    divided(patches.shape[0], facts.image_heads, "image_heads")
    return SiglipVisionConfig(
        hidden_size=patches.shape[0],
        patch_size=patches.shape[-1],
        image_size=patches.shape[-1] * isqrt(tensors["vision_model.embeddings.position_embedding.weight"].shape[0]),
        intermediate_size=tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=blocks(tensors, "vision_model.encoder.layers."),
        num_attention_heads=facts.image_heads,
        hidden_act=ACTIVATIONS[facts.image_activation],
        layer_norm_eps=facts.layer_norm_eps,
    )


def _text_tower(tensors: Mapping[str, torch.Tensor], facts: Siglip) -> SiglipTextConfig:
    words = tensors["text_model.embeddings.token_embedding.weight"]
    divided(words.shape[1], facts.text_heads, "text_heads")
    return SiglipTextConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        max_position_embeddings=tensors["text_model.embeddings.position_embedding.weight"].shape[0],
        intermediate_size=tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=blocks(tensors, "text_model.encoder.layers."),
        num_attention_heads=facts.text_heads,
        hidden_act=ACTIVATIONS[facts.text_activation],
        layer_norm_eps=facts.layer_norm_eps,
        projection_size=tensors["text_model.head.weight"].shape[0],
        bos_token_id=None,  # transformers' defaults are CLIP's ids, which this vocabulary need not have; nothing reads them
        eos_token_id=None,
    )


def _check_vocabulary(checkpoint: Checkpoint, rows: int) -> None:
    """Every piece has a row.

    Raises:
        ModelLoadError: it has not, or rows are left over.
    """
    section = checkpoint.manifest.tokenizer
    if not isinstance(section, SentencePiece):
        raise checkpoint.error(f"tokenizer.kind is {section.kind}, SigLIP reads SentencePiece; correct the manifest")
    try:
        pieces = len(read_vocabulary(checkpoint.file(section.vocabulary)).model.vocab)
    except TokenizerError as exc:
        raise checkpoint.error(str(exc)) from exc
    if pieces != rows:
        raise checkpoint.error(
            f"{section.vocabulary} has {pieces} pieces, the text tower in {checkpoint.manifest.weights.file} has {rows}; it is the"
            " vocabulary of another model, take the one of this release"
        )

"""BERT text towers: transformers' `BertModel` from tensors and facts, and what a tokenizer has to agree on with one."""

from collections.abc import Mapping

import torch
from transformers import BertConfig, BertModel

from config.architecture import BertSection
from config.tokenizer import WordPiece
from inference.adapters.checkpoint import Checkpoint
from inference.adapters.hf_clip import ACTIVATIONS
from inference.adapters.shapes import blocks, divided
from inference.tokenizers import TokenizerError
from inference.tokenizers.wordpiece import read_vocabulary

Tensors = Mapping[str, torch.Tensor]


def bert(tensors: Tensors, prefix: str, facts: BertSection, *, pooler: bool) -> BertModel:
    """Return the network whose tensors have names that begin with `prefix`, not loaded yet.

    Raises:
        KeyError, ValueError, IndexError: the tensors are no BERT, or the heads do not divide its width.
    """
    vocabulary, width = tensors[f"{prefix}embeddings.word_embeddings.weight"].shape
    divided(width, facts.heads, "text.heads")
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=blocks(tensors, f"{prefix}encoder.layer."),
        num_attention_heads=facts.heads,
        intermediate_size=tensors[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0],
        hidden_act=ACTIVATIONS[facts.activation],
        max_position_embeddings=tensors[f"{prefix}embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=tensors[f"{prefix}embeddings.token_type_embeddings.weight"].shape[0],
        layer_norm_eps=facts.layer_norm_eps,
    )
    return BertModel(config, add_pooling_layer=pooler)


def check_tokenizer(checkpoint: Checkpoint, network: BertModel) -> None:
    """Return if the tokenizer of the manifest fits the tower: its vocabulary has a row for each token, and no text is too long.

    Raises:
        ModelLoadError: it does not.
    """
    section, where = checkpoint.manifest.tokenizer, checkpoint.manifest.weights.file
    if not isinstance(section, WordPiece):
        raise checkpoint.error(f"tokenizer.kind is {section.kind}, BERT reads word pieces; correct the manifest")
    positions, rows = network.config.max_position_embeddings, network.config.vocab_size
    if section.context_length > positions:
        raise checkpoint.error(
            f"tokenizer.context_length is {section.context_length} in the manifest, the text tower in {where} has {positions} positions;"
            " correct the manifest"
        )
    try:
        tokens = max(read_vocabulary(checkpoint.file(section.vocabulary)).values()) + 1
    except TokenizerError as exc:
        raise checkpoint.error(str(exc)) from exc
    if tokens != rows:
        raise checkpoint.error(
            f"{section.vocabulary} has {tokens} tokens, the text tower in {where} has {rows}; it is the vocabulary of another model,"
            " take the one that this model was trained with"
        )

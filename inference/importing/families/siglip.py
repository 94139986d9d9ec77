"""Hugging Face's SiglipModel as published: safetensors, config.json, preprocessor and tokenizer files."""

from collections.abc import Mapping
from math import isclose
from typing import TYPE_CHECKING

from inference.golden import Golden
from inference.importing.families.hf_clip import CONFIG, PREPROCESSOR, TOKENIZER, activation, tower_config
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts, read_json

if TYPE_CHECKING:
    import torch

GOLDEN_FAMILIES = ("D-siglip",)

VOCABULARY = "tokenizer.json"

_DEFAULT: Mapping[str, Json] = {"hidden_act": "gelu_pytorch_tanh", "num_attention_heads": 12, "layer_norm_eps": 1e-6}  # of SiglipConfig
_FILTERS: Mapping[Json, str] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
_NUMBERS = ("logit_scale", "logit_bias")
_END = "</s>"


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """The learned probe of the pooling head and the bias of the logits are found together nowhere else."""
    del published
    return "vision_model.head.probe" in checkpoint.tensors and "logit_bias" in checkpoint.tensors


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; the position numbers that older writers stored are dropped."""
    buffers = [name for name in checkpoint.tensors if name.endswith(".position_ids")]
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in buffers}
    try:
        positions = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        words = tensors["text_model.embeddings.token_embedding.weight"].shape[0]
        dimensions = tensors["text_model.head.weight"].shape[0]
        tensors |= {name: _one_number(tensors[name], name, checkpoint.name) for name in _NUMBERS}
    except KeyError as exc:
        raise ImportRefusedError(f"{checkpoint.name} is no SiglipModel: {exc} is missing; check --family") from exc
    config = published.json(CONFIG, "activations and heads of a SiglipModel stand nowhere else")
    vocabulary = published.needed(VOCABULARY, "SigLIP's vocabulary is read from it, not from spiece.model")
    return Conversion(
        tensors=tensors,
        dropped=dict.fromkeys(buffers, "numbers of positions, which the network computes"),
        files={VOCABULARY: vocabulary.read_bytes()},
        facts=(
            *facts("architecture", "transformers' SiglipModel", family="siglip", logit_scale={"kind": "stored"}),
            *_towers(config),
            *_preprocessing(published),
            *_tokenizer(published, read_json(vocabulary), positions),
        ),
        inferred={"text tower": f"{positions} tokens, vocabulary {words}", "dimensions": str(dimensions)},
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Everything stands in config.json, which wins where both speak."""
    del golden
    return {}


def _one_number(tensor: "torch.Tensor", name: str, file: str) -> "torch.Tensor":
    if tensor.numel() != 1:
        raise ImportRefusedError(f"{file}: {name} has shape {tuple(tensor.shape)}, not one number; fetch the file again")
    return tensor.reshape(1)


def _towers(config: Mapping[str, Json]) -> tuple[Fact, ...]:
    towers = {side: tower_config(config, f"{name}_config", _DEFAULT) for side, name in (("image", "vision"), ("text", "text"))}
    epsilons = {tower["layer_norm_eps"] for tower in towers.values()}
    if len(epsilons) > 1:
        raise ImportRefusedError(
            f"{CONFIG}: layer_norm_eps is {towers['image']['layer_norm_eps']} in vision_config and {towers['text']['layer_norm_eps']} in"
            " text_config, which no published SigLIP has; take all files of one release"
        )
    found = list(facts("architecture", CONFIG, layer_norm_eps=epsilons.pop()))
    for side, tower in towers.items():
        name = activation(tower["hidden_act"], f"{CONFIG}: hidden_act of the {side} tower")
        found += facts("architecture", CONFIG, **{f"{side}_activation": name, f"{side}_heads": tower["num_attention_heads"]})
    return tuple(found)


def _preprocessing(published: Published) -> tuple[Fact, ...]:
    """What Hugging Face's processor does: no padding. A publisher who pads to a square says so in his own code only."""
    path = published.document(PREPROCESSOR)
    if path is None:
        return ()
    told = read_json(path)
    factor = told.get("rescale_factor", 1 / 255)
    if not isinstance(factor, float) or not isclose(factor, 1 / 255, rel_tol=1e-6):
        raise ImportRefusedError(f"{path}: rescale_factor is {factor!r}; this node divides 8-bit levels by 255, as every published SigLIP")
    size = told.get("size")
    sides = [size.get("height"), size.get("width")] if isinstance(size, Mapping) else [size, size]
    if sides[0] != sides[1]:
        raise ImportRefusedError(f"{path}: size is {sides[0]} x {sides[1]}, not square; take the publisher's files")
    values: dict[str, Json] = {
        "image_size": sides[0],
        "interpolation": _FILTERS.get(told.get("resample")),
        "mean": told.get("image_mean"),
        "std": told.get("image_std"),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return (
        *facts("preprocessing", "transformers' SiglipImageProcessor", resize_mode="squash"),
        *facts("preprocessing", PREPROCESSOR, **known),
    )


def _tokenizer(published: Published, described: Mapping[str, Json], positions: int) -> tuple[Fact, ...]:
    path = published.document(TOKENIZER)
    told = read_json(path) if path else {}
    longest = told.get("model_max_length")
    if isinstance(longest, int) and longest < 1 << 20 and longest != positions:
        raise ImportRefusedError(
            f"{TOKENIZER} says model_max_length {longest}, the text tower has {positions} positions; take all files of one release"
        )
    lower: list[Json] = ["lower-case"] if told.get("do_lower_case", True) else []
    return (
        *facts("tokenizer", "tensors", context_length=positions),
        *facts("tokenizer", "transformers' SiglipTokenizer", kind="sentencepiece", vocabulary=VOCABULARY),
        *facts("tokenizer", "transformers' SiglipTokenizer", clean_up=[*lower, "remove-punctuation", "collapse-whitespace"]),
        *facts(
            "tokenizer",
            f"{TOKENIZER} and {VOCABULARY}" if path else "transformers' SiglipTokenizer",
            end_id=_id(described, told.get("eos_token", _END), "eos_token"),
            pad_id=_id(described, told.get("pad_token", _END), "pad_token"),
        ),
    )


def _id(described: Mapping[str, Json], token: Json, name: str) -> int:
    text = token.get("content") if isinstance(token, Mapping) else token
    model = described.get("model")
    pieces = model.get("vocab") if isinstance(model, Mapping) else None
    if not isinstance(pieces, list) or not all(isinstance(entry, list) and entry for entry in pieces):
        raise ImportRefusedError(f"{VOCABULARY} holds no SentencePiece unigram vocabulary; take the one of the model's publisher")
    found = next((number for number, entry in enumerate(pieces) if entry[0] == text), None)
    if found is None:
        raise ImportRefusedError(f"{VOCABULARY} has no piece {text!r}, the {name}; take all tokenizer files of one release")
    return found

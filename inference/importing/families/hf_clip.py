"""Hugging Face's CLIPModel as published: model.safetensors or pytorch_model.bin, config.json, preprocessor and tokenizer files."""

from collections.abc import Mapping

from inference.golden import Golden
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts, read_json

GOLDEN_FAMILIES = ("C-hf-clip",)

CONFIG, PREPROCESSOR, TOKENIZER = "config.json", "preprocessor_config.json", "tokenizer_config.json"
ACTIVATIONS: Mapping[Json, str] = {"gelu": "gelu", "quick_gelu": "quick-gelu", "gelu_pytorch_tanh": "tanh-gelu", "gelu_new": "tanh-gelu"}

_DEFAULTS: Mapping[str, Mapping[str, Json]] = {  # of transformers' CLIPConfig, which leaves them out when it writes
    "vision_config": {"hidden_act": "quick_gelu", "num_attention_heads": 12, "layer_norm_eps": 1e-5},
    "text_config": {"hidden_act": "quick_gelu", "num_attention_heads": 8, "layer_norm_eps": 1e-5},
}
_FILTERS: Mapping[Json, str] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
_END, _START = "<|endoftext|>", "<|startoftext|>"


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """`pre_layrnorm` (sic) is found nowhere else."""
    del published
    return "vision_model.pre_layrnorm.weight" in checkpoint.tensors and "visual_projection.weight" in checkpoint.tensors


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; the position numbers that older writers stored are dropped."""
    buffers = [name for name in checkpoint.tensors if name.endswith(".position_ids")]
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in buffers}
    try:
        length = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        vocabulary = tensors["text_model.embeddings.token_embedding.weight"].shape[0]
        dimensions = tensors["visual_projection.weight"].shape[0]
    except KeyError as exc:
        raise ImportRefusedError(f"{checkpoint.name} is no CLIPModel: {exc} is missing; check --family") from exc
    config = published.json(CONFIG, "activations and heads of a CLIPModel stand nowhere else")
    return Conversion(
        tensors=tensors,
        dropped=dict.fromkeys(buffers, "numbers of positions, which the network computes"),
        facts=(
            *facts("architecture", "transformers' CLIPModel", family="hf_clip", logit_scale={"kind": "stored"}),
            *_towers(config),
            *_preprocessing(published),
            *_tokenizer(published, length),
        ),
        inferred={"text tower": f"{length} tokens, vocabulary {vocabulary}", "dimensions": str(dimensions)},
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Everything stands in config.json, which wins where both speak."""
    del golden
    return {}


def tower_config(config: Mapping[str, Json], name: str, defaults: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the configuration of a tower; in files of 2022 the `_dict` beside it holds what the publisher wrote."""
    found = dict(defaults)
    for key in (name, f"{name}_dict"):
        values = config.get(key)
        if isinstance(values, Mapping):
            found |= values
    return found


def activation(value: Json, where: str) -> str:
    """Return this node's name of an activation.

    Raises:
        ImportRefusedError: it has none.
    """
    if value not in ACTIVATIONS:
        known = ", ".join(map(str, ACTIVATIONS))
        raise ImportRefusedError(f"{where} is {value!r}, an activation that this node does not know; known are: {known}")
    return ACTIVATIONS[value]


def _towers(config: Mapping[str, Json]) -> tuple[Fact, ...]:
    found: list[Fact] = []
    for name, side in (("vision_config", "image"), ("text_config", "text")):
        tower = tower_config(config, name, _DEFAULTS[name])
        found += facts(
            "architecture",
            CONFIG,
            **{
                f"{side}_activation": activation(tower["hidden_act"], f"{CONFIG}: {name}.hidden_act"),
                f"{side}_heads": tower["num_attention_heads"],
                f"{side}_layer_norm_eps": tower["layer_norm_eps"],
            },
        )
    return tuple(found)


def _preprocessing(published: Published) -> tuple[Fact, ...]:
    path = published.document(PREPROCESSOR)
    if path is None:
        return ()
    told = read_json(path)
    crops = bool(told.get("do_center_crop"))
    size = told.get("crop_size" if crops else "size")
    side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge")) if isinstance(size, Mapping) else None
    values: dict[str, Json] = {
        "resize_mode": "shortest" if crops else "squash",
        "image_size": side,
        "interpolation": _FILTERS.get(told.get("resample")),
        "mean": told.get("image_mean"),
        "std": told.get("image_std"),
    }
    if crops:
        values["crop_offset"] = "floor"
    return facts("preprocessing", PREPROCESSOR, **{name: value for name, value in values.items() if value is not None})


def _tokenizer(published: Published, length: int) -> tuple[Fact, ...]:
    _standard_vocabulary(published)
    path = published.document(TOKENIZER)
    told = read_json(path) if path else {}
    longest = told.get("model_max_length")
    if isinstance(longest, int) and longest < 1 << 20 and longest != length:
        raise ImportRefusedError(
            f"{TOKENIZER} says model_max_length {longest}, the text tower has {length} positions; take all files of one release"
        )
    pad = told.get("pad_token", _END)
    text = pad.get("content") if isinstance(pad, Mapping) else pad
    return (
        *facts("tokenizer", "tensors", context_length=length),
        *facts("tokenizer", "transformers' CLIPTokenizer", kind="clip-bpe", clean_up=["compose", "collapse-whitespace", "lower-case"]),
        *facts("tokenizer", TOKENIZER if path else "transformers' CLIPTokenizer", pad_id=49407 if text == _END else 0),
    )


def _standard_vocabulary(published: Published) -> None:
    path = published.document("vocab.json")
    if path is None:
        return
    from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415 - takes seconds, and most importers never need it

    standard = SimpleTokenizer().encoder
    renamed = {{_START: "<start_of_text>", _END: "<end_of_text>"}.get(token, token): number for token, number in read_json(path).items()}
    if renamed != standard:
        raise ImportRefusedError(
            f"{path} is not the standard CLIP vocabulary, the only one that this family reads; take the publisher's files"
        )

"""open_clip's own layout as published: weights, open_clip_config.json and, for a foreign text tower or tokenizer, their files."""

import json
from collections.abc import Mapping, Sequence

from inference.adapters.open_clip_files import BUFFERS, CONFIG_FILE, TEXT_CONFIG_FILE
from inference.golden import Golden
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts, read_json

GOLDEN_FAMILIES = ("A-open_clip-native", "E-open_clip-hf-text")

VOCABULARY, TOKENIZER_CONFIG = "vocab.txt", "tokenizer_config.json"

_POOLER = "text.transformer.pooler."
_OLD_NAMES = {"proj": "hf_proj_type", "pooler_type": "hf_pooler_type"}  # of open_clip before 2.8, in files still on offer
_OPENAI_MEAN, _OPENAI_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_CLEAN_UP: Mapping[object, Sequence[str]] = {
    "lower": ["repair", "collapse-whitespace", "lower-case"],
    "whitespace": ["repair", "collapse-whitespace"],
    "canonicalize": ["repair", "straight-quotes", "remove-punctuation", "lower-case", "collapse-whitespace"],
}


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """open_clip's configuration lies beside tensors of an image tower."""
    return CONFIG_FILE in published.documents and any(name.startswith("visual.") for name in checkpoint.tensors)


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; constants that older writers stored, and BERT's unused pooler, are dropped."""
    config = published.json(CONFIG_FILE, "the architecture of an open_clip model stands nowhere else")
    text_config, model = _text_config(config), dict(_object(config, "model_cfg"))
    foreign = "hf_model_name" in text_config
    unused = {name: "a constant that the network computes" for name in checkpoint.tensors if name.endswith(BUFFERS)}
    unused |= {name: "open_clip pools by itself" for name in checkpoint.tensors if name.startswith(_POOLER)}
    length = text_config.get("context_length", 77)
    files = {CONFIG_FILE: json.dumps({**config, "model_cfg": {**model, "text_cfg": text_config}}, indent=1).encode()}
    stated: list[Fact] = []
    if "quick_gelu" in model:
        stated += facts("architecture", CONFIG_FILE, quick_gelu=model["quick_gelu"])
    if foreign:
        files[TEXT_CONFIG_FILE] = _text_tower(published)
    if foreign or text_config.get("hf_tokenizer_name"):
        files[VOCABULARY] = published.needed(VOCABULARY, "the tokenizer is not CLIP's").read_bytes()
        stated += _word_pieces(text_config, published)
    else:
        clean_up = _clean_up(text_config, "lower")
        stated += facts("tokenizer", "open_clip's tokenizer", kind="clip-bpe", pad_id=0, clean_up=clean_up)
    return Conversion(
        tensors={name: tensor for name, tensor in checkpoint.tensors.items() if name not in unused},
        dropped=unused,
        files=files,
        facts=(
            *facts("architecture", "open_clip's CLIP", family="open_clip", logit_scale={"kind": "stored"}),
            *facts("tokenizer", CONFIG_FILE, context_length=length),
            *_preprocessing(config, model),
            *stated,
        ),
        inferred={"architecture": f"as {CONFIG_FILE} says", "text tower": "BERT" if foreign else "open_clip's"},
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """The activation; all else stands in open_clip_config.json."""
    return {"quick_gelu": golden.architecture["quick_gelu"]}


def _object(config: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    found = config.get(name)
    if not isinstance(found, Mapping):
        raise ImportRefusedError(f"{CONFIG_FILE} has no {name}; take it from the model's publisher")
    return found


def _text_config(config: Mapping[str, Json]) -> dict[str, Json]:
    found = _object(_object(config, "model_cfg"), "text_cfg")
    return {_OLD_NAMES.get(name, name): value for name, value in found.items()}


def _text_tower(published: Published) -> bytes:
    """BERT's config.json: beside the weights if it is one, else from the supplement."""
    beside = published.documents.get(TEXT_CONFIG_FILE)
    if beside is not None and read_json(beside).get("model_type") == "bert":
        return beside.read_bytes()
    only_supplement = Published(checkpoints=(), documents={}, supplement=published.supplement)
    path = only_supplement.needed(TEXT_CONFIG_FILE, "the publisher does not ship the configuration of the BERT text tower")
    if read_json(path).get("model_type") != "bert":
        raise ImportRefusedError(f"{path} is not of model_type bert; give the configuration of the text tower")
    return path.read_bytes()


def _word_pieces(text_config: Mapping[str, Json], published: Published) -> tuple[Fact, ...]:
    path = published.document(TOKENIZER_CONFIG)
    told = read_json(path) if path else {}
    return (
        *facts("tokenizer", "open_clip's HFTokenizer", kind="wordpiece", vocabulary=VOCABULARY, longest_word=100),
        *facts("tokenizer", "open_clip's HFTokenizer", padding={"kind": "full-length"}, clean_up=_clean_up(text_config, "whitespace")),
        *facts("tokenizer", TOKENIZER_CONFIG if path else "transformers' BertTokenizer", lower_case=told.get("do_lower_case", True)),
    )


def _clean_up(text_config: Mapping[str, Json], default: str) -> Sequence[str]:
    options = text_config.get("tokenizer_kwargs")
    kind = options.get("clean", default) if isinstance(options, Mapping) else default
    if kind not in _CLEAN_UP:
        raise ImportRefusedError(f"{CONFIG_FILE}: tokenizer_kwargs.clean is {kind!r}, which this node does not know")
    return _CLEAN_UP[kind]


def _preprocessing(config: Mapping[str, Json], model: Mapping[str, Json]) -> tuple[Fact, ...]:
    """What preprocess_cfg says; what it leaves out is open_clip's default, as its writer leaves defaults out."""
    told = config.get("preprocess_cfg")
    said: Mapping[str, Json] = told if isinstance(told, Mapping) else {}
    vision = model.get("vision_cfg")
    size = vision.get("image_size", 224) if isinstance(vision, Mapping) else 224
    defaults: dict[str, Json] = {"mean": _OPENAI_MEAN, "std": _OPENAI_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    absent = {name: value for name, value in defaults.items() if name not in said}
    stated = {name: said[name] for name in defaults if name in said}
    crop: dict[str, Json] = {"crop_offset": "round"} if {**absent, **stated}["resize_mode"] == "shortest" else {}
    return (
        *facts("preprocessing", f"open_clip's default, absent in {CONFIG_FILE}", **absent),
        *facts("preprocessing", CONFIG_FILE, image_size=size, **stated),
        *facts("preprocessing", "torchvision's CenterCrop, as open_clip uses it", **crop),
    )

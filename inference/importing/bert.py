"""Published files of BERT text towers: config.json and vocabulary, for the importers of several families."""

from collections.abc import Mapping

from inference.adapters.shapes import blocks
from inference.importing.families.hf_clip import activation
from inference.importing.published import ImportRefusedError, Json, Published, PublishedCheckpoint, read_json
from inference.tokenizers import TokenizerError
from inference.tokenizers.wordpiece import read_vocabulary

CONFIG, VOCABULARY, TOKENIZER = "config.json", "vocab.txt", "tokenizer.json"

_UNUSED = {".position_ids": "numbers of positions, which the network computes"}


def bert_config(published: Published) -> Mapping[str, Json] | None:
    """Return the config.json of model_type bert beside the weights, else the one in the supplement, else None.

    Raises:
        ImportRefusedError: the one in the supplement is of another type.
    """
    beside = published.documents.get(CONFIG)
    if beside is not None:
        told = read_json(beside)
        if told.get("model_type") == "bert":
            return told
    path = Published(checkpoints=(), documents={}, supplement=published.supplement).document(CONFIG)
    if path is None:
        return None
    told = read_json(path)
    if told.get("model_type") != "bert":
        raise ImportRefusedError(f"{path} is not of model_type bert; give the configuration of the text tower")
    return told


def bert_section(told: Mapping[str, Json], checkpoint: PublishedCheckpoint, prefix: str, where: str) -> Mapping[str, Json]:
    """Return what a BERT's configuration states that its tensors do not: heads, activation and epsilon.

    `prefix` begins the names of its tensors in the checkpoint, `where` names the configuration in messages.

    Raises:
        ImportRefusedError: a field is missing, or contradicts the tensors.
    """
    for field, found in shapes(checkpoint, prefix).items():
        if field in told and told[field] != found:
            raise ImportRefusedError(
                f"{where} says {field} {told[field]}, the tensors {prefix}* in {checkpoint.name} have {found};"
                " give the configuration of this text tower"
            )
    wanted = ("num_attention_heads", "hidden_act", "layer_norm_eps")
    if lacking := [name for name in wanted if name not in told]:
        raise ImportRefusedError(f"{where} has no {lacking[0]}; take it from the publisher of the text tower")
    return {
        "heads": told["num_attention_heads"],
        "activation": activation(told["hidden_act"], f"{where}: hidden_act"),
        "layer_norm_eps": told["layer_norm_eps"],
    }


def golden_section(told: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the same of `architecture.text` of a golden.json. Raises KeyError if it lacks a field."""
    return {
        "heads": told["heads"],
        "activation": activation(told["hidden_act"], "golden.json: architecture.text.hidden_act"),
        "layer_norm_eps": told["layer_norm_eps"],
    }


def shapes(checkpoint: PublishedCheckpoint, prefix: str) -> Mapping[str, int]:
    """Return what the tensors of a BERT reveal, by the names of its configuration.

    Raises:
        ImportRefusedError: the checkpoint has no BERT there.
    """
    tensors = checkpoint.tensors
    try:
        vocabulary, width = tensors[f"{prefix}embeddings.word_embeddings.weight"].shape
        return {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": blocks(tensors, f"{prefix}encoder.layer."),
            "intermediate_size": tensors[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0],
            "max_position_embeddings": tensors[f"{prefix}embeddings.position_embeddings.weight"].shape[0],
            "type_vocab_size": tensors[f"{prefix}embeddings.token_type_embeddings.weight"].shape[0],
        }
    except (KeyError, ValueError, IndexError) as exc:
        raise ImportRefusedError(f"{checkpoint.name} has no BERT text tower: {exc}; check --family") from exc


def described(found: Mapping[str, int]) -> str:
    """Return `shapes` in words."""
    return (
        f"BERT, layers {found['num_hidden_layers']}, width {found['hidden_size']}, {found['max_position_embeddings']} positions,"
        f" vocabulary {found['vocab_size']}"
    )


def unused(checkpoint: PublishedCheckpoint, prefix: str, *, pooler: bool) -> Mapping[str, str]:
    """Return the tensors of a BERT that its adapter has no place for, with the reason; `pooler`: whether it has one for that."""
    found = {name: why for name in checkpoint.tensors for end, why in _UNUSED.items() if name.startswith(prefix) and name.endswith(end)}
    if not pooler:
        found |= {name: "the family pools by itself" for name in checkpoint.tensors if name.startswith(f"{prefix}pooler.")}
    return found


def vocabulary(published: Published, why: str) -> bytes:
    """Return vocab.txt; where a tokenizer.json lies beside it, they say the same.

    Raises:
        ImportRefusedError: it is missing (`why` says what for), is no vocabulary, or the two differ.
    """
    path = published.needed(VOCABULARY, why)
    beside = path.with_name(TOKENIZER)
    try:
        tokens = read_vocabulary(path)
        if beside.is_file() and read_vocabulary(beside) != tokens:
            raise ImportRefusedError(f"{path} and {beside.name} beside it have different tokens; take all files of one release")
    except TokenizerError as exc:
        raise ImportRefusedError(str(exc)) from exc
    return path.read_bytes()

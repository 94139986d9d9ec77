"""RET-CLIP as published: one .pt of its training code; vocabulary and model configurations lie in the code's repository."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from inference.adapters.shapes import image_tower
from inference.golden import Golden
from inference.importing import bert
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts

if TYPE_CHECKING:
    import torch

GOLDEN_FAMILIES = ("F-retclip",)

_CODE = "RET_CLIP/clip of sStonemason/RET-CLIP"
_EPSILON = 1e-12  # of BERT's layer norms, a constant in its model.py
_HEAD_WIDTH = 64
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_TEXT = "text_"  # begins BERT's fields in its model configurations
_FUSED = re.compile(r"(bert\.encoder\.layer\.\d+\.attention)\.self\.Wqkv\.(weight|bias)")
_FUSED_OUTPUT = re.compile(r"(bert\.encoder\.layer\.\d+\.attention)\.self\.out_proj\.(weight|bias)")


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """The layer that joins both eyes is found nowhere else."""
    del published
    return "global_feature_mapping.weight" in checkpoint.tensors and "bert.embeddings.word_embeddings.weight" in checkpoint.tensors


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are, after those of its flash attention are undone; BERT's unused pooler is dropped."""
    unfused = PublishedCheckpoint(
        paths=checkpoint.paths, format=checkpoint.format, tensors=dict(_without_flash_attention(checkpoint.tensors))
    )
    text = bert.shapes(unfused, "bert.")
    try:
        image = image_tower(unfused.tensors, 1)  # heads do not show in the tensors
        dimensions = unfused.tensors["visual.proj"].shape[1]
    except (KeyError, ValueError, IndexError) as exc:
        raise ImportRefusedError(f"{checkpoint.name} has no image tower of RET-CLIP: {exc}; check --family") from exc
    unused = bert.unused(unfused, "bert.", pooler=False)
    return Conversion(
        tensors={name: tensor for name, tensor in unfused.tensors.items() if name not in unused},
        dropped=unused,
        files={bert.VOCABULARY: bert.vocabulary(published, "RET-CLIP has it in its code's repository, RET_CLIP/clip")},
        facts=(
            *facts("architecture", _CODE, family="ret_clip", logit_scale={"kind": "stored"}, quick_gelu=True),
            *facts("architecture", _CODE, image_heads=image.width // _HEAD_WIDTH or 1),
            *_text_tower(unfused, published),
            *facts("preprocessing", "tensors", image_size=image.image_size),
            *facts("preprocessing", _CODE, resize_mode="squash", interpolation="bicubic", mean=_MEAN, std=_STD),
            *facts("tokenizer", _CODE, kind="wordpiece", vocabulary=bert.VOCABULARY, longest_word=200, lower_case=True),
            *facts("tokenizer", _CODE, padding={"kind": "full-length"}, clean_up=["lower-case", "straight-quotes"]),
        ),
        inferred={
            "image tower": f"ViT, layers {image.layers}, width {image.width}, {image.image_size} px",
            "text tower": bert.described(text),
            "dimensions": f"{dimensions}, heads patient, left and right",
        },
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Activation, heads and epsilon."""
    told = golden.architecture
    return {"quick_gelu": told["quick_gelu"], "image_heads": told["vision"]["heads"], "text": bert.golden_section(told["text"])}


def _without_flash_attention(tensors: "Mapping[str, torch.Tensor]") -> "Iterator[tuple[str, torch.Tensor]]":
    """Source: convert_state_dict in RET_CLIP/clip/model.py."""
    for name, tensor in tensors.items():
        if fused := _FUSED.fullmatch(name):
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                yield f"{fused[1]}.self.{part}.{fused[2]}", piece
        elif output := _FUSED_OUTPUT.fullmatch(name):
            yield f"{output[1]}.output.dense.{output[2]}", tensor
        else:
            yield name.replace(".attn.Wqkv.", ".attn.in_proj_"), tensor


def _text_tower(checkpoint: PublishedCheckpoint, published: Published) -> tuple[Fact, ...]:
    """From the model configuration of the repository that fits the tensors, if any configuration of a text tower was given.

    Raises:
        ImportRefusedError: none fits, or several do and differ.
    """
    found = {path: _bert_fields(told) for path, told in published.json_with(f"{_TEXT}num_attention_heads").items()}
    if not found:
        return ()
    shapes = bert.shapes(checkpoint, "bert.")
    fitting = {path: told for path, told in found.items() if all(told.get(name, value) == value for name, value in shapes.items())}
    if not fitting:
        raise ImportRefusedError(
            f"none of {', '.join(path.name for path in found)} fits the text tower in {checkpoint.name} ({bert.described(shapes)});"
            " give the model configuration that it was trained with"
        )
    stated = {path: bert.bert_section(told, checkpoint, "bert.", path.name) for path, told in fitting.items()}
    first = next(iter(stated))
    if other := next((path for path in stated if stated[path] != stated[first]), None):
        raise ImportRefusedError(f"{first} and {other} both fit the text tower in {checkpoint.name} and differ; give one of them")
    return facts("architecture", first.name, text=stated[first])


def _bert_fields(told: Mapping[str, Json]) -> Mapping[str, Json]:
    return {name.removeprefix(_TEXT): value for name, value in told.items()} | {"layer_norm_eps": _EPSILON}

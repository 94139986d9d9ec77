"""FLAIR and KeepFIT as published: a bare state dict (flair_resnet.pth) or a hub folder; clinical BERT's files come from elsewhere."""

from collections.abc import Mapping

from inference.golden import Golden
from inference.importing import bert
from inference.importing.clinical_text import NEEDED, PREFIX, text_tower, tokenizer
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts, read_json

GOLDEN_FAMILIES = ("G-flair",)

_CODE = "flair/modeling/model.py of jusiro/FLAIR"
_DIMENSIONS = "vision_model.projection_head_vision.projection.weight"
_TRAINING = "attention."  # of KeepFIT
_CLAMPED: Json = {"kind": "clamped", "lowest_ln": 0.0, "highest_ln": 4.6052}
_TOWERS_MEET: Mapping[str, Json] = {
    "projection": True,
    "norm_features": True,
}  # arguments of FLAIRModel without which it is no dual encoder


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """The names of both projections are found nowhere else."""
    del published
    return _DIMENSIONS in checkpoint.tensors and "text_model.projection_head_text.projection.weight" in checkpoint.tensors


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; BERT's pooler, its position numbers and KeepFIT's attention, which only training used, are dropped."""
    tensors, text = checkpoint.tensors, bert.shapes(checkpoint, PREFIX)
    if _DIMENSIONS not in tensors or "vision_model.model.layer4.0.conv3.weight" not in tensors:
        raise ImportRefusedError(
            f"{checkpoint.name} has no ResNet-50 with a projection (vision_model.model.layer4.0.conv3.weight, {_DIMENSIONS});"
            " check --family"
        )
    unused = {**bert.unused(checkpoint, PREFIX, pooler=False)}
    unused |= {name: "only the training of KeepFIT uses it" for name in tensors if name.startswith(_TRAINING)}
    return Conversion(
        tensors={name: tensor for name, tensor in tensors.items() if name not in unused},
        dropped=unused,
        files={bert.VOCABULARY: bert.vocabulary(published, NEEDED)},
        facts=(
            *facts("architecture", _CODE, family="flair", logit_scale=_CLAMPED),
            *text_tower(checkpoint, published),
            *facts("preprocessing", _CODE, resize_mode="corner", interpolation="bilinear", antialias=True, mean=[0.0] * 3, std=[1.0] * 3),
            *facts("preprocessing", f"default of {_CODE}", image_size=512),
            *_arguments(published),
            *tokenizer(_CODE),
        ),
        inferred={
            "image tower": "ResNet of bottlenecks",
            "text tower": bert.described(text),
            "dimensions": str(tensors[_DIMENSIONS].shape[0]),
        },
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """The text tower's heads, activation and epsilon."""
    return {"text": bert.golden_section(golden.architecture["text"])}


def _arguments(published: Published) -> tuple[Fact, ...]:
    """What the folder of the hub says in its config.json: the arguments that FLAIRModel was built with."""
    path = published.documents.get(bert.CONFIG)
    told = read_json(path) if path else {}
    for name, value in _TOWERS_MEET.items():
        if told.get(name, value) != value:
            raise ImportRefusedError(f"{path} says {name} {told[name]}: images and texts do not meet in such a model; take another one")
    return facts("preprocessing", bert.CONFIG, image_size=told["image_size"]) if "image_size" in told and "proj_dim" in told else ()

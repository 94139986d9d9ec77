"""OpenAI's CLIP as published: a TorchScript archive, a bare state dict (CheXzero, MONET) or one in a dict (PubMedCLIP, EyeCLIP)."""

from collections.abc import Mapping

from inference.adapters.shapes import image_tower, text_tower
from inference.golden import Golden
from inference.importing.published import Conversion, ImportRefusedError, Json, Published, PublishedCheckpoint, facts

GOLDEN_FAMILIES = ("A-openai-statedict", "A-torchscript")

_HEAD_WIDTH = 64
_RULE = "clip/model.py of openai/CLIP"
_ATTRIBUTES = ("input_resolution", "context_length", "vocab_size")  # of the archived module; the tensors say the same


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """Without open_clip's configuration beside it, this layout is OpenAI's."""
    tensors = checkpoint.tensors
    image = "visual.conv1.weight" in tensors and ("visual.class_embedding" in tensors or "visual.attnpool.positional_embedding" in tensors)
    text = "token_embedding.weight" in tensors and "text_projection" in tensors
    return image and text and "open_clip_config.json" not in published.documents


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; numbers of the archived module are compared with the tensors and dropped."""
    del published
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in _ATTRIBUTES}
    try:
        image_width = tensors["visual.conv1.weight"].shape[0] if "visual.class_embedding" in tensors else _pooled_width(tensors)
        text_width = tensors["ln_final.weight"].shape[0]
        image, text = image_tower(tensors, 1), text_tower(tensors, 1)  # heads do not show in the tensors
    except (KeyError, ValueError) as exc:
        raise ImportRefusedError(f"{checkpoint.name} is no OpenAI CLIP: {exc} is missing; check --family") from exc
    side = image.image_size if isinstance(image.image_size, int) else image.image_size[0]
    said = {"input_resolution": side, "context_length": text.context_length, "vocab_size": text.vocab_size}
    for name in _ATTRIBUTES:
        if name in checkpoint.tensors and int(checkpoint.tensors[name]) != said[name]:
            raise ImportRefusedError(
                f"{checkpoint.name}: {name} is {int(checkpoint.tensors[name])}, its tensors have {said[name]}; fetch the file again"
            )
    return Conversion(
        tensors=tensors,
        dropped=dict.fromkeys((name for name in _ATTRIBUTES if name in checkpoint.tensors), "the tensors say the same"),
        facts=(
            *facts("architecture", _RULE, family="openai_clip", logit_scale={"kind": "stored"}),
            *facts("architecture", _RULE, image_heads=image_width // _HEAD_WIDTH or 1, text_heads=text_width // _HEAD_WIDTH or 1),
            *facts("preprocessing", "tensors", image_size=side),
            *facts("tokenizer", "tensors", context_length=text.context_length),
            *facts(
                "tokenizer",
                "clip/simple_tokenizer.py of openai/CLIP",
                kind="clip-bpe",
                clean_up=["repair", "collapse-whitespace", "lower-case"],
                pad_id=0,
            ),
        ),
        inferred={
            "image tower": f"{_kind(image.layers)}, layers {image.layers}, width {image.width}, {side} px",
            "text tower": f"layers {text.layers}, width {text.width}, {text.context_length} tokens, vocabulary {text.vocab_size}",
            "dimensions": str(tensors["text_projection"].shape[1]),
        },
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Heads and activation."""
    vision, text = golden.architecture["vision"], golden.architecture["text"]
    return {
        "quick_gelu": golden.architecture["quick_gelu"],
        "image_heads": vision.get("heads") or vision["attention_pool_heads"],
        "text_heads": text["heads"],
    }


def _pooled_width(tensors: Mapping[str, object]) -> int:
    shape: tuple[int, ...] = getattr(tensors["visual.attnpool.positional_embedding"], "shape", (0, 0))
    return shape[1]


def _kind(layers: object) -> str:
    return "ViT" if isinstance(layers, int) else "ModifiedResNet"

"""KEEP as published: a folder with weights, config.json (of remote code, which is never run) and BERT's tokenizer files."""

from collections.abc import Mapping
from math import isqrt

from inference.adapters.shapes import blocks
from inference.golden import Golden
from inference.importing import bert
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts

GOLDEN_FAMILIES = ("H-keep",)

_CODE = "quick_start/keep_inference.py of MAGIC-AI4Med/KEEP"
_VIT_LARGE_WIDTH, _VIT_LARGE_LAYERS, _VIT_LARGE_HEADS = 1024, 24, 16  # timm's vit_large_patch16_224, which the code names
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """timm's ViT and a BERT, and `visual_head`, which is found nowhere else."""
    del published
    wanted = ("visual_head.0.weight", "visual.cls_token", "text.embeddings.word_embeddings.weight")
    return all(name in checkpoint.tensors for name in wanted)


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """Names stay as they are; the position numbers that older writers stored are dropped."""
    tensors, text = checkpoint.tensors, bert.shapes(checkpoint, "text.")
    try:
        width, _, patch_size, _ = tensors["visual.patch_embed.proj.weight"].shape
        side = patch_size * isqrt(tensors["visual.pos_embed"].shape[1] - 1)
        layers = blocks(tensors, "visual.blocks.")
        dimensions = tensors["visual_head.2.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as exc:
        raise ImportRefusedError(f"{checkpoint.name} has no image tower of KEEP: {exc}; check --family") from exc
    unused = bert.unused(checkpoint, "text.", pooler=True)
    is_large = (width, layers) == (_VIT_LARGE_WIDTH, _VIT_LARGE_LAYERS)
    return Conversion(
        tensors={name: tensor for name, tensor in tensors.items() if name not in unused},
        dropped=unused,
        files={bert.VOCABULARY: bert.vocabulary(published, "KEEP reads word pieces")},
        facts=(
            *facts("architecture", _CODE, family="keep", logit_scale={"kind": "stored"}),
            *(facts("architecture", f"timm's vit_large_patch16_224, in {_CODE}", image_heads=_VIT_LARGE_HEADS) if is_large else ()),
            *facts("architecture", f"timm's VisionTransformer, in {_CODE}", image_layer_norm_eps=1e-6),
            *_text_tower(checkpoint, published, dimensions),
            *facts("preprocessing", "tensors", image_size=side),
            *facts("preprocessing", _CODE, resize_mode="shortest", crop_offset="round", interpolation="bicubic", mean=_MEAN, std=_STD),
            *facts("tokenizer", _CODE, kind="wordpiece", context_length=256, vocabulary=bert.VOCABULARY, lower_case=True),
            *facts("tokenizer", _CODE, padding={"kind": "full-length"}, clean_up=[]),
            *facts("tokenizer", "transformers' BertTokenizer", longest_word=100),
        ),
        inferred={
            "image tower": f"ViT with LayerScale, layers {layers}, width {width}, {side} px",
            "text tower": bert.described(text),
            "dimensions": str(dimensions),
        },
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Heads, activation of the text tower and epsilons."""
    vision, text = golden.architecture["vision"], golden.architecture["text"]
    return {
        "image_heads": vision["heads"],
        "image_layer_norm_eps": vision["layer_norm_eps"],
        "text": bert.golden_section(text),
    }


def _text_tower(checkpoint: PublishedCheckpoint, published: Published, dimensions: int) -> tuple[Fact, ...]:
    """What config.json says under text_config, if there is one. Its vision_config is empty as published."""
    path = published.document(bert.CONFIG)
    told = published.json(bert.CONFIG, "") if path else {}
    if told.get("projection_dim", dimensions) != dimensions:
        raise ImportRefusedError(
            f"{bert.CONFIG} says projection_dim {told['projection_dim']}, visual_head.2.weight in {checkpoint.name} has {dimensions};"
            " take all files of one release"
        )
    text = told.get("text_config")
    if not isinstance(text, Mapping):
        return ()
    where = f"{bert.CONFIG}: text_config"
    return facts("architecture", where, text=bert.bert_section(text, checkpoint, "text.", where))

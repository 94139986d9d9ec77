"""UniMed-CLIP as published: one .pt with a wrapped state dict; BERT's files come from its own publisher, in a supplement."""

import json
from collections.abc import Mapping

from inference.adapters.shapes import ImageTower, image_tower
from inference.golden import Golden
from inference.importing import bert
from inference.importing.published import Conversion, Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts, read_json

GOLDEN_FAMILIES = ("E'-unimed",)

_CODE = "src/open_clip of mbzuai-oryx/UniMed-CLIP"
_PUBLISHED, _OURS = "text_encoder.", "text."
_BERT = f"{_PUBLISHED}transformer."
_HEAD_WIDTH = 64
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def recognises(checkpoint: PublishedCheckpoint, published: Published) -> bool:
    """The fork's name of the text tower beside OpenAI's names of the image tower."""
    del published
    return f"{_BERT}embeddings.word_embeddings.weight" in checkpoint.tensors and "visual.class_embedding" in checkpoint.tensors


def convert(checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
    """`text_encoder.` becomes `text.`; BERT's unused pooler is dropped."""
    text = bert.shapes(checkpoint, _BERT)
    try:
        image = image_tower(checkpoint.tensors, 1)  # heads do not show in the tensors
        dimensions = checkpoint.tensors["visual.proj"].shape[1]
    except (KeyError, ValueError, IndexError) as exc:
        raise ImportRefusedError(f"{checkpoint.name} has no image tower of UniMed-CLIP: {exc}; check --family") from exc
    unused = bert.unused(checkpoint, _BERT, pooler=False)
    return Conversion(
        tensors={
            name.replace(_PUBLISHED, _OURS, 1) if name.startswith(_PUBLISHED) else name: tensor
            for name, tensor in checkpoint.tensors.items()
            if name not in unused
        },
        dropped=unused,
        files={bert.VOCABULARY: bert.vocabulary(published, "UniMed-CLIP does not ship the vocabulary of its text tower (BiomedBERT)")},
        facts=(
            *facts("architecture", _CODE, family="unimed_clip", logit_scale={"kind": "stored"}),
            *facts("architecture", _CODE, image_heads=image.width // _HEAD_WIDTH or 1),
            *_activation(checkpoint, published, image, dimensions),
            *_text_tower(checkpoint, published),
            *facts("preprocessing", "tensors", image_size=image.image_size),
            *facts("preprocessing", _CODE, resize_mode="shortest", crop_offset="round", interpolation="bicubic", mean=_MEAN, std=_STD),
            *_tokenizer(published),
        ),
        inferred={
            "image tower": f"ViT, layers {image.layers}, width {image.width}, {image.image_size} px",
            "text tower": bert.described(text),
            "dimensions": str(dimensions),
        },
    )


def golden_architecture(golden: Golden) -> Mapping[str, Json]:
    """Activation, heads and epsilon."""
    told = golden.architecture
    return {"quick_gelu": told["quick_gelu"], "image_heads": told["vision"]["heads"], "text": bert.golden_section(told["text"])}


def _activation(checkpoint: PublishedCheckpoint, published: Published, image: ImageTower, dimensions: int) -> tuple[Fact, ...]:
    """From the model configuration (of open_clip's form) that fits the tensors, if any was given.

    Raises:
        ImportRefusedError: none fits, or several do and differ.
    """
    found = published.json_with("vision_cfg")
    shapes = {"image_size": image.image_size, "patch_size": image.patch_size, "layers": image.layers, "width": image.width}
    fitting = {path: told for path, told in found.items() if _fits(told, shapes, dimensions)}
    if found and not fitting:
        raise ImportRefusedError(
            f"none of {', '.join(path.name for path in found)} fits {checkpoint.name} ({dimensions} dimensions, {shapes});"
            " give the model configuration that it was trained with"
        )
    said = {json.dumps(told.get("quick_gelu")): path for path, told in fitting.items()}
    if len(said) > 1:
        one, other = sorted(said.values())[:2]
        raise ImportRefusedError(f"{one} and {other} both fit {checkpoint.name} and differ in quick_gelu; give one of them")
    return tuple(
        fact
        for path, told in fitting.items()
        if "quick_gelu" in told
        for fact in facts("architecture", path.name, quick_gelu=told["quick_gelu"])
    )


def _fits(told: Mapping[str, Json], shapes: Mapping[str, Json], dimensions: int) -> bool:
    vision = told["vision_cfg"]
    if not isinstance(vision, Mapping) or told.get("embed_dim", dimensions) != dimensions:
        return False
    return all(vision.get(name, value) == value for name, value in shapes.items())


def _text_tower(checkpoint: PublishedCheckpoint, published: Published) -> tuple[Fact, ...]:
    told = bert.bert_config(published)
    return facts("architecture", bert.CONFIG, text=bert.bert_section(told, checkpoint, _BERT, bert.CONFIG)) if told else ()


def _tokenizer(published: Published) -> tuple[Fact, ...]:
    path = published.document("tokenizer_config.json")
    told = read_json(path) if path else {}
    return (
        *facts("tokenizer", _CODE, kind="wordpiece", context_length=256, vocabulary=bert.VOCABULARY, longest_word=100),
        *facts("tokenizer", _CODE, padding={"kind": "full-length"}, clean_up=["repair", "collapse-whitespace"]),
        *facts("tokenizer", path.name if path else "transformers' BertTokenizer", lower_case=told.get("do_lower_case", True)),
    )

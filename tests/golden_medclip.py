"""A small MedCLIP of our own with reference outputs: a Swin by its names of 2022, clinical BERT, a grey square, prompts of classes."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from tests import golden_clinical as clinical
from tests.golden_bert import layer_shapes, moved, text_facts, write_golden
from tests.golden_clinical import Pooling
from tests.golden_fixtures import drawn, norm, pictures
from tests.golden_reference import Tensors, gelu, linear

SIDE, PATCH, WIDTH, WINDOW, DEPTHS, HEADS, EPSILON = 48, 4, 8, 4, (2, 1), (1, 2), 1e-5
MEAN, STD = 0.5862785803043838, 0.27950088968644304
TEXTS = ("Heart size is normal", "small left Pleural Effusion, unchanged", "no edema")
PROMPTS = {"Edema": [" mild pulmonary edema ", "acute edema of the lung"], "Effusion": ["large  right pleural effusion", "effusions"]}
MODEL = "vision_model.model."

_PARTS = ("query", "key", "value")

Encode = Callable[[torch.Tensor], torch.Tensor]


def write(folder: Path) -> None:
    """Write checkpoint, supplement, inputs and reference outputs into the folder."""
    weights = tensors(71)
    index = {
        f"{MODEL}encoder.layers.0.blocks.0.attention.self.relative_position_index": torch.zeros(WINDOW**2, WINDOW**2, dtype=torch.int64)
    }
    config = {"model_type": "swin", "embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS, "window_size": WINDOW, "patch_size": PATCH}
    place = folder / "supplement" / "vision_backbone"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(config | {"image_size": SIDE, "hidden_act": "gelu", "layer_norm_eps": EPSILON}))
    write_with(folder, weights, lambda batch: clinical.projected(_swin(weights, batch), weights, "vision_model.projection_head"), index)


def write_with(folder: Path, weights: Tensors, images_of: Encode, constants: Mapping[str, torch.Tensor]) -> None:
    """Write everything of a MedCLIP with any image tower."""
    (folder / "medclip").mkdir(exist_ok=True)
    torch.save(
        {**weights, **constants, "text_model.model.embeddings.position_ids": torch.arange(24)[None]}, folder / "medclip/pytorch_model.bin"
    )
    clinical.write_supplement(folder)
    images = pictures(folder)
    batch = torch.stack([_preprocessed(image) for image in images])
    ids, attended = clinical.tokens(TEXTS)
    image, text = images_of(batch), _texts(weights, TEXTS)
    alone = torch.cat([_texts(weights, [one]) for one in TEXTS])
    prompts = [_texts(weights, group) for group in PROMPTS.values()]
    factor, unclamped = (float(torch.tensor(ln).exp()) for ln in (clinical.HIGHEST_LN, clinical.SCALE_LN))
    logits = factor * image @ text.T
    by_class = [factor * image @ group.T for group in prompts]
    cased, _ = clinical.tokens(TEXTS, lower_case=False)
    write_golden(
        folder,
        {
            "family": "G-medclip",
            "architecture": {"class": "MedCLIP", "text": text_facts()},
            "preprocess": {"image_size": SIDE, "resize_mode": "pad_square_then_resize", "interpolation": "bicubic", "antialias": True}
            | {"mean": [MEAN] * 3, "std": [STD] * 3, "steps": []},
            "tokenizer": {"kind": "wordpiece", "lowercase": True, "context_length": 24},
            "scoring": {"kind": "scaled_cosine", "formula": "logits = exp(clamp(logit_scale,0,4.6052))*cos", "clamped": True},
        },
        files=["medclip/pytorch_model.bin"],
        pictures=len(images),
        texts=TEXTS,
        expected={
            "preprocessed": batch,
            "token_ids": ids,
            "attention_mask": attended,
            "image_embeddings": image,
            "text_embeddings": text,
            "text_embeddings_single": alone,
            "logits": logits,
            "prompt_text_embeddings": torch.cat(prompts),
            "class_logits_mean": torch.stack([one.mean(dim=1) for one in by_class], dim=1),
            "class_logits_max": torch.stack([one.amax(dim=1) for one in by_class], dim=1),
        },
        mistakes=[
            moved("shortest+crop", "preprocessed", batch, torch.stack([_cropped(image) for image in images])),
            moved("masked mean", "text_embeddings", text, _texts(weights, TEXTS, "masked")),
            moved("last hidden only", "text_embeddings", text, _texts(weights, TEXTS, "last state")),
            moved("no padding", "text_embeddings", text, alone),
            clinical.renumbered("cased", ids, cased),
            moved("scale not clamped", "logits", logits, unclamped * image @ text.T),
        ],
        inputs={"class_prompts": PROMPTS},
    )


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """By the published names."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{MODEL}embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        f"{MODEL}embeddings.patch_embeddings.projection.bias": (WIDTH,),
        **norm(f"{MODEL}embeddings.norm", WIDTH),
        **norm(f"{MODEL}layernorm", WIDTH * 2 ** (len(DEPTHS) - 1)),
        "vision_model.projection_head.weight": (clinical.DIMENSIONS, WIDTH * 2 ** (len(DEPTHS) - 1)),
        **clinical.text_shapes("projection_head"),
    }
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        name, width = f"{MODEL}encoder.layers.{stage}", WIDTH * 2**stage
        for number in range(depth):
            block = f"{name}.blocks.{number}"
            shapes |= norm(f"{block}.layernorm_before", width) | norm(f"{block}.layernorm_after", width)
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes |= layer_shapes(f"{block}.attention.{part}", width, width)
            shapes |= {f"{block}.attention.self.relative_position_bias_table": ((2 * WINDOW - 1) ** 2, heads)}
            shapes |= layer_shapes(f"{block}.intermediate.dense", width, 4 * width) | layer_shapes(
                f"{block}.output.dense", 4 * width, width
            )
        if stage < len(DEPTHS) - 1:
            shapes |= {f"{name}.downsample.reduction.weight": (2 * width, 4 * width)} | norm(f"{name}.downsample.norm", 4 * width)
    return drawn(shapes, seed) | {"logit_scale": torch.tensor(clinical.SCALE_LN)}


def _preprocessed(image: Image.Image) -> torch.Tensor:
    """medclip/dataset.py: a grey canvas no smaller than the input, then PIL's bicubic."""
    side = max(SIDE, *image.size)
    canvas = Image.new("L", (side, side), 0)
    canvas.paste(image, (int((side - image.width) / 2), int((side - image.height) / 2)))
    return _standardised(canvas.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _cropped(image: Image.Image) -> torch.Tensor:
    return _standardised(transforms.CenterCrop(SIDE)(transforms.Resize(SIDE, InterpolationMode.BICUBIC)(image)))


def _standardised(image: Image.Image) -> torch.Tensor:
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,) * 3, (STD,) * 3)])
    return steps(image.convert("RGB"))


def _texts(weights: Tensors, texts: Sequence[str], pooling: Pooling = "published") -> torch.Tensor:
    return clinical.projected(clinical.text_features(weights, *clinical.tokens(texts), pooling), weights, "text_model.projection_head")


def _swin(weights: Tensors, batch: torch.Tensor) -> torch.Tensor:
    """The mean of the tokens after the last norm, `(n, width)`."""
    name = f"{MODEL}embeddings.patch_embeddings.projection"
    x = functional.conv2d(batch, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=PATCH).permute(0, 2, 3, 1)
    x = _norm(x, weights, f"{MODEL}embeddings.norm")
    for stage, depth in enumerate(DEPTHS):
        name = f"{MODEL}encoder.layers.{stage}"
        for block in range(depth):
            shift = WINDOW // 2 if block % 2 and x.shape[1] > WINDOW else 0
            x = _block(x, weights, f"{name}.blocks.{block}", HEADS[stage], shift)
        if stage < len(DEPTHS) - 1:
            corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
            x = _norm(torch.cat(corners, dim=-1), weights, f"{name}.downsample.norm") @ weights[f"{name}.downsample.reduction.weight"].T
    return _norm(x, weights, f"{MODEL}layernorm").mean(dim=(1, 2))


def _block(x: torch.Tensor, weights: Tensors, name: str, heads: int, shift: int) -> torch.Tensor:
    number, rows, columns, width = x.shape
    over = (-rows % WINDOW, -columns % WINDOW)
    padded = functional.pad(_norm(x, weights, f"{name}.layernorm_before"), (0, 0, 0, over[1], 0, over[0]))
    shifted = padded.roll((-shift, -shift), dims=(1, 2))
    windows = _windows(shifted)
    q, k, v = (linear(windows, weights, f"{name}.attention.self.{part}").unflatten(-1, (heads, -1)).transpose(1, 2) for part in _PARTS)
    scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5 + _position_biases(weights, name, heads)
    mask = _apart(padded.shape[1], padded.shape[2], shift).repeat(number, 1, 1)[:, None]
    mixed = (torch.softmax(scores + mask, dim=-1) @ v).transpose(1, 2).flatten(2)
    mixed = linear(mixed, weights, f"{name}.attention.output.dense")
    down, across = padded.shape[1] // WINDOW, padded.shape[2] // WINDOW
    whole = mixed.reshape(number, down, across, WINDOW, WINDOW, width).transpose(2, 3).reshape(padded.shape)
    x = x + whole.roll((shift, shift), dims=(1, 2))[:, :rows, :columns]
    inner = gelu(linear(_norm(x, weights, f"{name}.layernorm_after"), weights, f"{name}.intermediate.dense"))
    return x + linear(inner, weights, f"{name}.output.dense")


def _windows(x: torch.Tensor) -> torch.Tensor:
    """`(n, rows, columns, c)` as `(n * windows, tokens, c)`."""
    number, rows, columns, width = x.shape
    return x.reshape(number, rows // WINDOW, WINDOW, columns // WINDOW, WINDOW, width).transpose(2, 3).reshape(-1, WINDOW**2, width)


def _position_biases(weights: Tensors, name: str, heads: int) -> torch.Tensor:
    table = weights[f"{name}.attention.self.relative_position_bias_table"]
    places = [(row, column) for row in range(WINDOW) for column in range(WINDOW)]
    rows = [[(a[0] - b[0] + WINDOW - 1) * (2 * WINDOW - 1) + a[1] - b[1] + WINDOW - 1 for b in places] for a in places]
    return table[torch.tensor(rows)].permute(2, 0, 1).reshape(1, heads, WINDOW**2, WINDOW**2)


def _apart(rows: int, columns: int, shift: int) -> torch.Tensor:
    """-100 between tokens that came together only by the shift, `(windows, tokens, tokens)`."""
    if not shift:
        return torch.zeros(rows * columns // WINDOW**2, 1, 1)

    def region(length: int) -> torch.Tensor:
        return torch.bucketize(torch.arange(length), torch.tensor([length - WINDOW, length - shift]), right=True)

    regions = _windows((3 * region(rows)[:, None] + region(columns)).float()[None, ..., None]).squeeze(-1)
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)


def _norm(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)

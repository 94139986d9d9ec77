"""Small models of our own in the published layouts, with reference outputs in the format of `inference.golden`.

Weights are drawn from a seed; what they give is computed by `tests.golden_reference`, torchvision's transforms and open_clip's
tokenizer, none of which the adapters use for it.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from tests.golden_reference import Activation, encode_images, encode_texts, gelu, quick_gelu

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIDE, LENGTH, DIMENSIONS, WIDTH, TEXT_WIDTH, HEADS, TEXT_HEADS = 32, 77, 12, 24, 16, 3, 2
VOCABULARY = 49408
TEXTS = ("a chest X-ray with Pleural Effusion", "no finding", "caf\u00e9 &amp; MRI   of the brain")
LABELS = ("Atelectasis", "Edema")
SCALE_LN = 2.5

Tensors = dict[str, torch.Tensor]


def write_fixture(kind: str, folder: Path) -> Path:
    """Write the fixture of this kind (a name in KINDS) into the folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind](folder)
    return folder


def vit_tensors(seed: int) -> Tensors:
    """A ViT and a text tower by OpenAI's names, every number of them random."""
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((SIDE // 8) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, DIMENSIONS),
        "visual.conv1.weight": (WIDTH, 3, 8, 8),
        **norm("visual.ln_pre", WIDTH),
        **norm("visual.ln_post", WIDTH),
        **block("visual.transformer.resblocks.0", WIDTH),
        **block("visual.transformer.resblocks.1", WIDTH),
    }
    return drawn(shapes | _text_shapes(), seed)


def resnet_tensors(seed: int) -> Tensors:
    """A ModifiedResNet of one bottleneck a stage, and a text tower."""
    width = 4
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (inside, outside) in enumerate(((3, width // 2), (width // 2, width // 2), (width // 2, width)), start=1):
        shapes |= {f"visual.conv{number}.weight": (outside, inside, 3, 3), **batch_norm(f"visual.bn{number}", outside)}
    inside = width
    for stage in (1, 2, 3, 4):
        name, planes = f"visual.layer{stage}.0", width * 2 ** (stage - 1)
        shapes |= {f"{name}.conv1.weight": (planes, inside, 1, 1), f"{name}.conv2.weight": (planes, planes, 3, 3)}
        shapes |= {f"{name}.conv3.weight": (planes * 4, planes, 1, 1), f"{name}.downsample.0.weight": (planes * 4, inside, 1, 1)}
        shapes |= batch_norm(f"{name}.bn1", planes) | batch_norm(f"{name}.bn2", planes)
        shapes |= batch_norm(f"{name}.bn3", planes * 4) | batch_norm(f"{name}.downsample.1", planes * 4)
        inside = planes * 4
    shapes["visual.attnpool.positional_embedding"] = ((2 * SIDE // 32) ** 2 + 1, inside)
    for part, outside in (("q", inside), ("k", inside), ("v", inside), ("c", DIMENSIONS)):
        shapes |= {f"visual.attnpool.{part}_proj.weight": (outside, inside), f"visual.attnpool.{part}_proj.bias": (outside,)}
    return drawn(shapes | _text_shapes(), seed)


def hf_names(tensors: Tensors) -> Tensors:
    """The same weights by the names of Hugging Face's CLIPModel."""
    plain = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
    parts |= {"visual.transformer.resblocks": "vision_model.encoder.layers", "transformer.resblocks": "text_model.encoder.layers"}
    parts |= {"ln_final": "text_model.final_layer_norm", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    parts |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}
    found: Tensors = {"visual_projection.weight": tensors["visual.proj"].T.contiguous()}
    found["text_projection.weight"] = tensors["text_projection"].T.contiguous()
    for name, tensor in tensors.items():
        if name in plain:
            found[plain[name]] = tensor
        elif ".attn.in_proj_" in name:
            block, kind = _replaced(name, parts).split(".attn.in_proj_")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{block}.self_attn.{part}_proj.{kind}"] = piece.clone()
        elif name not in {"visual.proj", "text_projection"}:
            found[_replaced(name, parts)] = tensor
    return found


def _replaced(name: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _openai_vit(folder: Path) -> None:
    tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in vit_tensors(1).items()}
    torch.save(tensors, folder / "ViT.pt")
    _write(folder, "A-openai-statedict", ["ViT.pt"], [tensors], quick_gelu)


def _torchscript(folder: Path) -> None:
    tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in vit_tensors(2).items()}
    numbers = {"input_resolution": SIDE, "context_length": LENGTH, "vocab_size": VOCABULARY}
    module = module_of(tensors | {name: torch.tensor(value) for name, value in numbers.items()})
    torch.jit.script(module).save(str(folder / "ViT-archive.pt"))
    _write(folder, "A-torchscript", ["ViT-archive.pt"], [tensors], quick_gelu)


def _openai_resnet(folder: Path) -> None:
    tensors = resnet_tensors(3)
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save(
        {"epoch": 3, "best_loss": 0.5, "state_dict": wrapped, "optimizer": {"state": {0: {}}, "param_groups": []}}, folder / "RN.pth"
    )
    vision = {"type": "modified_resnet", "attention_pool_heads": 4}
    _write(folder, "A-openai-statedict", ["RN.pth"], [tensors], quick_gelu, side=2 * SIDE, heads=4, vision=vision)


def _chexzero(folder: Path) -> None:
    members = [vit_tensors(4), vit_tensors(5)]
    (folder / "checkpoints").mkdir(exist_ok=True)
    names = ["checkpoints/best_1.pt", "checkpoints/best_2.pt"]
    for name, tensors in zip(names, members, strict=True):
        torch.save(tensors, folder / name)
    _write(folder, "A-openai-statedict", names, members, quick_gelu, canvas=48)


def _open_clip(folder: Path) -> None:
    tensors = vit_tensors(6)
    (folder / "checkpoint").mkdir(exist_ok=True)
    torch.save(tensors, folder / "checkpoint" / "open_clip_pytorch_model.bin")
    vision = {"image_size": SIDE, "layers": 2, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": 8}
    text = {"context_length": LENGTH, "vocab_size": VOCABULARY, "width": TEXT_WIDTH, "heads": TEXT_HEADS, "layers": 1}
    config = {"model_cfg": {"embed_dim": DIMENSIONS, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "checkpoint" / "open_clip_config.json").write_text(json.dumps(config))
    _write(folder, "A-open_clip-native", ["checkpoint/open_clip_pytorch_model.bin"], [tensors], gelu, factor=100.0)


def _hf_clip(folder: Path) -> None:
    tensors, inner = vit_tensors(7), folder / "checkpoint"
    inner.mkdir(exist_ok=True)
    named = hf_names(tensors)
    save_file(named, inner / "model.safetensors")
    buffers = {f"{tower}_model.embeddings.position_ids": torch.arange(5)[None] for tower in ("text", "vision")}
    torch.save(named | buffers, inner / "pytorch_model.bin")
    vision = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH, "hidden_act": "quick_gelu"}
    text = {"hidden_size": TEXT_WIDTH, "num_attention_heads": TEXT_HEADS, "intermediate_size": 4 * TEXT_WIDTH}
    (inner / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision, "text_config": text}))
    files = ["checkpoint/pytorch_model.bin", "checkpoint/model.safetensors"]
    _write(folder, "C-hf-clip", files, [tensors], quick_gelu, pad_id=49407, texts=TEXTS[:2])


def _of(module: str) -> Callable[[Path], None]:
    """The fixture that another module writes, imported when it is wanted: those modules take their parts from this one."""

    def write(folder: Path) -> None:
        importlib.import_module(module).write(folder)

    return write


KINDS: Mapping[str, Callable[[Path], None]] = {
    "openai-vit": _openai_vit,
    "openai-resnet": _openai_resnet,
    "torchscript": _torchscript,
    "chexzero": _chexzero,
    "open-clip": _open_clip,
    "hf-clip": _hf_clip,
    "siglip": _of("tests.golden_siglip"),
    "flair": _of("tests.golden_flair"),
    "medclip": _of("tests.golden_medclip"),
    "medclip-resnet": _of("tests.golden_medclip_resnet"),
    "ret-clip": _of("tests.golden_ret_clip"),
    "unimed-clip": _of("tests.golden_unimed_clip"),
    "keep": _of("tests.golden_keep"),
}


def module_of(tensors: Tensors) -> torch.nn.Module:
    """A module without any code whose parameters and buffers have these names."""
    root = torch.nn.Module()
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if part not in place._modules:
                place.add_module(part, torch.nn.Module())
            place = place._modules[part]
        if tensor.is_floating_point():
            place.register_parameter(last, torch.nn.Parameter(tensor))
        else:
            place.register_buffer(last, tensor)
    return root


def _write(
    folder: Path,
    family: str,
    files: list[str],
    members: list[Tensors],
    activation: Activation,
    *,
    side: int = SIDE,
    heads: int = HEADS,
    vision: dict[str, Any] | None = None,
    canvas: int = 0,
    factor: float | None = None,
    pad_id: int = 0,
    texts: tuple[str, ...] = TEXTS,
) -> None:
    """Images, expected arrays and golden.json for weights that lie in the folder already."""
    members = [{name: tensor.float() for name, tensor in tensors.items()} for tensors in members]
    images = pictures(folder)
    prompts = [*LABELS, *(f"no {label}" for label in LABELS)] if canvas else list(texts)
    ids = SimpleTokenizer()(prompts, context_length=LENGTH)
    batch = torch.stack([_canvas_transform(image, side, canvas) if canvas else shortest_transform(image, side) for image in images])
    squashed = torch.stack([squash_transform(image, side) for image in images])

    def vectors(act: Activation) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.stack([encode_images(tensors, batch, heads, act) for tensors in members])
        return image, torch.stack([encode_texts(tensors, ids, TEXT_HEADS, act) for tensors in members])

    image, text = vectors(activation)
    other_image, other_text = vectors(gelu if activation is quick_gelu else quick_gelu)
    padded = torch.where(ids == 0, pad_id, ids)
    expected: dict[str, torch.Tensor] = {"preprocessed": batch, "token_ids": padded}
    cosines = image @ text.transpose(1, 2)
    if canvas:
        positive, negative = cosines.chunk(2, dim=-1)
        shares = torch.sigmoid(positive - negative)
        expected |= {"image_embeddings": image, "text_embeddings": text, "cosine_positive": positive, "cosine_negative": negative}
        expected |= {"probabilities_per_checkpoint": shares, "probabilities": shares.mean(dim=0)}
    else:
        logits = (factor or float(members[0]["logit_scale"].exp())) * cosines[0]
        expected |= {"image_embeddings": image[0], "text_embeddings": text[0], "logits": logits, "probabilities": logits.softmax(dim=-1)}
    np.savez(folder / "expected.npz", **{name: array.numpy() for name, array in expected.items()})
    mistakes = [
        {"mistake": "wrong gelu", "array": "text_embeddings", "max_abs_difference": float((other_text - text).abs().max())},
        {"mistake": "squash", "array": "preprocessed", "max_abs_difference": float((squashed - batch).abs().max())},
        {"mistake": "shuffled weights", "array": "image_embeddings", "max_abs_difference": 1.0},
        {"mistake": "shuffled weights", "array": "text_embeddings", "max_abs_difference": 1.0},
    ]
    if vision is None:
        mistakes.append(
            {"mistake": "wrong gelu", "array": "image_embeddings", "max_abs_difference": float((other_image - image).abs().max())}
        )
    golden = {
        "format_version": 1,
        "fixture": folder.name,
        "family": family,
        "title": f"Small model of the tests, {family}",
        "checkpoint": {"dir": str(Path(files[0]).parent), "files": [{"path": name} for name in files]},
        "architecture": {
            "quick_gelu": activation is quick_gelu,
            "vision": vision or {"type": "vit", "heads": heads},
            "text": {"heads": TEXT_HEADS},
        },
        "preprocess": _preprocess_facts(side, canvas),
        "tokenizer": {"kind": "clip_bpe", "context_length": LENGTH, "pad_id": pad_id, "lowercase": True},
        "scoring": {"kind": "paired_softmax_ensemble" if canvas else "softmax", "formula": ""}
        | ({"temperature_factor": factor} if factor else {}),
        "inputs": {"images": [{"file": f"inputs/{number}.png"} for number in range(len(images))], "texts": prompts, "labels": list(LABELS)},
        "expected": {"file": "expected.npz", "arrays": {name: {"axes": ""} for name in expected}},
        "tolerance": {
            "token_ids": "exact",
            "preprocessed_max_abs": 2e-4 if canvas else 1e-5,
            "embeddings_max_abs": 1e-5,
            "logits_max_abs": 1e-3,
            "probabilities_max_abs": 1e-4,
        },
        "typical_mistakes": mistakes,
    }
    if len(members) > 1:
        golden["checkpoint"]["ensemble"] = "mean over all files"
    (folder / "golden.json").write_text(json.dumps(golden, indent=1))


def _preprocess_facts(side: int, canvas: int) -> dict[str, Any]:
    if not canvas:
        facts = {"resize_mode": "shortest", "interpolation": "bicubic", "antialias": True, "steps": ["centre crop"]}
        return {"image_size": side, "mean": MEAN, "std": STD, **facts}
    return {
        "image_size": side,
        "resize_mode": "pad_square_then_tensor_resize",
        "interpolation": "LANCZOS (stage 1, PIL, 8 bit), bicubic (stage 2, float tensor)",
        "antialias": {"stage_1": True, "stage_2": False},
        "mean": [101.48761] * 3,
        "std": [83.43944] * 3,
        "steps": [f"paste on a black {canvas}x{canvas} 8-bit grey canvas"],
    }


def shortest_transform(image: Image.Image, side: int) -> torch.Tensor:
    steps = [transforms.Resize(side, InterpolationMode.BICUBIC), transforms.CenterCrop(side), lambda one: one.convert("RGB")]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])(image)


def squash_transform(image: Image.Image, side: int) -> torch.Tensor:
    steps = [transforms.Resize((side, side), InterpolationMode.BICUBIC), lambda one: one.convert("RGB")]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])(image)


def _canvas_transform(image: Image.Image, side: int, canvas: int) -> torch.Tensor:
    """CheXzero: data_process.preprocess, then CXRTestDataset with its tensor Resize as torchvision 0.11 did it."""
    ratio = float(canvas) / max(image.size)
    small = image.convert("RGB").resize(tuple(int(length * ratio) for length in image.size), Image.Resampling.LANCZOS)
    square = Image.new("L", (canvas, canvas))
    square.paste(small, ((canvas - small.width) // 2, (canvas - small.height) // 2))
    pixels = torch.from_numpy(np.repeat(np.asarray(square, dtype=np.float32)[None], 3, axis=0))
    pixels = transforms.Normalize((101.48761,) * 3, (83.43944,) * 3)(pixels)
    return transforms.Resize(side, InterpolationMode.BICUBIC, antialias=False)(pixels)


def pictures(folder: Path) -> list[Image.Image]:
    """Smooth pictures of three shapes, grey and colour; saved as inputs/N.png."""
    (folder / "inputs").mkdir(exist_ok=True)
    generator = np.random.default_rng(11)
    found = []
    for number, (mode, size) in enumerate((("RGB", (60, 43)), ("L", (41, 67)), ("RGB", (32, 37)))):
        noise = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
        image.save(folder / "inputs" / f"{number}.png")
        found.append(image)
    return found


def _text_shapes() -> dict[str, tuple[int, ...]]:
    return {
        "token_embedding.weight": (VOCABULARY, TEXT_WIDTH),
        "positional_embedding": (LENGTH, TEXT_WIDTH),
        **block("transformer.resblocks.0", TEXT_WIDTH),
        **norm("ln_final", TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, DIMENSIONS),
        "logit_scale": (),
    }


def block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **norm(f"{name}.ln_1", width),
        f"{name}.attn.in_proj_weight": (3 * width, width),
        f"{name}.attn.in_proj_bias": (3 * width,),
        f"{name}.attn.out_proj.weight": (width, width),
        f"{name}.attn.out_proj.bias": (width,),
        **norm(f"{name}.ln_2", width),
        f"{name}.mlp.c_fc.weight": (4 * width, width),
        f"{name}.mlp.c_fc.bias": (4 * width,),
        f"{name}.mlp.c_proj.weight": (width, 4 * width),
        f"{name}.mlp.c_proj.bias": (width,),
    }


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {**norm(name, width), f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {name: _one(name, shape, generator) for name, shape in shapes.items()}


def _one(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name == "logit_scale":
        return torch.tensor(SCALE_LN)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    drawn = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return drawn.abs() + 0.5
    is_gain = name.endswith(".weight") and len(shape) == 1
    return 1 + 0.2 * drawn if is_gain else drawn * (max(1, torch.Size(shape[1:]).numel()) ** -0.5 if len(shape) > 1 else 0.3)

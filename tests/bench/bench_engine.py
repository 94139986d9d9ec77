"""The engine against the bare open_clip model, taking turns in one run: the model that ships, and one as large as the smallest published.

The bare model's `encode_image` on tensors that are ready is the measure. Beside it: open_clip from 8-bit pictures with its own
transform; the engine from frames of the model's own size, where hardly anything but the model is left (the model's share); and the
engine from frames of a common size (8 bit, resize, normalise, encode). On a busy machine only CPU time means something, on a GPU
only the clock.

Run: python -m tests.bench.bench_engine [images] [side in pixels] [device]
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.factory import create_model_and_transforms
from open_clip.model import CLIP
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from config import Catalogue, load
from config.manifests import ModelManifest
from inference.engine import Engine
from inference.findings import ImageRef
from inference.frames import Frame

BATCH = 32
ROUNDS = 5
SHIPPED = "gatekeeper"
MEASURE = "open_clip, encode_image on ready tensors"
Device = Literal["auto", "cpu", "cuda"]

# ViT-B/32 as published by OpenAI, with a text tower of one small layer, which is not asked.
_VIT_B_32 = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The least CPU time (all threads) and the least time on the clock of several rounds, in seconds."""

    cpu: float
    clock: float


def main(images: int = 64, side: int = 512, device: Device = "auto") -> None:
    with tempfile.TemporaryDirectory() as folder:
        shipped = load(None)[1]
        for name, catalogue in ((SHIPPED, shipped), ("ViT-B/32, drawn weights", _with_vit(shipped, Path(folder)))):
            _measure(name, catalogue, images=images, side=side, device=device)


def _measure(title: str, catalogue: Catalogue, *, images: int, side: int, device: Device) -> None:
    manifest = next(manifest for manifest in catalogue.manifests if manifest.name in {SHIPPED, "vit"})
    own = manifest.preprocessing.image_size
    engine = Engine(catalogue, device=device, batch_size=BATCH, cache_folder=None)
    bare, _, preprocess = create_model_and_transforms(
        f"local-dir:{catalogue.weights_path(manifest)}", require_pretrained=True, device=engine.device
    )
    bare.eval()
    rng = np.random.default_rng(1)
    pixels = [rng.random((side, side), dtype=np.float32) for _ in range(images)]
    pictures = [Image.fromarray(np.rint(one * 255).astype(np.uint8)) for one in pixels]
    frames = [_frame(one, number) for number, one in enumerate(pixels)]
    small = [_frame(rng.random((own, own), dtype=np.float32), number) for number in range(images)]
    tensors = [torch.stack([preprocess(one) for one in part]) for part in _parts(pictures)]

    def encode(batch: torch.Tensor) -> None:
        with torch.inference_mode(), torch.autocast("cuda", enabled=engine.device == "cuda"):
            torch.nn.functional.normalize(bare.encode_image(batch.to(engine.device)).float(), dim=-1).cpu()

    runs: dict[str, Callable[[], object]] = {
        MEASURE: lambda: [encode(batch) for batch in tensors],
        "engine, frames of the model's own size": lambda: engine.embed(manifest.name, small),
        f"open_clip, 8-bit pictures of {side} x {side}": lambda: [
            encode(torch.stack([preprocess(one) for one in part])) for part in _parts(pictures)
        ],
        f"engine, frames of {side} x {side}": lambda: engine.embed(manifest.name, frames),
    }
    _print(f"{title}: {images} images, batch {BATCH}, {engine.device}, {torch.get_num_threads()} threads", _taken(runs), images)


def _print(title: str, taken: dict[str, Taken], images: int) -> None:
    table = Table(title=title)
    for column in ("what", "images a CPU second", "of the measure", "images a second", "of the measure"):
        table.add_column(column, justify="left" if column == "what" else "right")
    measure = taken[MEASURE]
    for name, one in taken.items():
        cpu, clock = measure.cpu / one.cpu, measure.clock / one.clock
        table.add_row(name, f"{images / one.cpu:.1f}", f"{cpu:.2f}", f"{images / one.clock:.1f}", f"{clock:.2f}")
    Console(width=120).print(table)


def _taken(runs: dict[str, Callable[[], object]]) -> dict[str, Taken]:
    """The candidates take turns, so that other load matters little."""
    rounds: dict[str, list[Taken]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            cpu, clock = time.process_time(), time.perf_counter()
            run()
            rounds[name].append(Taken(cpu=time.process_time() - cpu, clock=time.perf_counter() - clock))
    return {name: Taken(cpu=min(one.cpu for one in taken), clock=min(one.clock for one in taken)) for name, taken in rounds.items()}


def _parts(pictures: Sequence[Image.Image]) -> list[Sequence[Image.Image]]:
    return [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]


def _with_vit(shipped: Catalogue, folder: Path) -> Catalogue:
    """The catalogue with one model, whose weights are drawn and lie in `folder`."""
    torch.manual_seed(0)
    preprocess = {"size": 224, "mean": _MEAN, "std": _STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = json.dumps({"model_cfg": _VIT_B_32, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(config, encoding="utf-8")
    network = CLIP(**cast("Any", _VIT_B_32))
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    facts = shipped.manifest(SHIPPED).model_dump() | {
        "name": "vit",
        "architecture": {"family": "open_clip", "quick_gelu": True, "logit_scale": {"kind": "stored"}},
        "tokenizer": {
            "kind": "clip-bpe",
            "context_length": 77,
            "pad_id": 0,
            "clean_up": ("repair", "collapse-whitespace", "lower-case"),
        },
        "preprocessing": {
            "image_size": 224,
            "resize_mode": "shortest",
            "interpolation": "bicubic",
            "crop_offset": "round",
            "mean": _MEAN,
            "std": _STD,
        },
        "weights": {
            "folder": str(folder),
            "sha256": _digest(folder / "open_clip_model.safetensors"),
            "files": {"open_clip_config.json": _digest(folder / "open_clip_config.json")},
        },
    }
    return replace(shipped, routes=(), manifests=(ModelManifest.model_validate(facts),))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _frame(pixels: NDArray[np.float32], number: int) -> Frame:
    return Frame(
        pixels=pixels,
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid=f"2.25.{number}"),
        modality="DX",
        photometric_interpretation="MONOCHROME2",
        steps=(),
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*(int(one) for one in arguments[:2]), **({"device": cast("Device", arguments[2])} if len(arguments) > 2 else {}))

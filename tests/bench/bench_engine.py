"""The engine (8-bit, resize, normalise, encode, score) against the bare open_clip model, in one run.

CPU time, because other work on the machine disturbs it least; on a GPU it is not the whole cost.

Run: python tests/bench/bench_engine.py [images] [side in pixels]
"""

import os
import sys
import time
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.factory import create_model_and_transforms
from PIL import Image
from rich.console import Console
from rich.table import Table

from config import load
from inference.engine import Engine
from inference.findings import ImageRef
from inference.frames import Frame

BATCH = 32
ROUNDS = 6
ENGINE = "engine.scores, from frames"


def main(images: int = 64, side: int = 1024) -> None:
    _, catalogue = load(None)
    manifest, prompts = next((one, one.gate.prompt_set) for one in catalogue.manifests if one.gate is not None)
    folder = catalogue.weights_path(manifest)
    engine = Engine(catalogue, device="auto", batch_size=BATCH, cache_folder=None)
    bare, _, preprocess = create_model_and_transforms(f"local-dir:{folder}", require_pretrained=True, device=engine.device)
    bare.eval()
    pixels = np.random.default_rng(1).random((images, side, side), dtype=np.float32)
    pictures = [Image.fromarray(np.rint(one * 255).astype(np.uint8)) for one in pixels]
    frames = [_frame(one, number) for number, one in enumerate(pixels)]
    tensors = [torch.stack([preprocess(one) for one in pictures[start : start + BATCH]]) for start in range(0, images, BATCH)]

    def encode(batch: torch.Tensor) -> None:
        with torch.inference_mode(), torch.autocast("cuda", enabled=engine.device == "cuda"):
            bare.encode_image(batch.to(engine.device)).cpu()

    def bare_model() -> None:
        for batch in tensors:
            encode(batch)

    def bare_with_preprocessing() -> None:
        for start in range(0, images, BATCH):
            encode(torch.stack([preprocess(one) for one in pictures[start : start + BATCH]]))

    runs: dict[str, Callable[[], object]] = {
        "open_clip, forward pass only": bare_model,
        "open_clip, from 8-bit pictures": bare_with_preprocessing,
        ENGINE: lambda: engine.scores(manifest.name, prompts, frames),
    }
    seconds = _shortest_cpu_seconds(runs)
    table = Table(title=f"{images} images of {side} x {side}, batch {BATCH}, {engine.device}, {torch.get_num_threads()} threads")
    for column in ("what", "images per CPU second", "CPU time against this"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, taken in seconds.items():
        table.add_row(name, f"{images / taken:.0f}", f"{seconds[ENGINE] / taken:.2f}")
    Console().print(table)


def _shortest_cpu_seconds(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least CPU time (all threads) of several rounds in which the candidates take turns, so that other load matters little."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: min(taken) for name, taken in seconds.items()}


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
    main(*(int(argument) for argument in (*sys.argv[1:], *("256", "512")[len(sys.argv) - 1 :])))

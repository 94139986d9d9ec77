"""Reading frames against plain pydicom and PIL, taking turns in one run: frames and megapixels a second, and memory.

The measure reads each file with `pydicom.dcmread(...).pixel_array` and makes the model's input of it with PIL: scaled to 8 bits,
resized, normalised; no window, no checks. Beside it: the same work through `read_frames`, one file at a time; and through `read_ahead`,
with decoding processes, which is what an analysis does. The clock counts, since processes are what is measured; run it on a quiet machine.
The table is Markdown.

Run: python -m tests.bench.bench_frames [CT slices whose memory is measured]
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from config import load
from inference.frames import read_ahead, read_frames
from inference.preprocessing import preprocessor
from tests import encodings
from tests.builders import ct_slice, radiograph, write_file

FILES, ROUNDS = 12, 2
SLICES = 3000
_MEAN, _STD = 0.45, 0.27

_MEMORY = """
import json, sys
from pathlib import Path
from inference.frames import read_ahead, read_frames
from tests.peak_memory import peak_kb
path, slices = Path(sys.argv[1]), int(sys.argv[2])
list(read_frames(path, [1], maximum_megapixels=100))
before = peak_kb() // 1024
read = sum(1 for frames in read_ahead([(path, [1])] * slices, maximum_megapixels=100) for _ in frames)
print(json.dumps({"read": read, "before": before, "peak": peak_kb() // 1024}))
"""


def main(slices: int = SLICES) -> None:
    warnings.simplefilter("ignore")
    prepare = preprocessor(load(None)[1].manifest("gatekeeper").preprocessing)
    versions = ", ".join(f"{name} {version(name)}" for name in ("pydicom", "pillow", "numpy"))
    print(f"Best of {ROUNDS} rounds, {len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}, {versions}\n")
    print(
        "| frames a second, input of gatekeeper included | pydicom + PIL | one at a time | ahead | ahead, MP/s | ahead / pydicom + PIL |\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in _kinds(Path(folder)):
            header = dcmread(paths[0], stop_before_pixels=True)
            megapixels = header.Rows * header.Columns / 1e6
            runs: dict[str, Callable[[], object]] = {
                "plain": lambda paths=paths: [_plainly(path) for path in paths],
                "one": lambda paths=paths: [prepare(frame) for path in paths for frame in read_frames(path, [1], maximum_megapixels=100)],
                "ahead": lambda paths=paths: [
                    prepare(frame) for frames in read_ahead([(path, [1]) for path in paths], maximum_megapixels=100) for frame in frames
                ],
            }
            taken = _taken(runs)
            plain, one, ahead = (len(paths) / taken[kind] for kind in runs)
            print(f"| {name} | {plain:.1f} | {one:.1f} | {ahead:.1f} | {ahead * megapixels:.1f} | {ahead / plain:.2f} |", flush=True)
        print()
        _memory(Path(folder), slices)


def _plainly(path: Path) -> torch.Tensor:
    pixels = dcmread(path).pixel_array.astype(np.float32)
    low, high = pixels.min(), pixels.max()
    levels = ((pixels - low) * (255 / max(high - low, 1))).astype(np.uint8)
    image = Image.fromarray(levels).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - _MEAN) / _STD


def _taken(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def _kinds(folder: Path) -> Sequence[tuple[str, list[Path]]]:
    grey, wide, eight = _anatomy(512), _anatomy(3000), (_anatomy(512) // 16).astype(np.uint8)
    kinds: list[tuple[str, Path]] = [("CT 512 x 512, uncompressed", write_file(folder / "plain.dcm", _slice(grey)))]
    for name, uid in (("JPEG 2000", JPEG2000Lossless), ("JPEG-LS", JPEGLSLossless), ("RLE", RLELossless)):
        kinds.append((f"CT 512 x 512, {name}", _compressed(folder, name, _slice(grey), uid)))
    if encodings.has("dcmcjpeg"):
        kinds.append(("CT 512 x 512, JPEG Lossless", _by_dcmtk(folder, "jpeg-lossless", _slice(grey), JPEGLosslessSV1)))
        kinds.append(("8 bits 512 x 512, JPEG Baseline", _by_dcmtk(folder, "jpeg", encodings.eight_bits(eight), JPEGBaseline8Bit)))
    kinds.append(("DX 3000 x 3000, uncompressed", write_file(folder / "dx.dcm", radiograph(pixels=wide, BitsStored=12, HighBit=11))))
    kinds.append(
        ("DX 3000 x 3000, JPEG-LS", _compressed(folder, "wide", radiograph(pixels=wide, BitsStored=12, HighBit=11), JPEGLSLossless))
    )
    return [(name, [path] * (FILES if "512" in name else FILES // 6)) for name, path in kinds]


def _anatomy(side: int) -> np.ndarray:
    """Smooth shapes and the noise of a scanner, which is what compression has to deal with; 12 bits."""
    row, column = np.mgrid[0:side, 0:side] / side
    shapes = (np.sin(row * 18) + np.cos(column * 14) + 2) * 700
    return (shapes + np.random.default_rng(1).normal(0, 12, shapes.shape)).clip(0, 4095).astype(np.uint16)


def _slice(pixels: np.ndarray) -> Dataset:
    return ct_slice(pixels=pixels, BitsStored=12, HighBit=11)


def _compressed(folder: Path, name: str, header: Dataset, transfer_syntax: UID) -> Path:
    target = folder / name
    target.mkdir()
    return encodings.by_pydicom(target, header, transfer_syntax)


def _by_dcmtk(folder: Path, name: str, header: Dataset, transfer_syntax: UID) -> Path:
    target = folder / name
    target.mkdir()
    return encodings.by_dcmtk(target, header, transfer_syntax)


def _memory(folder: Path, slices: int) -> None:
    """Peak memory of the process that reads; its decoders are beside it."""
    project = Path(__file__).parents[2]
    for name, path in (("uncompressed", folder / "plain.dcm"), ("JPEG-LS", folder / "JPEG-LS" / "by-pydicom.dcm")):
        command = [sys.executable, "-W", "ignore", "-c", _MEMORY, str(path), str(slices)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=project).stdout)
        print(f"{found['read']:,} slices of CT, {name}: {found['before']} MB after the first, {found['peak']} MB at most")


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:2]))

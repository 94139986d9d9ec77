"""Heat maps of the model that ships: what one costs, and whether it says what moves the score.

- Cost: seconds for all maps of one frame, on the model that ships and on one as large as the smallest published.
- Deletion (Petsiuk et al., RISE, BMVC 2018): how far a score falls without the hottest tenth of the image, against another tenth of the
  same shape; hidden by blur, as the map was made, and by the mean colour, as it was not.
- Grid pointing game (Böhle et al., CoDA Nets, CVPR 2021): four images of four kinds in one; the share of the heat of a kind, and its
  peak, in the quarter that shows it. Chance is 0.25.
- Polyps: peaks in boxes drawn by eye (`labels/polyp-boxes.yaml`).

Run: python -m tests.bench.heat_maps FOLDER   (the development set: MANIFEST.csv and images/)
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from config import Catalogue, load
from config.heads import ANY_IMAGE
from inference.engine import Engine
from inference.explanation.answer import Subject, answer_of
from inference.explanation.heat_map import HeatMap, heat_maps
from inference.explanation.occlusion import GRID, blurred, hidden, log_odds
from inference.frames import Frame
from tests.bench.bench_engine import SHIPPED, _with_vit
from tests.phantoms import as_frame

CONSOLE = Console()
SOURCES = (
    ("histology", "path_lc25000"),
    ("blood-smear", "micro_bccd"),
    ("colonoscopy-image", "endo_hyperkvasir"),
    ("dermoscopic-image", "derm_isic2017"),
    ("brain-mr", "mr_brain"),
    ("chest-radiograph", "cxr_kermany"),
)
DELETED = (
    ("demonstration-colonoscopy", "colon-polyp", "endo_hyperkvasir/polyps_*"),
    ("demonstration-chest-radiograph", "pneumonia", "cxr_kermany/*"),
    ("demonstration-dermoscopy", "melanoma", "derm_isic2017/*"),
)
MOST, MOSAICS, SIDE = 20, 12, 128
LONGEST = 512
CLEAR = 0.5  # a score below that is not of a finding


class Model:
    """A model of a catalogue, asked for scores and maps."""

    def __init__(self, catalogue: Catalogue, name: str) -> None:
        self.catalogue, self.name = catalogue, name
        self.engine = Engine(catalogue, device="cpu", batch_size=32, cache_folder=None)

    def maps(self, frame: Frame, prompt_set: str, labels: Sequence[str], longest_side: int = LONGEST) -> tuple[HeatMap, ...]:
        answer = answer_of(
            Subject(images=(frame.ref,), views=ANY_IMAGE),
            labels,
            model=self.catalogue.manifest(self.name),
            prompt_set=self.catalogue.prompt_set(prompt_set),
            scorer=self.engine,
            frames=[frame],
            place=0,
        )
        return heat_maps(frame, tuple(labels), answer, longest_side=longest_side)

    def scores(self, frames: Sequence[Frame], prompt_set: str, label: str) -> NDArray[np.float64]:
        rows = self.engine.scores(self.name, prompt_set, frames)
        return log_odds(np.array([next(score.value for score in row if score.label == label) for row in rows]))


def main(data: Path) -> None:
    shipped = load(None)[1]
    with tempfile.TemporaryDirectory() as folder:
        cost((("model that ships", Model(shipped, SHIPPED)), ("ViT-B/32, drawn weights", Model(_with_vit(shipped, Path(folder)), "vit"))))
    model = Model(shipped, SHIPPED)
    grid(model, data)
    polyps(model, data)
    deletion(model, data)


def cost(models: Sequence[tuple[str, Model]]) -> None:
    table = Table("model", "clock, s a frame", "CPU, s a frame", title="All maps of one frame of 1024 x 1024, median of 3")
    frame = as_frame(np.random.default_rng(1).random((1024, 1024), dtype=np.float32))
    for title, model in models:
        side = 4 * model.catalogue.manifest(model.name).preprocessing.image_size
        model.maps(frame, "demonstration-chest-radiograph", ["pneumonia"], side)
        taken = []
        for _ in range(3):
            clock, cpu = time.perf_counter(), time.process_time()
            model.maps(frame, "demonstration-chest-radiograph", ["pneumonia"], side)
            taken.append((time.perf_counter() - clock, time.process_time() - cpu))
        table.add_row(title, *(f"{median(values):.2f}" for values in zip(*taken, strict=True)))
    CONSOLE.print(table)


def picture(path: Path, side: int | None = None) -> NDArray[np.float32]:
    with Image.open(path) as file:
        image = file.convert("L" if file.mode in {"L", "I;16", "1"} and side is None else "RGB")
    if side is not None:
        image = image.resize((side, side), Image.Resampling.BOX)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def mosaics(data: Path) -> Iterator[tuple[Frame, list[str]]]:
    random = np.random.default_rng(3)
    for _ in range(MOSAICS):
        chosen = [SOURCES[number] for number in random.permutation(len(SOURCES))[:4]]
        files = [sorted((data / "images" / folder).iterdir()) for _, folder in chosen]
        tiles = [picture(found[random.integers(len(found))], SIDE) for found in files]
        whole = np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])
        yield as_frame(whole), [kind for kind, _ in chosen]


def grid(model: Model, data: Path) -> None:
    hits, shares, placed = [], [], []
    for frame, kinds in mosaics(data):
        for quarter, found in enumerate(model.maps(frame, "kind-of-image", kinds)):
            rows, columns = (slice(half * GRID // 2, (half + 1) * GRID // 2) for half in divmod(quarter, 2))
            warm = np.clip(found.heat, 0, None)
            row, column = np.unravel_index(int(np.argmax(found.heat)), found.heat.shape)
            hits.append(divmod(quarter, 2) == (2 * int(row) // GRID, 2 * int(column) // GRID))
            shares.append(float(warm[rows, columns].sum() / max(float(warm.sum()), 1e-9)))
            placed.append(found.has_a_place)
    of_placed = np.mean([hit for hit, place in zip(hits, placed, strict=True) if place])
    CONSOLE.print(
        f"Grid pointing game, {len(hits)} maps: peak in the right quarter {np.mean(hits):.2f}, share of heat there {np.mean(shares):.2f};"
        f" of {sum(placed)} with a place {of_placed:.2f}"
    )


def polyps(model: Model, data: Path) -> None:
    boxes = yaml.safe_load((Path(__file__).parent / "labels" / "polyp-boxes.yaml").read_text())
    hits, covered = 0, []
    falls: list[list[float]] = []
    for name, (left, top, right, bottom) in boxes.items():
        frame = as_frame(picture(data / "images" / "endo_hyperkvasir" / name))
        rows, columns = frame.pixels.shape[:2]
        (found,) = model.maps(frame, "demonstration-colonoscopy", ["colon-polyp"])
        column, row = found.peak
        hits += left * columns <= column <= right * columns and top * rows <= row <= bottom * rows
        covered.append((right - left) * (bottom - top))
        cells = (np.arange(GRID) + 0.5) / GRID
        box = np.outer((top <= cells) & (cells <= bottom), (left <= cells) & (cells <= right))
        hot = found.heat >= np.sort(found.heat, axis=None)[-int(box.sum())]
        hiding = [as_frame(hidden(frame.pixels, blurred(frame.pixels), part.astype(np.float32))) for part in (box, hot)]
        whole, *without = model.scores([frame, *hiding], "demonstration-colonoscopy", "colon-polyp")
        falls.append([float(whole - one) for one in without])
    of_box, of_hot = np.mean(falls, axis=0)
    CONSOLE.print(
        f"Polyps, {len(boxes)} boxes: peak inside {hits}, by chance {sum(covered):.1f}. The log odds fall by {of_box:.2f} without polyp,"
        f" by {of_hot:.2f} without the hottest part of the same size"
    )


def deletion(model: Model, data: Path) -> None:
    columns = ("finding", "images", "hottest, blur", "another tenth, blur", "hottest, mean colour", "another tenth, mean colour", "further")
    table = Table(*columns, title=f"Fall of the log odds without a tenth of the image, images with a score from {CLEAR}")
    for prompt_set, label, pattern in DELETED:
        falls = []
        for path in sorted((data / "images").glob(pattern)):
            frame = as_frame(picture(path))
            if len(falls) < MOST and model.scores([frame], prompt_set, label)[0] >= log_odds(np.array(CLEAR)):
                falls.append(_falls(model, frame, prompt_set, label))
        if falls:
            further = np.mean([fall[2] > fall[3] for fall in falls])
            table.add_row(label, str(len(falls)), *(f"{value:.2f}" for value in np.mean(falls, axis=0)), f"{further:.2f}")
    CONSOLE.print(table)


def _falls(model: Model, frame: Frame, prompt_set: str, label: str) -> tuple[float, float, float, float]:
    (found,) = model.maps(frame, prompt_set, [label])
    hot = found.heat >= np.sort(found.heat, axis=None)[-GRID * GRID // 10]
    random = np.random.default_rng(7)
    parts = [hot, *(np.roll(hot, tuple(random.integers(4, GRID - 4, 2)), axis=(0, 1)) for _ in range(8))]
    flat = np.broadcast_to(frame.pixels.mean(axis=(0, 1)), frame.pixels.shape).astype(np.float32)
    answers = []
    for filling in (blurred(frame.pixels), flat):
        changed = [as_frame(hidden(frame.pixels, filling, part.astype(np.float32))) for part in parts]
        whole, without, *others = model.scores([frame, *changed], prompt_set, label)
        answers += [float(whole - without), float(whole - np.mean(others))]
    return answers[0], answers[1], answers[2], answers[3]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A slide of ten gigapixels through an analysis: time and peak memory, in a process of its own.

The slide is 100,000 x 100,000 pixels at 0.25 um in 250,000 JPEG frames that repeat a few encoded tiles, with three coarser levels. It is
analysed with the model that ships (asked for findings as on a slide), once with offset tables and once without, and once without the
coarser levels. The first line is the same process without any slide: interpreter, torch and model.

Run: python -m tests.bench.bench_slide [side in pixels] [--keep FOLDER]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from config import load
from config.manifests import SlidesSection
from config.routes import RouteRule
from inference.analysis import analyse
from inference.engine import Engine
from inference.selection import SelectedInstance
from tests.slides import GLASS, LESION, TISSUE, LevelFacts, header_of, jpeg, repeated, write_level
from tests.slides import Table as OffsetTable

SIDE = 100_000
SPACING_UM = 0.25
TILE = (200, 200)
FACTORS = (1, 4, 16, 64)
TABLES: tuple[OffsetTable, ...] = ("basic", "extended", "none")
MODEL, PROMPTS = "gatekeeper", "demonstration-chest-radiograph"
MOST = 1.5e9  # bytes: what is promised for a slide of ten gigapixels


def main(arguments: Sequence[str]) -> int:
    """Write the slides, analyse each in a new process, print a table; 1 if one took more memory than is promised."""
    if arguments[:1] == ["--analyse"]:
        print(json.dumps(measured([Path(path) for path in arguments[1:]])))
        return 0
    keep = Path(arguments[arguments.index("--keep") + 1]) if "--keep" in arguments else None
    side = int(arguments[0]) if arguments and arguments[0].isdigit() else SIDE
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        return _compare(folder, side, Console())


def write_slide(folder: Path, side: int, table: OffsetTable) -> tuple[SelectedInstance, ...]:
    """Write the levels of the slide: two sections of tissue, one with a dark spot."""
    folder.mkdir(parents=True, exist_ok=True)
    tiles = [jpeg(_tile(colour, seed)) for seed, colour in enumerate((GLASS, TISSUE, TISSUE, TISSUE, LESION))]
    written = []
    for number, factor in enumerate(FACTORS, start=1):
        length = -(-side // factor)
        level = LevelFacts(rows=length, columns=length, tile=TILE, spacing_um=SPACING_UM * factor, number=number)
        frames = repeated(level, tiles, lambda row, column, level=level: _which(row, column, level))
        written.append(write_level(folder / f"{table}-{number}.dcm", header_of(level), frames, table=table))
    return tuple(written)


def measured(paths: Sequence[Path]) -> dict[str, float | str]:
    """Analyse one slide, or nothing; return seconds, peak memory of this process in bytes, and what the report says of it."""
    catalogue = load(None)[1]
    section = SlidesSection(microns_per_pixel=0.5, source="as PLIP")
    manifest = catalogue.manifest(MODEL).model_copy(update={"slides": section})
    catalogue = replace(catalogue, manifests=(manifest,))
    engine = Engine(catalogue, device="cpu", batch_size=32, cache_folder=None)
    engine.prompt_embeddings(MODEL, PROMPTS)
    began = time.monotonic()
    said = ""
    if paths:
        analysis = analyse(
            study_instance_uid="2.25.7",
            revision=1,
            route=RouteRule(name="microscopy", model=MODEL, prompt_set=PROMPTS),
            selected=[SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True)) for path in paths],
            excluded=(),
            engine=engine,
            catalogue=catalogue,
            site="bench",
            analysed_at=datetime.now(UTC),
            maximum_frame_megapixels=400,
        )
        said = "; ".join((*analysis.remarks, *(abstention.detail for abstention in analysis.abstentions)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": time.monotonic() - began, "peak": peak, "said": said}


def _compare(folder: Path, side: int, console: Console) -> int:
    table = Table(title=f"a slide of {side:,} x {side:,} pixels, analysed on the CPU")
    for column in ("", "files", "seconds", "peak memory", "of it for the slide"):
        table.add_column(column, justify="left" if not column else "right")
    nothing = in_a_process([])
    table.add_row("no slide", "", "", f"{nothing['peak'] / 1e6:.0f} MB", "")
    worst, said = float(nothing["peak"]), []
    for name in (*TABLES, "only the finest level"):
        offset_table: OffsetTable = "basic" if name not in TABLES else name  # type: ignore[assignment]  # one of them
        paths = [one.path for one in write_slide(folder, side, offset_table)]
        paths = paths if name in TABLES else paths[:1]
        size = sum(path.stat().st_size for path in paths)
        result = in_a_process(paths)
        peak = float(result["peak"])
        what = f"offset table: {name}" if name in TABLES else name
        megabytes = [f"{number / 1e6:.0f} MB" for number in (size, peak, peak - float(nothing["peak"]))]
        table.add_row(what, megabytes[0], f"{result['seconds']:.1f}", *megabytes[1:])
        worst = max(worst, peak)
        said.append(f"{what}: {result['said']}")
    console.print(table)
    for line in said:
        console.print(line, highlight=False)
    return int(worst > MOST)


def in_a_process(paths: Sequence[Path]) -> dict[str, float | str]:
    """Return what `measured` does of these files in a new process, whose peak memory is nobody else's."""
    command = [sys.executable, "-m", "tests.bench.bench_slide", "--analyse", *map(str, paths)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    result: dict[str, float | str] = json.loads(answer)
    return result


def _tile(colour: tuple[int, int, int], seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    grain = np.random.default_rng(seed).normal(0, 12 if colour != GLASS else 0.5, (*TILE, 1))
    return np.clip(np.rint(np.asarray(colour) + grain), 0, 255).astype(np.uint8)


def _which(row: int, column: int, level: LevelFacts) -> int:
    """The tile at a place of the frame grid: glass, three of tissue in turn, or the dark spot."""
    down, across = (row + 0.5) / level.down, (column + 0.5) / level.across
    if (down - 0.45) ** 2 + (across - 0.7) ** 2 < 0.04**2:
        return 4
    inside = (down - 0.5) ** 2 + (across - 0.28) ** 2 < 0.22**2 or (down - 0.5) ** 2 + (across - 0.74) ** 2 < 0.17**2
    return 1 + (row * 7 + column) % 3 if inside else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

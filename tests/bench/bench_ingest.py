"""`make bench-ingest`: every receiver side by side in one run, fed with the same files by DCMTK's storescu.

Instances (or MB) a second over 1, 4 and 8 associations, medians of the rounds; CPU milliseconds an instance; memory; C-ECHO with a new
association each; and slices while 500 associations stand idle. Receivers take turns within a round, so that other load on the machine
hits all of them; what one of them left in memory is written before the next is measured. Trust the ratios, not the numbers. The node
synchronises file and folder and commits its row before each answer; the durable floor says what the disk allows anybody who does as much.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.associating import RELEASE_RQ, VERIFICATION, Requestor, command_set, context, data, echo, request
from tests.bench.ingest_chart import bars
from tests.bench.ingest_receivers import CALLED, CALLING, FLOOR, RECEIVERS, STORESCU, Running
from tests.builders import ct_slice, radiograph, uid, write_file

ASSOCIATIONS = (1, 4, 8)
IDLE = 500
ECHO_S = 2.0
NODE, STORESCP, ORTHANC = "this node, power-loss", "storescp +B, no fsync", "Orthanc, synchronous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Files of one kind. `in_mb`: the rate is MB a second."""

    name: str
    files: tuple[Path, ...]
    in_mb: bool = False

    @property
    def amount(self) -> float:
        return sum(path.stat().st_size for path in self.files) / 1e6 if self.in_mb else float(len(self.files))


@dataclass(slots=True)
class Measured:
    """Of one receiver under one load, by number of associations, a value for each round."""

    rates: dict[int, list[float]] = field(default_factory=dict)
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)
    memory_mb: float = 0.0

    def rate(self, associations: int) -> float:
        return median(self.rates[associations])


def loads(folder: Path, scale: float) -> list[Load]:
    """Write 1,000 CT slices of 525 kB, 2,000 tiny objects of 10 kB and 40 radiographs of 15 MB, times `scale`."""
    rng = np.random.default_rng(1)
    slices, tiny = (rng.integers(0, 2000, (side, side), dtype=np.uint16) for side in (512, 66))
    large = rng.integers(0, 4000, (3072, 2560), dtype=np.uint16)
    study, series = uid(), uid()

    def written(name: str, count: int, pixels: np.ndarray) -> tuple[Path, ...]:
        place = folder / name
        place.mkdir()
        make = radiograph if name == "radiographs" else ct_slice
        return tuple(
            write_file(place / f"{number:05}.dcm", make(study_uid=study, series_uid=series, number=number, pixels=pixels))
            for number in range(1, max(8, int(count * scale)) + 1)
        )

    return [
        Load(name="CT slices", files=written("slices", 1000, slices)),
        Load(name="tiny objects", files=written("tiny", 2000, tiny)),
        Load(name="radiographs", files=written("radiographs", 40, large), in_mb=True),
    ]


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A new folder, whose files are emptied afterwards and deleted with all others at the end.

    After thousands of deletions ext4 looks for unused inodes past all that were freed in the last five minutes: making a file took
    up to 0.8 ms more then, and each receiver would pay for what the one before it left.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    yield place
    for path in place.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def measure(load: Load, rounds: int, folder: Path, names: Sequence[str]) -> dict[str, Measured]:
    found = {name: Measured() for name in names}
    for _ in range(rounds):
        for associations in ASSOCIATIONS:
            for name in names:
                with _place(folder) as place, RECEIVERS[name](place) as running:
                    running.send(load.files[:1], 1)
                    os.sync()  # what others left to be written later is not this one's to wait for
                    before = running.cpu_s()
                    seconds = running.send(load.files, associations)
                    of = found[name]
                    of.rates.setdefault(associations, []).append(load.amount / seconds)
                    of.cpu_ms.setdefault(associations, []).append((running.cpu_s() - before) * 1000 / len(load.files))
                    of.memory_mb = max(of.memory_mb, running.memory_mb())
    return found


def echoes_per_s(running: Running, seconds: float = ECHO_S) -> float:
    """C-ECHOs a second, each on a new association, from two threads."""
    ends = time.monotonic() + seconds
    counts = [0, 0]

    def ask(lane: int) -> None:
        asked = request(context(1, VERIFICATION), called=CALLED.encode(), calling=CALLING.encode())
        question = data(1, command_set(0x30, uid=VERIFICATION, has_data=False), command=True)
        while time.monotonic() < ends:
            with Requestor(running.port) as peer:
                for said in (asked, question, RELEASE_RQ):
                    peer.say(said)
                    peer.hear()
            counts[lane] += 1

    lanes = [threading.Thread(target=ask, args=(lane,)) for lane in range(len(counts))]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return sum(counts) / seconds


def with_idle_associations(load: Load, folder: Path) -> tuple[float, float]:
    """Return the node's rate over 4 associations without and with 500 idle associations, all of which answer C-ECHO afterwards."""
    rates = []
    for idle in (0, IDLE):
        with _place(folder) as place, RECEIVERS[NODE](place) as running:
            running.send(load.files[:1], 1)
            peers = [Requestor(running.port, timeout_s=30) for _ in range(idle)]
            for peer in peers:
                peer.say(request(called=CALLED.encode(), calling=CALLING.encode()))
                peer.hear()
            rates.append(load.amount / running.send(load.files, 4))
            for peer in peers:
                peer.say(echo())
                answer = peer.hear()
                if answer is None or answer.status != 0:
                    raise RuntimeError("an idle association was lost")
                peer.socket.close()
    return rates[0], rates[1]


def print_table(console: Console, load: Load, found: dict[str, Measured]) -> None:
    unit = "MB/s" if load.in_mb else "instances/s"
    size = load.files[0].stat().st_size / 1000
    table = Table(title=f"{len(load.files)} {load.name} of {size:.0f} kB: {unit}")
    table.add_column("receiver")
    for associations in ASSOCIATIONS:
        table.add_column(str(associations), justify="right")
    for column in ("CPU ms each", "memory MB", "x storescp", "x Orthanc", "x floor"):
        table.add_column(column, justify="right")
    for name, of in found.items():
        ratios = [
            " / ".join(f"{of.rate(count) / found[other].rate(count):.2f}" for count in ASSOCIATIONS) if other in found else "-"
            for other in (STORESCP, ORTHANC, FLOOR)
        ]
        cpu = " / ".join(f"{median(of.cpu_ms[count]):.1f}" for count in ASSOCIATIONS)
        table.add_row(name, *(f"{of.rate(count):.0f}" for count in ASSOCIATIONS), cpu, f"{of.memory_mb:.0f}", *ratios)
    console.print(table)


def machine() -> dict[str, str]:
    """Where it was measured, and with which versions."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")

    def version(*command: str) -> str:
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return told[0].strip() if told else "?"

    return {
        "processor": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "dcmtk": version(STORESCU, "--version"),
        "orthanc": version("Orthanc", "--version"),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench_ingest", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many objects")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--chart", type=Path, help="write an SVG here")
    parser.add_argument("--only", help="receivers, separated by semicolons")
    parser.add_argument("--folder", type=Path, help="where the files go: the disk that is measured")
    options = parser.parse_args(arguments)
    names = options.only.split(";") if options.only else list(RECEIVERS)
    console = Console(width=170, stderr=options.json)
    told: dict[str, object] = {"machine": machine(), "rounds": options.rounds}
    console.print("; ".join(f"{key}: {value}" for key, value in machine().items()))
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        every = loads(folder, options.scale)
        for load in every:
            found = measure(load, options.rounds, folder, names)
            print_table(console, load, found)
            told[load.name] = {name: asdict(of) for name, of in found.items()}
            if options.chart and load is every[0]:
                rows = {name: {count: of.rate(count) for count in ASSOCIATIONS} for name, of in found.items()}
                options.chart.write_text(bars(f"{len(load.files)} {load.name}", rows, unit="instances a second"), encoding="utf-8")
        echoes = {}
        for name in (one for one in names if one != FLOOR):
            with _place(folder) as place, RECEIVERS[name](place) as running:
                echoes[name] = echoes_per_s(running)
        console.print("C-ECHOs a second, each on a new association: " + "; ".join(f"{name}: {rate:.0f}" for name, rate in echoes.items()))
        told["C-ECHO"] = echoes
        if NODE in names:
            without, beside = with_idle_associations(every[0], folder)
            console.print(f"{every[0].name} over 4 associations: {without:.0f} a second; beside {IDLE} idle associations: {beside:.0f}")
            told["idle"] = {"without": without, "with": beside}
    if options.json:
        print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()

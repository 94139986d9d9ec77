"""A run of a target: so many inputs from a seed, watched for crashes, hangs and what is left open."""

import faulthandler
import gc
import random
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import Mutator
from tests.fuzz.scp import open_descriptors, threads
from tests.fuzz.targets import Target

LONGEST_S = 5.0
_HANGS_AFTER_S = 60.0
_MAY_VARY = 3  # a connection that is being closed, a file that is being written


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a run. `slowest_ms` is of one input; `left_open` counts descriptors and threads more than before."""

    target: str
    inputs: int
    seconds: float
    slowest_ms: float
    outcomes: int
    most_common: str
    left_open: int


class CrashError(Exception):
    """An input did what no input may. The message says how to make it again."""


def run(target: Target, *, inputs: int, seed: int, crashes: Path) -> Outcome:
    """Try `inputs` inputs, the corpus first.

    Raises:
        CrashError: one raised what it may not, or took too long; it lies in the folder `crashes`.
    """
    mutator = Mutator(random.Random(seed ^ zlib.crc32(target.name.encode())), target.corpus)
    gc.collect()
    before = open_descriptors() + threads()
    seen: Counter[str] = Counter()
    started, slowest = time.perf_counter(), 0.0
    for number in range(inputs):
        data = target.corpus[number] if number < len(target.corpus) else target.make(mutator)
        begun, computed = time.perf_counter(), time.process_time()
        faulthandler.dump_traceback_later(_HANGS_AFTER_S, exit=True)
        try:
            seen[target.run(data)] += 1
        except Exception as exc:
            raise _crash(target, data, crashes, f"input {number} of seed {seed}: {type(exc).__name__}: {exc}") from exc
        finally:
            faulthandler.cancel_dump_traceback_later()
        took = time.perf_counter() - begun
        slowest = max(slowest, took)
        if (computed := time.process_time() - computed) > LONGEST_S:
            raise _crash(target, data, crashes, f"input {number} of seed {seed} took {computed:.1f} s of the processor")
    seconds = time.perf_counter() - started
    return Outcome(
        target=target.name,
        inputs=inputs,
        seconds=seconds,
        slowest_ms=slowest * 1000,
        outcomes=len(seen),
        most_common=seen.most_common(1)[0][0],
        left_open=settled(before),
    )


def settled(before: int) -> int:
    """Return how much more is open than before, once the last connections are closed."""
    deadline = time.monotonic() + 10
    while True:
        gc.collect()
        left = open_descriptors() + threads() - before
        if left <= 0 or time.monotonic() > deadline:
            return left if left > _MAY_VARY else 0
        time.sleep(0.05)


def _crash(target: Target, data: bytes, crashes: Path, what: str) -> CrashError:
    crashes.mkdir(parents=True, exist_ok=True)
    path = crashes / f"{target.name.replace(' ', '-').replace(',', '')}-{zlib.crc32(data):08x}.bin"
    path.write_bytes(data)
    return CrashError(f"{target.name}: {what} ({len(data)} bytes, kept as {path})")

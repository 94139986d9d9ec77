"""Cuts of the power in a recorded life of a node: after shares of what it does, and at each answer that a modality hears."""

import random
import tempfile
from functools import cache
from pathlib import Path

from tests.durability.cases import MEMORY_DISK, Case, Struck, answers, finish, prepared, radiographs, reap, start_modality
from tests.durability.life import Place
from tests.durability.modality import Instance
from tests.durability.power_loss import recording, start_traced
from tests.waiting import eventually

RECORDED = (2, 4)
"""Studies, and instances of each, that are sent in the recorded life."""


def _files():
    return [path for study in radiographs(*RECORDED) for path in study]


@cache
def recorded_life():
    """A node's life with everything that it did to its files; made once, by a traced process."""
    folder = Path(tempfile.mkdtemp(prefix="recorded-", dir=MEMORY_DISK))
    place = Place(folder=folder)
    place.data.mkdir()
    port = prepared(place)
    initial = {"ledger.sqlite": (place.data / "ledger.sqlite").read_bytes()}
    node = start_traced(place)
    eventually(lambda: node.poll() is not None or answers(port), "the recorded node listens", timeout_s=180)
    ended = reap(start_modality(place, port, _files(), associations=2), within_s=120)
    if ended != 0 or node.wait(timeout=120) != 0:
        raise AssertionError(f"the recorded life failed: modality {ended}, node {node.returncode}")
    return recording(place, initial)


def power_lost(share, *, keep_some):
    """The power goes after `share` of what a node does; of what was not synchronised nothing is left, or any part."""

    def run(place):
        moments = recorded_life().moments()
        number = int(share * (len(moments) - 1))
        rng = random.Random(number)
        return _after_power_loss(place, moments[number], (lambda: rng.random() < 0.5) if keep_some else (lambda: False))

    what = "any part" if keep_some else "nothing"
    return Case(kind=f"power loss; of what was not synchronised, {what} survives", name=f"at {share:.4f}", run=run)


def power_lost_when_answered(number):
    """The power goes when the modality hears of the `number`-th instance that it is stored; only what was synchronised is left."""

    def run(place):
        return _after_power_loss(place, sorted(recorded_life().acknowledged.values())[number - 1], lambda: False)

    return Case(kind="power loss; of what was not synchronised, nothing survives", name=f"answer {number}", run=run)


def _after_power_loss(place, at, keep):
    port, struck = prepared(place), Struck(faults=1)
    (place.data / "ledger.sqlite").unlink()
    acknowledged = recorded_life().crash(at, keep, place)
    place.acknowledged_file.write_text("".join(f"{uid} {heard}\n" for uid, heard in acknowledged.items()))
    left = [path for path in _files() if Instance(path).sop_instance_uid not in acknowledged]
    finish(place, start_modality(place, port, left), struck)
    return struck

"""The faults of the crash matrix, by kind. `gate()` is what every change must survive; `long_run()` is what is published."""

import contextlib
import logging
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta

import structlog

from dicom_node.delivery import utc_now
from dicom_node.failpoints import POINTS, Action
from dicom_node.keeping.backup import back_up, restore
from tests.builders import phantom, radiograph_file, uid
from tests.durability.cases import (
    Case,
    Struck,
    can_mount,
    empty_ledger,
    finish,
    likeness,
    prepared,
    radiographs,
    reap,
    start_modality,
)
from tests.durability.life import CALLING, forked, live, loaded, send_until_acknowledged
from tests.durability.modality import Association, Instance, send
from tests.durability.outage import outage
from tests.durability.power_cuts import RECORDED, power_lost, power_lost_when_answered, recorded_life
from tests.durability.power_loss import can_trace

SEED = 20260105
KILLED = -signal.SIGKILL
PURGES = tuple(name for name in POINTS if name.startswith("purge."))
STORE = tuple(name for name in POINTS if name.startswith("store."))
LEDGER = tuple(name for name in POINTS if name.startswith("ledger."))
STEPS = tuple(name for name in POINTS if name not in {*PURGES, *STORE, *LEDGER})
ERRING = ("store.written", "receive.kept", "route.selected", "analyse.begun", "encode.begun", "deliver.sent")
DISK_FAULTS = {Action.ENOSPC: "disk full", Action.EROFS: "read-only file system", Action.EIO: "input or output error"}


def files(studies=2, instances=2):
    """The files of some small studies."""
    return [path for study in radiographs(studies, instances) for path in study]


def prepare(cases):
    """Make in this process what every case uses, before it is forked."""
    empty_ledger()
    loaded(likeness())
    for studies, instances in ((1, 2), (1, 3), (2, 2), (3, 2), (4, 2), RECORDED):
        radiographs(studies, instances)
    if any(case.kind.startswith("power loss") for case in cases):
        recorded_life()


def silence():
    """Keep what a node logs out of the run's output."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def killed_at(name, number=1):
    """SIGKILL where `name` is reached for the `number`-th time; the node is started again."""

    def run(place):
        port, purging = prepared(place), name in PURGES
        doomed = forked(live, place, f"{name}:{Action.KILL}:{number}", purging)
        modality = start_modality(place, port, files())
        ended = reap(doomed)
        struck = Struck(faults=1, purged=purging)
        if ended == 0 and number > 1:  # reached less often than that: nothing struck
            return Struck(purged=purging, failures=_of_modality(modality))
        if ended != KILLED:
            struck.failures.append(f"{name} was not reached: the node ended with {ended}")
        finish(place, modality, struck, purging=purging)
        return struck

    return Case(kind="SIGKILL between an effect and its record", name=f"{name} {number}", run=run)


def failing_at(name, action, number=1):
    """An operation fails as on a bad disk, or as a bug would have it; the node lives on."""

    def run(place):
        port = prepared(place)
        node = forked(live, place, f"{name}:{action}:{number}")
        modality = start_modality(place, port, files())
        struck = Struck(faults=1, failures=_of_modality(modality))
        if (ended := reap(node)) != 0:
            struck.failures.append(f"the node ended with {ended}")
        return struck

    what = DISK_FAULTS.get(action)
    return Case(kind=f"a write fails: {what}" if what else "a step fails for no reason", name=f"{name} {number}", run=run)


def killed_at_random(number, *, kills=3):
    """SIGKILL at random moments, over and over, while two associations send."""

    def run(place):
        rng = random.Random(SEED + number)
        port = prepared(place)
        modality = start_modality(place, port, files(4, 2), associations=2)
        struck = Struck()
        for _ in range(kills):
            node = forked(live, place)
            time.sleep(rng.uniform(0.05, 0.8))
            _kill(node)
            ended = reap(node)
            struck.faults += ended == KILLED
            if ended not in {KILLED, 0}:
                struck.failures.append(f"the node ended with {ended}")
        finish(place, modality, struck)
        return struck

    return Case(kind="SIGKILL at random moments under load", name=f"seed {SEED + number}", run=run)


def on_a_full_disk(number):
    """The disk under ledger and store is really full for half a second, at a random moment."""

    def run(place):
        rng = random.Random(SEED + number)
        port, struck, ballast = prepared(place), Struck(faults=1), place.data / "ballast"
        modality = start_modality(place, port, files(3, 2))
        node = forked(live, place)
        time.sleep(rng.uniform(0, 0.7))
        _fill(ballast)
        time.sleep(0.5)
        ballast.unlink()
        ended = reap(node)
        if ended != 0:  # a node that could not even start then is started again
            finish(place, modality, struck)
        else:
            struck.failures += _of_modality(modality)
        return struck

    return Case(kind="the disk is really full for a while", name=f"seed {SEED + number}", run=run, disk_mb=6)


def _fill(ballast):
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 10):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


def ledger_locked(number):
    """Somebody holds the lock of the ledger while the node starts and receives."""

    def run(place):
        port, struck = prepared(place), Struck(faults=1)
        holder = forked(_hold_lock, place, random.Random(SEED + number).uniform(0.2, 1.0))
        node = forked(live, place)
        modality = start_modality(place, port, files())
        struck.failures += [f"a process ended with {ended}" for ended in map(reap, (holder, node)) if ended != 0]
        struck.failures += _of_modality(modality)
        return struck

    return Case(kind="the ledger is locked at start", name=f"seed {SEED + number}", run=run)


def _hold_lock(place, seconds):
    with contextlib.closing(sqlite3.connect(place.data / "ledger.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def ledger_damaged(number):
    """The ledger is no database any more: the node does not start on it, and a backup brings everything back."""

    def run(place):
        struck = _finished_life(place)
        back_up(place.data, place.folder / "backup", now=utc_now())
        ledger = place.data / "ledger.sqlite"
        damaged = bytearray(ledger.read_bytes())
        damaged[: 100 + number] = bytes(100 + number)
        ledger.write_bytes(damaged)
        if reap(forked(live, place)) == 0:
            struck.failures.append("the node started on a damaged ledger")
        place.data.rename(place.folder / "damaged")
        restore(place.folder / "backup", place.data)
        finish(place, None, struck)
        return struck

    return Case(kind="the ledger is damaged at start", name=f"{100 + number} bytes", run=run)


def ledger_gone(number):
    """The ledger is gone altogether: the store says what was received, analysed and reported."""

    def run(place):
        struck = _finished_life(place, studies=1 + number % 3)
        for path in place.data.glob("ledger.sqlite*"):
            path.unlink()
        finish(place, None, struck)
        return struck

    return Case(kind="the ledger is gone at start", name=f"run {number}", run=run)


def _finished_life(place, studies=2):
    port = prepared(place)
    node = forked(live, place)
    struck = Struck(faults=1, failures=_of_modality(start_modality(place, port, files(studies))))
    if (ended := reap(node)) != 0:
        struck.failures.append(f"the node ended with {ended}")
    return struck


def clock_jumps(number):
    """The clock jumps by up to two days, back or forth, twice, the second time while a killed node is started again."""

    def run(place):
        rng = random.Random(SEED + number)
        port, struck = prepared(place), Struck(faults=2)
        modality = start_modality(place, port, files())
        node = forked(live, place, "", False, _jumping(rng))
        time.sleep(rng.uniform(0.1, 0.8))
        _kill(node)
        reap(node)
        finish(place, modality, struck, clock=_jumping(rng))
        return struck

    return Case(kind="the clock jumps", name=f"seed {SEED + number}", run=run)


def _jumping(rng):
    at, by = time.monotonic() + rng.uniform(0, 0.6), timedelta(seconds=rng.uniform(-2, 2) * 86400)
    return lambda: utc_now() + (by if time.monotonic() > at else timedelta())


def two_senders(number):
    """Two modalities send the same instances at once, one of them with other bytes under some UIDs."""

    def run(place):
        port, struck = prepared(place), Struck(faults=1)
        same = files()
        other = place.folder / "other.dcm"
        radiograph_file(
            other,
            study_uid=uid("study", "matrix", 0),
            series_uid=uid("series", "matrix", 0),
            number=1,
            SOPInstanceUID=uid("instance", "matrix", 0, 1),
            pixels=phantom() + 1 + number,
        )
        node = forked(live, place)
        modality = start_modality(place, port, same, then=lambda: _wait_for(place, "other-sent"))
        second = forked(_send_and_say, place, port, [other, *same[1:]])
        struck.failures += _of_modality(second)
        struck.failures += _of_modality(modality)
        if (ended := reap(node)) != 0:
            struck.failures.append(f"the node ended with {ended}")
        return struck

    return Case(kind="two senders, same UIDs, at once", name=f"run {number}", run=run)


def _send_and_say(place, port, paths):
    send_until_acknowledged(place, port, paths, "OTHER")
    (place.folder / "other-sent").touch()


def _wait_for(place, name):
    deadline = time.monotonic() + 20
    while not (place.folder / name).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def half_sent(number):
    """A study comes in two halves: the association is aborted in mid-object, and the rest comes after the first half was reported."""

    def run(place):
        port, struck = prepared(place), Struck(faults=2)
        first, *rest = files(1, 3)
        node = forked(live, place)
        modality = start_modality(place, port, [first], then=lambda: _send_the_rest(place, port, rest, number))
        struck.failures += _of_modality(modality)
        if (ended := reap(node)) != 0:
            struck.failures.append(f"the node ended with {ended}")
        return struck

    return Case(kind="half-sent studies, association aborted in mid-object", name=f"run {number}", run=run)


def _send_the_rest(place, port, rest, number):
    instance = Instance(rest[0])
    broken_off = Association(instance, port=port, calling=CALLING)
    broken_off.store(instance, share=(number % 9 + 1) / 10)
    (broken_off.abort if number % 2 else broken_off.close)()
    deadline = time.monotonic() + 20
    while not any(place.reports.glob("*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.02)
    send_until_acknowledged(place, port, rest)
    send(rest, port=port, calling=CALLING, on_stored=lambda _: None)  # and once more, as some modalities do


def _of_modality(pid):
    ended = reap(pid)
    return [f"the modality ended with {ended}: something was never taken"] if ended != 0 else []


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def destination_down(waiting):
    """A destination is down for a day, on a simulated clock, while results wait for it."""

    def run(place):
        silence()
        found = outage(place.data, waiting)
        struck = Struck(faults=1, results=waiting)
        if found.delivered != waiting or found.states != {"DELIVERED": waiting} or found.sent_twice:
            struck.failures.append(str(found))
        if found.attempts > waiting:
            struck.failures.append(f"{found.attempts} attempts at a dead destination")
        return struck

    return Case(kind="a destination is down for 24 hours (simulated)", name=f"{waiting} results waiting", run=run)


def gate() -> Iterator[Case]:
    """About a hundred faults."""
    yield from (killed_at(name) for name in POINTS)
    yield from (killed_at("ledger.commit", number) for number in range(2, 30, 2))
    yield from (killed_at("store.placed", number) for number in (3, 5, 7, 9))
    yield from (failing_at(name, Action.ENOSPC) for name in (*STORE, "ledger.commit"))
    yield from (failing_at(name, Action.EROFS, 3) for name in (*STORE, "ledger.commit"))
    yield from (failing_at(name, Action.ERROR) for name in ERRING)
    yield from (failing_at("ledger.committed", Action.ERROR, number) for number in (1, 5, 9, 13, 17))
    yield from (killed_at_random(number) for number in range(5))
    if can_mount():
        yield from (on_a_full_disk(number) for number in range(2))
    if can_trace():
        yield from (power_lost(point / 12, keep_some=keep_some) for point in range(1, 13) for keep_some in (False, True))
        yield from (power_lost_when_answered(number) for number in range(1, RECORDED[0] * RECORDED[1] + 1))
    for kind in (ledger_locked, ledger_damaged, ledger_gone, two_senders, half_sent):
        yield kind(1)
    yield from (clock_jumps(number) for number in range(2))
    yield destination_down(500)


def long_run() -> Iterator[Case]:
    """More than a thousand faults."""
    yield from (killed_at(name, number) for name in (*STEPS, *PURGES) for number in (1, 2, 3, 4))
    yield from (killed_at(name, number) for name in (*STORE, *LEDGER) for number in range(1, 41))
    yield from (failing_at(name, action, number) for name in (*STORE, "ledger.commit") for action in DISK_FAULTS for number in range(1, 13))
    yield from (failing_at(name, Action.ERROR, number) for name in (*STEPS, "store.written", "ledger.committed") for number in (1, 2, 3, 5))
    yield from (killed_at_random(number, kills=5) for number in range(110))
    if can_mount():
        yield from (on_a_full_disk(number) for number in range(30))
    if can_trace():
        yield from (power_lost(point / 140, keep_some=keep_some) for point in range(140) for keep_some in (False, True))
        yield from (power_lost_when_answered(number) for number in range(1, RECORDED[0] * RECORDED[1] + 1))
    yield from (kind(number) for kind in (ledger_locked, ledger_damaged, ledger_gone, two_senders) for number in range(10))
    yield from (half_sent(number) for number in range(18))
    yield from (clock_jumps(number) for number in range(25))
    yield destination_down(10_000)

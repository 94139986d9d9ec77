"""A destination that is down for a day while thousands of results wait for it, on a clock that is moved by hand."""

import hashlib
import random
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from config.destinations import DeliverSection, FolderDestination
from dicom_node.delivery import open_channel
from dicom_node.delivery.lane import Lane, LaneTools
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.lifecycle import WorkItemState
from tests.durability.cases import empty_ledger

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = NOON

    def __call__(self):
        return self.now


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What an outage came to: `attempts` while the destination was down, and the `seconds` that delivering took afterwards."""

    waiting: int
    attempts: int
    delivered: int
    sent_twice: int
    states: dict
    seconds: float


def outage(folder, waiting, *, hours=24):
    """Let `waiting` results wait for a destination that is down for so many hours, and then comes back."""
    store = ObjectStore(folder / "objects")
    shutil.copyfile(empty_ledger(), folder / "ledger.sqlite")
    _fill(folder, store, waiting)
    ledger, clock, attempts = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), Clock(), Counter()
    destination = FolderDestination(name="reports", folder=folder / "share", results=("hl7-oru",))
    tools = LaneTools(
        ledger=ledger,
        store=store,
        settings=DeliverSection(),
        owner="test",
        clock=clock,
        rng=random.Random(1),
        observer=lambda *, destination, outcome, seconds: attempts.update([outcome.value]),
    )
    lane = Lane("reports", open_channel(destination, calling_ae_title="DICOM-NODE", clock=clock), tools)
    while clock.now < NOON + timedelta(hours=hours):
        _pass(clock, lane.step(), ledger)
    tried = attempts.total()
    destination.folder.mkdir()
    attempts.clear()
    started = time.monotonic()
    while ledger.counts()["deliveries"].get("ACCEPTED", 0) < waiting and clock.now < NOON + timedelta(hours=hours + 2):
        for _ in range(500):
            _pass(clock, lane.step(), ledger)
    result = Outage(
        waiting=waiting,
        attempts=tried,
        delivered=len(list(destination.folder.glob("*.hl7"))),
        sent_twice=attempts["accepted"] - waiting,
        states=ledger.counts()["work_items"],
        seconds=time.monotonic() - started,
    )
    ledger.close()
    return result


def _pass(clock, seconds, ledger):
    """Let time pass until the lane may do something again."""
    if seconds:
        pause = (ledger.circuit("reports", now=clock.now).not_before - clock.now).total_seconds()
        clock.now += timedelta(seconds=max(seconds, pause))


def _fill(folder, store, waiting):
    """Put encoded results into the ledger, as if all had been made just before noon."""
    at = NOON.replace(tzinfo=None).isoformat(sep=" ") + ".000000"
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        for number in range(waiting):
            data = f"MSH|^~\\&|{number}\r".encode()
            path = store.absolute(store_path(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            connection.execute(
                "INSERT INTO studies (study_instance_uid, state, revision, routed_revision, urgent, first_arrival, last_arrival)"
                " VALUES (?, 'SETTLED', 1, 1, ?, ?, ?)",
                (f"1.2.{number}", int(number % 100 == 0), at, at),
            )
            connection.execute(
                "INSERT INTO work_items (id, study_instance_uid, revision, route, state, urgent, selection, inputs_digest, attempts,"
                " not_before, created_at, updated_at) VALUES (?, ?, 1, 'r', ?, ?, x'7b7d', 'd', 0, ?, ?, ?)",
                (number + 1, f"1.2.{number}", WorkItemState.ENCODED.value, int(number % 100 == 0), at, at, at),
            )
            connection.execute(
                "INSERT INTO results (sop_instance_uid, work_item_id, kind, sop_class_uid, path, digest, created_at)"
                " VALUES (?, ?, 'hl7-oru', '', ?, ?, ?)",
                (f"M{number}", number + 1, store_path(number).as_posix(), hashlib.sha256(data).hexdigest(), at),
            )
            connection.execute(
                "INSERT INTO deliveries (sop_instance_uid, work_item_id, destination, state, attempts, not_before, updated_at)"
                " VALUES (?, ?, 'reports', 'PENDING', 0, ?, ?)",
                (f"M{number}", number + 1, at, at),
            )


def store_path(number):
    return Path("results") / f"{number % 256:02x}" / f"m{number}.hl7"

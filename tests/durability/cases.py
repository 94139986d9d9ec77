"""One case of the crash matrix: a modality sends, a fault strikes, the node lives on or is started again, and all is counted."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import yaml
from pydicom import dcmread

from dicom_node.delivery import utc_now
from dicom_node.keeping.stocktaking import take_stock, tidy
from dicom_node.ledger import Ledger
from dicom_node.routing.selection import decode_selection
from tests.builders import radiograph_file, uid
from tests.durability.life import CALLING, Place, forked, live, send_until_acknowledged

LATER = timedelta(days=100)
"""When stock is taken: no file is young then, so that every orphan counts."""
REAPED_S = 120.0
MEMORY_DISK = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
ROUTES = {
    "routes": [{"name": "quality-only", "when": [{"attribute": "Modality", "equals": "DX"}]}, {"name": "rest", "no_analysis": "no route"}]
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case. `faults` struck; the rest is what must be nothing, in words."""

    kind: str
    name: str
    faults: int
    acknowledged: int
    seconds: float
    lost: tuple[str, ...] = ()
    reported_twice: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def good(self):
        return not (self.lost or self.reported_twice or self.disagreements or self.failures)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A named fault of a kind (a row of the published table)."""

    kind: str
    name: str
    run: Callable[[Place], "Struck"]
    disk_mb: int | None = None
    """The data folder lies on a file system of its own of this size (a tmpfs, which needs root)."""


@dataclass(kw_only=True)
class Struck:
    """How many faults struck, and what is wrong apart from the books."""

    faults: int = 0
    failures: list[str] = field(default_factory=list)
    purged: bool = False
    results: int | None = None
    """How many results waited, where a case is about results and not about what a modality sent: it has counted them itself."""


def run_case(case: Case, root: Path) -> Outcome:
    """Run a case in a folder of its own and count."""
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=root))
    place, started = Place(folder=folder), time.monotonic()
    try:
        with small_disk(place.data, case.disk_mb):
            struck = case.run(place)
            counted = {"acknowledged": struck.results, "failures": tuple(struck.failures)}
            if struck.results is None:
                counted = count(place, failures=struck.failures, purged=struck.purged)
        return Outcome(kind=case.kind, name=case.name, faults=struck.faults, seconds=time.monotonic() - started, **counted)
    except Exception as exc:  # noqa: BLE001 - a case that breaks is a finding, not the end of the run
        words = f"{type(exc).__name__}: {exc}"
        return Outcome(kind=case.kind, name=case.name, faults=1, acknowledged=0, seconds=time.monotonic() - started, failures=(words,))
    finally:
        if os.environ.get("DICOM_NODE_KEEP_CASES") is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def small_disk(folder, size_mb):
    """Mount a tmpfs of `size_mb` on `folder`, if it is not None, and take it away again."""
    folder.mkdir()
    if size_mb is None:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


def can_mount():
    """Say whether this process may mount a tmpfs."""
    folder = Path(tempfile.mkdtemp(prefix="mount-"))
    try:
        with small_disk(folder / "disk", 1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# What a case is made of


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    """Say whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def prepared(place):
    """Give `place` settings and an empty ledger; return the port that its node will listen on."""
    port = free_port()
    place.reports.mkdir()
    place.settings_file.write_text(f"{likeness()} {port}")
    shutil.copyfile(empty_ledger(), place.data / "ledger.sqlite")
    return port


@cache
def likeness():
    """The settings that all nodes of the matrix have but for folders and ports."""
    folder = Path(tempfile.mkdtemp(prefix="settings-"))
    (folder / "routes.yaml").write_text(yaml.safe_dump(ROUTES))
    settings = {
        "node": {"data_folder": "node"},
        "receive": {"host": "127.0.0.1", "port": 0, "calling_ae_titles": [CALLING, "OTHER"], "reserve_mb": 0},
        "settle": {"quiet_s": 0.15},
        "work": {"parallel_studies": 1, "retry_s": 0.02, "maximum_retry_s": 0.1, "lease_s": 0.5, "maximum_attempts": 50},
        "deliver": {"retry_s": 0.02, "maximum_retry_s": 0.1, "lease_s": 0.5},
        "pressure": {"below_free_mb": 0},
        "retention": {"below_free_mb": None},
        "routes_file": "routes.yaml",
        "destinations": [{"name": "reports", "kind": "folder", "folder": "reports"}],
    }
    (folder / "node.yaml").write_text(yaml.safe_dump(settings))
    return folder / "node.yaml"


@cache
def empty_ledger():
    """An empty ledger, made once: its migrations take longer than a case."""
    path = Path(tempfile.mkdtemp(prefix="ledger-")) / "ledger.sqlite"
    Ledger(f"sqlite:///{path}").close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


@cache
def radiographs(studies, instances, seed="matrix"):
    """Files of small studies, by study."""
    folder = Path(tempfile.mkdtemp(prefix="studies-"))
    made = []
    for study in range(studies):
        study_uid, series = uid("study", seed, study), uid("series", seed, study)
        made.append(
            tuple(
                radiograph_file(
                    folder / f"{study}-{number}.dcm",
                    study_uid=study_uid,
                    series_uid=series,
                    number=number,
                    SOPInstanceUID=uid("instance", seed, study, number),
                )
                for number in range(1, instances + 1)
            )
        )
    return tuple(made)


def start_modality(place, port, paths, *, associations=1, then=lambda: None):
    """Start to send `paths`, over and over until all are taken; do `then`; the file `all-sent` says that it is done."""

    def send():
        send_until_acknowledged(place, port, paths, CALLING, associations)
        then()
        place.sent_file.touch()

    return forked(send)


def reap(pid, *, within_s=REAPED_S):
    """Wait for a child; return how it ended: an exit code, or minus the signal. One that does not end is killed: -1000."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1000


def finish(place, modality, struck, **life):
    """Start the node again and let it come to an end with everything."""
    ended = reap(forked(lambda: live(place, **life)))
    if ended != 0:
        struck.failures.append(f"the node that was started again ended with {ended}")
    if modality is not None and (sent := reap(modality)) != 0:
        struck.failures.append(f"the modality ended with {sent}: something was never taken")


# Counting


def count(place, *, failures, purged):
    """Compare what was acknowledged with what the node accounts for."""
    acknowledged = place.acknowledged()
    ledger, store = place.ledger(), place.store()
    try:
        rows = ledger.study_rows()
        return {
            "acknowledged": len(acknowledged),
            "lost": tuple(_lost(ledger, set(_in_reports(place)), acknowledged)),
            "reported_twice": tuple(_reported_twice(place, rows)),
            "disagreements": tuple(_disagreements(ledger, store)),
            "failures": (*failures, *_unfinished(rows, purged=purged)),
        }
    finally:
        ledger.close()


def _lost(ledger, reported, acknowledged):
    """What was acknowledged and is neither in a report nor in quarantine."""
    quarantined = {row.sop_instance_uid for row in ledger.quarantine_rows()}
    yield from sorted(set(acknowledged) - reported - quarantined)


def _in_reports(place):
    """The instances that delivered reports are about, or say that they left out."""
    with contextlib.closing(sqlite3.connect(place.data / "ledger.sqlite")) as connection:
        rows = connection.execute("SELECT selection FROM work_items WHERE state = 'DELIVERED'").fetchall()
    for (selection,) in rows:
        decoded = decode_selection(selection)
        yield from (file.sop_instance_uid for file in decoded.files)
        yield from (excluded.image.sop_instance_uid for excluded in decoded.excluded)


def _reported_twice(place, rows):
    reports = Counter()
    for path in place.reports.glob("*.dcm"):
        report = dcmread(path, stop_before_pixels=True)
        reports[str(report.StudyInstanceUID)] += 1
    expected = {row.study_instance_uid: sum(item.state == "DELIVERED" for item in row.work_items) for row in rows}
    for study in reports.keys() | expected.keys():
        if reports[study] != expected.get(study, 0):
            yield f"{study}: {reports[study]} reports of {expected.get(study, 0)} revisions"


def _disagreements(ledger, store):
    tidy(ledger, store, now=utc_now() + LATER)  # as `schedule` does each day
    for problem in take_stock(ledger, store, now=utc_now() + LATER).problems:
        yield f"{problem.kind.value}: {problem.subject} {problem.detail}"


def _unfinished(rows, *, purged):
    over = "PURGED" if purged else "SETTLED"
    for row in rows:
        if row.state != over or any(item.state not in {"DELIVERED", "SUPERSEDED"} for item in row.work_items):
            yield f"{row.study_instance_uid} is {row.state}, its reports {[item.state for item in row.work_items]}"

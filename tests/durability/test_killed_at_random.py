"""SIGKILL of any process, the supervisor too, at random moments under load: every acknowledged study is reported once."""

import random
import signal
import time
from collections import Counter
from functools import partial

import psutil
import pytest
from pydicom import dcmread

from dicom_node.demo.archive import Archive
from tests.builders import ct_slice, uid, write_file
from tests.node.running import start, write_settings
from tests.waiting import eventually

KILLS = 8
MANY_KILLS = 60
STUDIES = 12
SEED = 20260105


def studies(folder):
    """CT studies of two slices; each slice has a UID and bytes of its own."""
    made = []
    for number in range(STUDIES):
        study, series = uid("study", SEED, number), uid("series", SEED, number)
        made.append([write_file(folder / f"{number}-{n}.dcm", ct_slice(study_uid=study, series_uid=series, number=n)) for n in (1, 2)])
    return made


def kill_one(node, rng):
    """SIGKILL the supervisor or one of its children, whatever is there, and see it gone."""
    supervisor = psutil.Process(node.process.pid)
    victim = rng.choice([supervisor, *supervisor.children()])
    victim.kill()
    if victim.pid == supervisor.pid:
        node.process.wait()


@pytest.mark.parametrize("kills", [KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_and_nothing_is_reported_twice(kills, tmp_path):
    rng = random.Random(SEED + kills)
    with Archive(tmp_path / "archive") as archive:
        settings_file = write_settings(
            tmp_path / "node", destinations=[("archive", archive.port, "ARCHIVE")], work={"maximum_attempts": 50}
        )
        node = start(settings_file)
        try:
            waiting = studies(tmp_path)
            for _ in range(kills):
                node = ready_again(node)
                sent, waiting = waiting[:2], waiting[2:]
                waiting += [paths for paths in sent if not all(one.accepted for one in node.send(*paths))]
                time.sleep(rng.uniform(0, 2))
                kill_one(node, rng)
            node = ready_again(node)
            for paths in waiting:
                assert all(one.accepted for one in node.send(*paths))
            eventually(partial(settled_and_delivered, node), "every study is reported", timeout_s=180)
            rows = node.studies()
        finally:
            node.process.send_signal(signal.SIGTERM)
            node.process.wait(timeout=60)
        reports = Counter(dcmread(one.path).StudyInstanceUID for one in archive.received())
    assert {row.study_instance_uid: row.instances for row in rows} == {uid("study", SEED, number): 2 for number in range(STUDIES)}
    assert reports == Counter({row.study_instance_uid: len(row.work_items) for row in rows}), "one report a revision"
    assert all(item.state == "DELIVERED" for row in rows for item in row.work_items)


def ready_again(node):
    """The node, started anew if its supervisor was killed, once it is ready."""
    if node.process.poll() is not None:
        node = start(node.settings_file)
    eventually(node.is_ready, "the node is ready", timeout_s=120)
    return node


def settled_and_delivered(node):
    rows = node.studies()
    states = {item.state for row in rows for item in row.work_items}
    return len(rows) == STUDIES and all(row.state == "SETTLED" and row.work_items for row in rows) and states == {"DELIVERED"}

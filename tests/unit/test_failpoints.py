"""Failpoints: off unless a test asks, and then exactly where it asks."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from dicom_node.failpoints import POINTS, VARIABLE, Action, parse

REACHED_THRICE = "from dicom_node.failpoints import failpoint\nfor number in (1, 2, 3):\n    failpoint('receive.kept')\n    print(number)"


def run(failpoint):
    environment = os.environ | {VARIABLE: failpoint}
    return subprocess.run([sys.executable, "-u", "-c", REACHED_THRICE], env=environment, check=False, capture_output=True, text=True)


def test_nothing_happens_when_it_is_off():
    assert run("").stdout.split() == ["1", "2", "3"]


def test_a_process_dies_where_it_is_told_to():
    died = run("receive.kept:kill:2")
    assert (died.returncode, died.stdout.split()) == (-signal.SIGKILL, ["1"])


@pytest.mark.parametrize("action", [Action.ENOSPC, Action.EROFS, Action.EIO])
def test_a_disk_fails_as_disks_fail(action):
    failed = run(f"receive.kept:{action}")
    assert failed.returncode == 1
    assert f"OSError: [Errno {getattr(errno, action.value)}]" in failed.stderr


def test_other_places_are_passed():
    assert run("deliver.sent:kill").returncode == 0


@pytest.mark.parametrize("text", ["receive.keept:kill", "receive.kept:explode", "receive.kept:kill:0", "receive.kept:kill:twice"])
def test_a_mistake_is_told_at_once(text):
    with pytest.raises(ValueError, match=r".+"):
        parse(text)
    assert run(text).returncode == 1


def test_every_failpoint_says_what_is_true_there():
    assert all(sentence and sentence[0].islower() for sentence in POINTS.values())

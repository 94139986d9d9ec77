"""The crash matrix, the part that every change must survive: what was acknowledged is accounted for, whatever strikes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from dicom_node.failpoints import POINTS

ROOT = Path(__file__).parents[2]
WRONG = ("lost", "reported_twice", "disagreements", "failures")


def test_nothing_acknowledged_is_lost_and_nothing_is_reported_twice_whatever_strikes(tmp_path):
    """One test, because the cases are forked from one process that has no threads."""
    answer = tmp_path / "outcomes.json"
    command = [sys.executable, "-m", "tests.durability.matrix", "gate", "--json", answer]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=1200)
    assert answer.exists(), run.stdout[-3000:] + run.stderr[-3000:]
    outcomes = json.loads(answer.read_text())
    wrong = [outcome for outcome in outcomes if any(outcome[what] for what in WRONG)]
    assert not wrong
    assert all(outcome["acknowledged"] for outcome in outcomes), "something was acknowledged in every run"
    assert sum(outcome["faults"] for outcome in outcomes) >= 100
    struck = {outcome["name"].split()[0] for outcome in outcomes if outcome["kind"].startswith("SIGKILL between") and outcome["faults"]}
    assert struck == set(POINTS), "the node was killed at every failpoint"


def test_every_failpoint_is_somewhere_in_the_node():
    code = "".join(path.read_text() for path in (ROOT / "dicom_node").rglob("*.py") if path.name != "failpoints.py")
    assert set(re.findall(r'failpoint\("([a-z.]+)"\)', code)) == set(POINTS)

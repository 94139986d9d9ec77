"""The layers: one direction, and no network or database where there must be none."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

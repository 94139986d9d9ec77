"""The same analysis gives the same bytes on every machine, and nothing that is made can hide an image or claim to be final."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import reporting
from inference.findings import Outcome
from reporting import ENCODERS
from reporting.companions.key_objects import KeyObjectTitle
from tests.conformance.suite import CLEAN, documents

ROOT = Path(reporting.__file__).parents[1]
HIDING_TITLES = {"113001", "113037", "113038", "113039"}  # IHE RAD IOCM: archives hide what they name
FORBIDDEN = {*HIDING_TITLES, "VERIFIED", "FINAL"}
MACHINES = {
    "in Kathmandu, in Turkish": {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "4711"},
    "with an ASCII locale": {"TZ": "UTC-14", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "0"},
}


def fingerprint(folder):
    """The SHA-256 of every document of some analyses, by name."""
    made = documents(Path(folder), ["localised"], [CLEAN, "in kanji"])
    return {document.path.name: hashlib.sha256(document.path.read_bytes()).hexdigest() for document in made}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return fingerprint(tmp_path_factory.mktemp("here"))


def test_every_kind_of_result_is_among_the_documents(here):
    assert {name.split("_")[0] for name in here} == set(ENCODERS)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_same_bytes_come_out_on_every_machine(tmp_path, here, machine):
    program = "import json, sys; from tests.unit.test_reporting_everywhere import fingerprint; print(json.dumps(fingerprint(sys.argv[1])))"
    environment = {**os.environ, **MACHINES[machine], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == here


def _constants(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_module_that_writes_results_knows_how_to_say_verified_final_or_hidden():
    """Nothing can be emitted that is not in the code: each is a constant of its own wherever it is written."""
    found = {(path.name, value) for path in (ROOT / "reporting").rglob("*.py") for value in _constants(path) if value in FORBIDDEN}
    assert found == set()


def test_a_title_of_key_objects_can_only_be_one_that_points_at_images():
    assert {title.value.value for title in KeyObjectTitle} == {"113000", "113010"}


def test_no_outcome_of_an_analysis_is_a_verdict_of_a_person():
    assert {outcome.value for outcome in Outcome} == {"succeeded", "partial", "failed", "not attempted"}

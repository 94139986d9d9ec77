"""The demo, as a newcomer runs it, twice."""

import json

from dicom_node.demo.studies import DEMO_STUDIES
from tests.node.running import run


def demo(folder):
    done = run("demo", "--output", folder, timeout_s=290)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing here is a diagnosis" in done.stdout
    return json.loads((folder / "worklist.json").read_text())["studies"]


def test_two_runs_give_the_same_findings_and_the_same_uids(tmp_path):
    first, second = demo(tmp_path / "one"), demo(tmp_path / "two")
    assert len(first) == len(DEMO_STUDIES)
    for study in (*first, *second):
        assert study.pop("seconds_to_report") > 0
        assert len(study["reports"]) == 1
    assert first == second
    page = (tmp_path / "one" / "index.html").read_text()
    assert all(study.title in page for study in DEMO_STUDIES)


def test_the_demo_never_removes_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    done = run("demo", "--output", tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "mine.txt").read_text() == "keep me"

"""`dicom-node flags`, `status` and the metrics, as an administrator sees them."""

import json

import pytest
from typer.testing import CliRunner

from config import load
from dicom_node.commands import app
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.telemetry import LedgerCollector
from tests.node.running import write_settings
from tests.unit.test_flagging import MODEL, NOON, Asked, analysis, finding

RUNNER = CliRunner()


@pytest.fixture
def settings_file(tmp_path):
    (tmp_path / "node").mkdir()
    return write_settings(tmp_path)


@pytest.fixture
def ledger(settings_file):
    ledger = Ledger(f"sqlite:///{settings_file.parent / 'node' / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def call(settings_file, *arguments):
    return RUNNER.invoke(app, [*arguments, "--config", str(settings_file)])


def answer(settings_file, *arguments):
    done = call(settings_file, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_switch_takes_effect_without_a_restart(settings_file, ledger):
    asked = Asked(ledger, load(None)[1])
    assert asked(analysis(finding())).flag > 0
    assert answer(settings_file, "flags", "suspend", "--why", "false alarms at night")["changed"]
    assert asked(analysis(finding())).flag == 0
    assert answer(settings_file, "flags", "resume", "--why", "checked")["still_suspended"] == []
    assert asked(analysis(finding())).flag > 0


def test_the_list_says_what_was_raised_what_was_held_back_and_who_stopped_it(settings_file, ledger):
    asked = Asked(ledger, load(None)[1])
    raised, held = analysis(finding()), analysis(finding())
    asked(raised)
    call(settings_file, "flags", "suspend", "--model", MODEL, "--why", "false alarms")
    asked(held)
    listed = answer(settings_file, "flags", "list")
    assert [(row["study_instance_uid"], row["decision"]["reason"]) for row in listed["decisions"]] == [
        (raised.study_instance_uid, "raised"),
        (held.study_instance_uid, "suspended"),
    ]
    assert listed["suspensions"][0]["why"] == "false alarms"
    assert listed["suspensions"][0]["suspended_by"]
    assert (listed["models"][0]["model"], listed["models"][0]["suspended"]) == (MODEL, True)
    words = call(settings_file, "flags", "list").stdout
    assert "SUSPENDED" in words


def test_status_and_metrics_say_that_flags_are_suspended(settings_file, ledger):
    Asked(ledger, load(None)[1])(analysis(finding()))
    ledger.suspend_flags(model=MODEL, who="op", why="too many", now=NOON)
    words = call(settings_file, "status").stdout
    assert "Flags of gatekeeper are SUSPENDED by op" in words
    assert "1 raised, 0 held back" in words
    assert answer(settings_file, "status")["flags"] == {"decisions": {MODEL: {"raised": 1}}, "suspended": [MODEL]}
    store = ObjectStore(settings_file.parent / "objects")
    gauges = {family.name: family.samples for family in LedgerCollector(ledger, store, dict).collect()}
    assert [(sample.labels, sample.value) for sample in gauges["dicom_node_flags_suspended"]] == [({"model": MODEL}, 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("suspend", "--model", "chexzerro", "--why", "x"), 2, "there is no model 'chexzerro' here"),
        (("suspend", "--why", " "), 2, "a reason is needed"),
        (("resume", "--why", "x"), 1, "not suspended"),
    ],
)
def test_a_wrong_request_is_answered_with_what_to_do(settings_file, ledger, arguments, code, words):
    done = call(settings_file, "flags", *arguments)
    assert done.exit_code == code
    assert words in done.stderr

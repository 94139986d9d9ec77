"""The door to the audit trail: what the parts of the node get into it, and what happens when it cannot be written."""

import json
from datetime import timedelta

import pytest
import structlog
from lxml import etree
from typer.testing import CliRunner

from config import load
from config.schema import Settings
from dicom_node import audit
from dicom_node.audit.arrivals import tell_arrivals
from dicom_node.audit.configuration import tell_settings
from dicom_node.audit.events import AssociationRefused, OperatorActed, StudyDeleted
from dicom_node.audit.subjects import patient_id_in
from dicom_node.audit.trail import records, trail_files
from dicom_node.commands import app
from dicom_node.ledger import Ledger
from tests.builders import CANARY_ID, radiograph_file
from tests.conformance.test_audit_messages import SCHEMA
from tests.node.running import write_settings
from tests.unit.test_ledger import NOON, instance, settle
from tests.waiting import eventually

RUNNER = CliRunner()


@pytest.fixture
def settings(tmp_path):
    return Settings.model_validate({"node": {"data_folder": tmp_path / "node", "site": "north-hospital"}})


@pytest.fixture
def opened(settings):
    with audit.trail_open(settings, process="test"):
        yield settings


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def trail(settings):
    return [placed.record for file in trail_files(audit.trail_folder(settings)) for placed in records(file)]


def users(settings):
    return [etree.fromstring(one.message).findall("ActiveParticipant")[-1].get("UserID").partition("@")[0] for one in trail(settings)]


def acted(user):
    return OperatorActed(user=user, action="requeue", subject="1.2.3", why="a test")


def refused(address="192.0.2.1", title="EVIL"):
    return AssociationRefused(calling_ae_title=title, called_ae_title="X", address=address, reason="calling AE title")


def test_without_an_open_trail_nothing_is_written_and_nothing_fails(settings):
    audit.close_trail()
    assert audit.record(acted("a"))
    audit.record_soon(refused())
    assert not audit.trail_folder(settings).exists()


def test_a_node_that_wants_no_trail_keeps_none(tmp_path):
    settings = Settings.model_validate({"node": {"data_folder": tmp_path / "node"}, "audit": {"enabled": False}})
    with audit.trail_open(settings, process="test"):
        assert audit.record(acted("a"))
    assert not (tmp_path / "node").exists()


def test_what_is_recorded_is_there_at_once_and_in_order(opened):
    for name in ("a", "b", "c"):
        assert audit.record(acted(name))
    assert users(opened) == ["a", "b", "c"]


def test_what_is_recorded_soon_is_there_soon_and_in_any_case_at_the_end(settings):
    with audit.trail_open(settings, process="test"):
        audit.record_soon(refused())
        eventually(lambda: len(trail(settings)) == 1, "it is written")
        for number in range(20):
            audit.record_soon(refused(address=f"192.0.2.{number + 2}"))
    assert len(trail(settings)) == 21


def test_a_peer_that_knocks_again_and_again_is_recorded_once(settings):
    with audit.trail_open(settings, process="test"):
        for _ in range(500):
            audit.record_soon(refused())
        audit.record_soon(refused(title="OTHER"))
    assert len(trail(settings)) == 2


def test_a_flood_of_different_peers_does_not_fill_the_disk(settings):
    with audit.trail_open(settings, process="test"):
        for number in range(600):
            audit.record_soon(refused(title=f"E{number}"))
    assert len(trail(settings)) <= 200


def test_a_trail_that_cannot_be_written_is_an_error_in_the_log_and_no_exception(opened):
    folder = audit.trail_folder(opened)
    (folder / "trail-000000000001.jsonl").mkdir()
    with structlog.testing.capture_logs() as logs:
        assert not audit.record(acted("lost"))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("audit_record_not_written", "error")]
    (folder / "trail-000000000001.jsonl").rmdir()
    assert audit.record(acted("after"))
    assert users(opened) == ["after"]


def test_what_arrived_is_told_once_a_sender_and_revision(opened, ledger):
    for number, title in ((1, "CT1"), (2, "CT1"), (3, "CT2")):
        ledger.record_instance(replaced(instance(number), title), urgent=False)
    settle(ledger)
    assert [tell_arrivals(ledger, lambda path: path) for _ in range(2)] == [1, 0]
    messages = [etree.fromstring(one.message) for one in trail(opened)]
    assert all(SCHEMA.validate(message) for message in messages)
    told = [(one.find("ActiveParticipant").get("UserID"), one.find(".//SOPClass").get("NumberOfInstances")) for one in messages]
    assert told == [("CT1", "2"), ("CT2", "1")]
    ledger.record_instance(replaced(instance(4, at=NOON + timedelta(hours=1)), "CT1"), urgent=False)
    settle(ledger, at=NOON + timedelta(hours=2))
    tell_arrivals(ledger, lambda path: path)
    assert len(trail(opened)) == 3, "only what came since"


def replaced(one, title):
    values = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return type(one)(**(values | {"calling_ae_title": title}))


def test_what_arrived_while_the_trail_could_not_be_written_is_told_later(settings, ledger, tmp_path):
    ledger.record_instance(instance(1), urgent=False)
    settle(ledger)
    with audit.trail_open(settings, process="test"):
        folder = audit.trail_folder(settings)
        (folder / "trail-000000000001.jsonl").mkdir()
        with structlog.testing.capture_logs() as logs:
            assert tell_arrivals(ledger, lambda path: path) == 0
        assert [entry["event"] for entry in logs] == ["audit_record_not_written"]
        (folder / "trail-000000000001.jsonl").rmdir()
        assert tell_arrivals(ledger, lambda path: path) == 1
    assert len(trail(settings)) == 1


def test_the_patient_is_found_in_instances_and_messages(tmp_path):
    (tmp_path / "a.hl7").write_bytes(b"MSH|^~\\&|A\rPID|1||CANARY-ID^^^NORTH^MR~OTHER||CANARY^PHI\r")
    bundle = {"entry": [{"resource": {"subject": {"type": "Patient", "identifier": {"value": CANARY_ID}}}}]}
    (tmp_path / "a.json").write_text(json.dumps(bundle))
    (tmp_path / "b.dcm").write_bytes(b"\x00" * 200)
    found = [patient_id_in(path) for path in (radiograph_file(tmp_path / "a.dcm"), tmp_path / "a.hl7", tmp_path / "a.json")]
    assert found == [CANARY_ID] * 3
    assert [patient_id_in(path) for path in (tmp_path / "b.dcm", tmp_path / "none.dcm")] == ["", ""]


def test_other_settings_are_told_at_the_next_start(tmp_path):
    settings_file = write_settings(tmp_path)
    for _ in range(2):
        settings, catalogue = load(settings_file)
        with audit.trail_open(settings, process="serve"):
            tell_settings(settings, catalogue, settings_file)
    assert len(trail(settings)) == 1, "the second start changed nothing"
    settings, catalogue = load(write_settings(tmp_path, settle={"quiet_s": 3}))
    with audit.trail_open(settings, process="serve"):
        tell_settings(settings, catalogue, settings_file)
    assert len(trail(settings)) == 2


def test_the_commands_read_check_and_say_that_they_did(tmp_path):
    settings_file = write_settings(tmp_path)
    settings, _ = load(settings_file)
    with audit.trail_open(settings, process="test"):
        audit.record(StudyDeleted(study_instance_uid="1.2.3", patient_id=CANARY_ID, why="old"))

    def call(*arguments):
        return RUNNER.invoke(app, ["audit", *arguments, "--config", str(settings_file)], env={"COLUMNS": "240"})

    assert "The audit trail is whole" in call("verify").stdout
    assert CANARY_ID in call("show", "1").stdout
    assert "DICOM Study Deleted" in call("tail").stdout
    events = [etree.fromstring(one.message).find(".//EventID").get("csd-code") for one in trail(settings)]
    assert events == ["110105", "110101", "110101", "110101"]
    (file,) = trail_files(audit.trail_folder(settings))
    file.write_text(file.read_text().replace("1.2.3", "1.2.4"))
    done = call("verify", "--json")
    assert (done.exit_code, json.loads(done.stdout)["problems"][0]["record"]) == (1, 1)
    assert call("show", "99").exit_code == 1
    (tmp_path / "anchor.json").write_text("no anchor")
    assert call("verify", "--anchor", str(tmp_path / "anchor.json")).exit_code == 2

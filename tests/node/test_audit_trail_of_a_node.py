"""The audit trail of a study's whole way through the node: what happened is in it, it is whole, and it alone names the patient."""

import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree
from typer.testing import CliRunner

from config import load
from dicom_node import audit, steps
from dicom_node.audit.trail import records, trail_files
from dicom_node.commands import app
from dicom_node.delivery import utc_now
from dicom_node.delivery.process import run_deliver
from dicom_node.demo.archive import Archive
from dicom_node.emulator import send_files
from dicom_node.keeping import retention
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.node import Node
from dicom_node.receiving.scp import StorageScp
from tests.builders import CANARIES, CANARY_ID, CANARY_NAME, radiograph_file, uid
from tests.conformance.test_audit_messages import SCHEMA
from tests.node.running import CALLING, COMMAND, run, write_settings
from tests.waiting import eventually

STUDY = uid()
ROUTES = [{"name": "radiograph", "when": [{"attribute": "Modality", "equals": "DX"}]}, {"name": "rest", "no_analysis": "no route"}]


@dataclass(frozen=True, kw_only=True)
class Past:
    """A node that has stopped: its folder, settings file and log."""

    folder: Path
    settings_file: Path
    log: str

    @property
    def trail(self):
        return self.folder / "node" / "audit"


def later():
    return utc_now() + timedelta(hours=1)


def send(folder, port):
    """A study that is taken, the same from somebody who may not, and an instance that no node takes."""
    image = radiograph_file(folder / "a.dcm", study_uid=STUDY)
    broken = radiograph_file(folder / "b.dcm", study_uid="CANARY is no UID")
    to = {"host": "127.0.0.1", "port": port, "called": "DICOM-NODE"}
    sent = [send_files([path], calling=calling, **to)[0] for path, calling in ((image, CALLING), (image, "STRANGER"), (broken, CALLING))]
    assert [one.accepted for one in sent] == [True, False, False]


def work(node):
    """Take every work item to its results; no route here asks a model."""
    while (item := node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)) is not None:
        if item.analysis_path is None:
            steps.analyse(node, None, item)
        else:
            steps.encode(node, item)


def deliver(node):
    stop = threading.Event()
    thread = threading.Thread(
        target=run_deliver, args=(node.settings, node.ledger, node.store, stop), kwargs={"owner": "d", "clock": later}
    )
    thread.start()
    try:
        eventually(lambda: [item.state for row in node.ledger.study_rows() for item in row.work_items] == ["DELIVERED"], "it is delivered")
    finally:
        stop.set()
        thread.join()


def from_arrival_to_purge(settings_file):
    settings, catalogue = load(settings_file)
    data = settings.node.data_folder
    data.mkdir()
    ledger = Ledger(f"sqlite:///{data / 'ledger.sqlite'}")
    node = Node(settings=settings, catalogue=catalogue, ledger=ledger, store=ObjectStore(data / "objects"), clock=later)
    with audit.trail_open(settings, process="node"):
        scp = StorageScp(ae_title="DICOM-NODE", settings=settings.receive, store=node.store, recorder=ledger, clock=utc_now)
        scp.start()
        try:
            send(settings_file.parent, scp.port)
        finally:
            scp.stop()
        assert (steps.settle(node), steps.tell(node), steps.route(node)) == (1, 1, 1)
        work(node)
        deliver(node)
        assert len(retention.purge(settings, ledger, node.store, now=later() + timedelta(days=2)).by_age) == 1
    ledger.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    with Archive(folder / "archive") as archive:
        settings_file = write_settings(
            folder,
            destinations=[("archive", archive.port, "ARCHIVE")],
            routes={"routes": ROUTES},
            retention={"after_days": 1, "at_least_h": 1},
            audit={"repository": {"kind": "file", "path": "syslog.txt"}},
        )
        from_arrival_to_purge(settings_file)
    assert run("flags", "suspend", "--why", "a test", "--config", settings_file).returncode == 0
    with (folder / "node.log").open("w") as log:
        scheduling = subprocess.Popen(
            [COMMAND, "schedule", "--config", settings_file], stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        started = 'csd-code="110131"'
        eventually(lambda: (folder / "syslog.txt").exists() and started in (folder / "syslog.txt").read_text(), "it is sent", timeout_s=90)
    finally:
        scheduling.send_signal(signal.SIGTERM)
        scheduling.wait(timeout=60)
    return Past(folder=folder, settings_file=settings_file, log=(folder / "node.log").read_text())


@pytest.fixture(scope="module")
def trail(node):
    return [placed.record for file in trail_files(node.trail) for placed in records(file)]


def told(trail, event, kind=None):
    """The messages of one event, and of one type of it."""
    found = []
    for message in (etree.fromstring(one.message) for one in trail):
        identification = message.find("EventIdentification")
        types = [code.get("csd-code") for code in identification.findall("EventTypeCode")]
        if identification.find("EventID").get("csd-code") == event and (kind is None or kind in types):
            found.append(message)
    return found


def users(message):
    return [one.get("UserID") for one in message.findall("ActiveParticipant")]


def objects(message):
    return [one.get("ParticipantObjectID") for one in message.findall("ParticipantObjectIdentification")]


def test_every_message_follows_the_schema(trail):
    assert [SCHEMA.error_log for one in trail if not SCHEMA.validate(etree.fromstring(one.message))] == []


def test_a_process_says_that_it_started_and_stopped(trail):
    for kind in ("110120", "110121"):
        assert [users(message)[0].partition("/")[0] for message in told(trail, "110100", kind)] == ["schedule"]


def test_the_first_start_is_a_change_of_the_settings(trail, node):
    (message,) = told(trail, "110113", "110131")
    assert objects(message) == [node.settings_file.as_uri()]


def test_what_arrived_is_told_once_with_sender_study_and_patient(trail, node):
    arrived = [message for message in told(trail, "110104") if users(message)[0] == CALLING and STUDY in objects(message)]
    (message,) = arrived
    assert objects(message) == [STUDY, CANARY_ID]
    assert message.find(".//SOPClass").get("NumberOfInstances") == "1"
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "0"


def test_an_instance_that_was_not_taken_is_told_as_a_failure(trail):
    (message,) = [one for one in told(trail, "110104") if one.find("EventIdentification").get("EventOutcomeIndicator") == "8"]
    assert message.findtext("EventIdentification/EventOutcomeDescription").startswith("refused with 0x")
    assert users(message)[0] == CALLING


def test_somebody_who_was_turned_away_is_a_security_alert(trail):
    (message,) = told(trail, "110113", "110126")
    assert users(message)[1] == "STRANGER"


def test_the_images_were_looked_at_and_the_report_sent(trail, node):
    assert [objects(message) for message in told(trail, "110103")] == [[STUDY, CANARY_ID]]
    (begun,) = told(trail, "110102")
    assert (users(begun)[1], objects(begun)) == ("ARCHIVE", [STUDY, CANARY_ID])
    (sent,) = [message for message in told(trail, "110104") if users(message)[1] == "ARCHIVE"]
    assert sent.find(".//SOPClass").get("UID") == "1.2.840.10008.5.1.4.1.1.88.34"


def test_the_deletion_of_a_study_names_the_patient_although_the_files_are_gone(trail):
    (message,) = told(trail, "110105")
    assert objects(message) == [STUDY, CANARY_ID]


def test_an_operator_is_named_with_what_he_did(trail):
    (message,) = told(trail, "110113", "110132")
    assert objects(message) == ["urn:dicom-node:model:*"]
    assert "@" in users(message)[1]


def test_the_repository_has_what_the_trail_has(trail, node):
    lines = (node.folder / "syslog.txt").read_text(encoding="utf-8").splitlines()
    sent = [line.partition("\ufeff")[2] for line in lines]
    assert sent == [one.message for one in trail][: len(sent)]
    assert any("110103" in message for message in sent)


def test_the_trail_proves_that_it_is_whole_and_that_it_was_read(node):
    anchor = str(node.folder / "anchor.json")

    def call(*arguments):
        return CliRunner().invoke(app, ["audit", *arguments, "--config", str(node.settings_file)])

    first = call("verify", "--save-anchor", anchor, "--json")
    assert (first.exit_code, json.loads(first.stdout)["problems"]) == (0, [])
    assert "The audit trail is whole" in call("verify", "--anchor", anchor).stdout
    assert all("110101" in one["message"] for one in json.loads(call("tail", "-n", "3", "--json").stdout))


def test_only_the_audit_trail_names_the_patient_and_only_by_number(node, trail):
    together = "".join(one.message for one in trail)
    assert CANARY_ID in together
    assert CANARY_NAME not in together
    assert not [line for line in node.log.splitlines() if any(canary in line for canary in CANARIES)]
    assert {path.stat().st_mode & 0o077 for path in node.trail.iterdir()} == {0}

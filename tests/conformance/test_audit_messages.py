"""Audit messages under the schema of PS3.15 A.5.1, and against the tables of A.5.3."""

import base64
import copy
import typing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from dicom_node.audit import events
from dicom_node.audit.message import AuditSource, EventOutcome, SopClassCount, encode
from dicom_node.audit.messages import message_of
from tests.builders import CANARY_ID, CT, DX

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit-message.rng")))
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SOURCE = AuditSource(site="north-hospital", ae_title="DICOM-NODE", host="node1", process="receive/17")
STUDY = "1.2.840.113619.2.1"
CLASSES = (SopClassCount(sop_class_uid=CT, instances=120), SopClassCount(sop_class_uid=DX, instances=2))
ABOUT = {"study_instance_uid": STUDY, "patient_id": CANARY_ID}
ARCHIVE = {"peer": "ORTHANC", "address": "192.0.2.7", "sop_classes": CLASSES}

EVERY_EVENT = {
    "start": (events.ApplicationStarted(), "110100", "E", ["110120"], ["110150"]),
    "stop": (events.ApplicationStopped(), "110100", "E", ["110121"], ["110150"]),
    "refused": (
        events.AssociationRefused(calling_ae_title="EVIL", called_ae_title="X", address="192.0.2.9", reason="calling AE title not known"),
        "110113",
        "E",
        ["110126"],
        [],
    ),
    "settings": (events.SettingsChanged(path="/etc/node.yaml", before="0" * 64, now="1" * 64), "110113", "E", ["110131"], []),
    "operator": (events.OperatorActed(user="mary", action="retract", subject=STUDY, why="wrong patient"), "110113", "E", ["110132"], []),
    "log used": (events.AuditLogUsed(user="mary", command="dicom-node audit tail"), "110101", "R", [], []),
    "lost": (events.AuditRecordsLost(first=3, last=9), "110113", "E", ["110133"], []),
    "received": (
        events.InstancesReceived(**ABOUT, calling_ae_title="CT1", address="192.0.2.8", sop_classes=CLASSES, at=NOON),
        "110104",
        "C",
        [],
        ["110153", "110152"],
    ),
    "not taken": (
        events.InstancesRefused.of("CT1", "192.0.2.8", {(CT, 0xA700): 3, (CT, 0xA900): 1, ("", 0xA900): 2, ("1.2.x", 0xC000): 1}),
        "110104",
        "C",
        [],
        ["110153", "110152"],
    ),
    "accessed": (events.InstancesAccessed(**ABOUT, sop_classes=CLASSES), "110103", "R", [], []),
    "begun": (events.TransferBegun(**ABOUT, **ARCHIVE), "110102", "E", [], ["110153", "110152"]),
    "sent": (events.InstancesSent(**ABOUT, **ARCHIVE), "110104", "C", [], ["110153", "110152"]),
    "exported": (events.ResultExported(**ABOUT, target="mllp://ris.example.org:2575"), "110106", "R", [], ["110153", "110154"]),
    "deleted": (events.StudyDeleted(**ABOUT, why="older than 30 days"), "110105", "D", [], []),
}


def xml(event):
    return etree.fromstring(encode(message_of(event, SOURCE, NOON), SOURCE))


def codes(root, path):
    return [found.get("csd-code") for found in root.findall(path)]


def test_every_event_that_is_audited_is_checked_here():
    assert {type(event) for event, *_ in EVERY_EVENT.values()} == set(typing.get_args(events.AuditEvent))


@pytest.mark.parametrize("name", EVERY_EVENT)
def test_a_message_follows_the_schema_and_its_table(name):
    event, event_id, action, types, roles = EVERY_EVENT[name]
    root = xml(event)
    assert SCHEMA.validate(root), SCHEMA.error_log
    assert codes(root, "EventIdentification/EventID") == [event_id]
    assert root.find("EventIdentification").get("EventActionCode") == action
    assert codes(root, "EventIdentification/EventTypeCode") == types
    assert codes(root, "ActiveParticipant/RoleIDCode") == roles
    requestors = [one.get("UserIsRequestor") for one in root.findall("ActiveParticipant")].count("true")
    assert requestors == (0 if event_id == "110100" else 1), "one requestor, where it is known"
    assert root.find("AuditSourceIdentification").get("AuditSourceID") == "DICOM-NODE@node1"


@pytest.mark.parametrize("name", ["received", "accessed", "begun", "sent", "exported", "deleted"])
def test_a_message_about_a_study_names_the_study_and_the_patient_by_number(name):
    root = xml(EVERY_EVENT[name][0])
    objects = {
        found.find("ParticipantObjectIDTypeCode").get("csd-code"): found for found in root.findall("ParticipantObjectIdentification")
    }
    assert objects["110180"].get("ParticipantObjectID") == STUDY
    patient = objects["2"]
    assert (patient.get("ParticipantObjectID"), patient.get("ParticipantObjectTypeCode")) == (CANARY_ID, "1")
    assert patient.find("ParticipantObjectIDTypeCode").get("codeSystemName") == "RFC-3881"


def test_a_transfer_counts_its_instances_by_class():
    classes = xml(EVERY_EVENT["received"][0]).findall(".//SOPClass")
    assert [(one.get("UID"), one.get("NumberOfInstances")) for one in classes] == [(CT, "120"), (DX, "2")]


def test_instances_that_were_not_taken_are_counted_with_their_statuses():
    root = xml(EVERY_EVENT["not taken"][0])
    assert [(one.get("UID"), one.get("NumberOfInstances")) for one in root.findall(".//SOPClass")] == [(None, "3"), (CT, "4")]
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "refused with 0xA700, 0xA900, 0xC000"


def test_an_alert_says_in_words_what_happened():
    root = xml(EVERY_EVENT["refused"][0])
    detail = root.find(".//ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value")).decode() == "association refused: calling AE title not known; called AE title X"
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "8"


def test_a_failure_has_its_outcome_and_words():
    event = events.InstancesSent(**ABOUT, **ARCHIVE, outcome=EventOutcome.SERIOUS_FAILURE, description="answered 0xA700")
    root = xml(event)
    assert SCHEMA.validate(root), SCHEMA.error_log
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "8"
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "answered 0xA700"


@pytest.mark.parametrize("hostile", ["", "a<b>&\"'", "nul\x00and\x1bescape", "\ud800", "naïve 東京", "]]>", "x" * 70_000])
def test_what_a_peer_can_put_into_a_message_leaves_it_well_formed(hostile):
    event = events.AssociationRefused(calling_ae_title=hostile, called_ae_title=hostile, address="192.0.2.9", reason=hostile)
    received = events.InstancesReceived(
        study_instance_uid=STUDY, patient_id=hostile, calling_ae_title="CT1", address="", sop_classes=CLASSES, at=NOON
    )
    for root in (xml(event), xml(received)):
        assert SCHEMA.validate(root), SCHEMA.error_log


def _without(path):
    def change(root):
        found = root.find(path)
        found.getparent().remove(found)

    return change


def _with(path, attribute, value):
    return lambda root: root.find(path).set(attribute, value)


MUTANTS = {
    "no event": _without("EventIdentification"),
    "no participant": lambda root: [root.remove(one) for one in root.findall("ActiveParticipant")],
    "no source": _without("AuditSourceIdentification"),
    "no name of an object": _without(".//ParticipantObjectName"),
    "unknown outcome": _with("EventIdentification", "EventOutcomeIndicator", "7"),
    "time without form": _with("EventIdentification", "EventDateTime", "20260105120000"),
    "unknown action": _with("EventIdentification", "EventActionCode", "X"),
    "code without meaning": lambda root: root.find(".//EventID").attrib.pop("originalText"),
    "role out of range": _with("ParticipantObjectIdentification", "ParticipantObjectTypeCodeRole", "99"),
    "class without count": lambda root: root.find(".//SOPClass").attrib.pop("NumberOfInstances"),
    "source after objects": lambda root: root.append(root.find("AuditSourceIdentification")),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_schema_rejects_a_message_with_one_fault(name):
    root = xml(EVERY_EVENT["received"][0])
    mutant = copy.deepcopy(root)
    MUTANTS[name](mutant)
    assert SCHEMA.validate(root)
    assert not SCHEMA.validate(mutant)

"""FHIR R4 Bundles read back by fhir.resources, a library that has no part in making them, and every code compared with its value set.

The library checks structure and cardinality (its R4B models; the resources used here are those of R4) but no required bindings, so
those are checked here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError
from pydicom.dataset import Dataset

from config import Code
from inference.findings import Analysis, FlagLevel
from reporting import ENCODERS, EncodedResult, MediaType, PreviousReport
from reporting.fhir import Status, TaskStatus
from tests.conformance.sr_documents import (
    CHARACTER_SETS,
    FRONTAL,
    KINDS,
    LATERAL,
    NOTHING_FOUND,
    POSITIVE,
    PRODUCER,
    SHADOW,
    STUDY,
    WITHDRAWN,
    coded,
    dirty_headers,
    header,
    headers_of,
)
from tests.conformance.sr_readback import _KNOWN as KNOWN

DIRTY = dirty_headers()
# Required bindings of R4 (hl7.org/fhir/R4, terminologies), as far as our resources have such elements.
BINDINGS = {
    "Bundle.type": {"document", "message", "transaction", "transaction-response", "batch", "history", "searchset", "collection"},
    "Bundle.entry.request.method": {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"},
    "DiagnosticReport.status": {
        "registered",
        "partial",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "appended",
        "cancelled",
        "entered-in-error",
        "unknown",
    },
    "DiagnosticReport.text.status": {"generated", "extensions", "additional", "empty"},
    "Observation.status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"},
    "Device.status": {"active", "inactive", "entered-in-error", "unknown"},
    "Device.deviceName.type": {"udi-label-name", "user-friendly-name", "patient-reported-name", "manufacturer-name", "model-name", "other"},
    "Task.status": {
        "draft",
        "requested",
        "received",
        "accepted",
        "rejected",
        "ready",
        "cancelled",
        "in-progress",
        "on-hold",
        "failed",
        "completed",
        "entered-in-error",
    },
    "Task.intent": {"unknown", "proposal", "plan", "order", "original-order", "reflex-order", "filler-order", "instance-order", "option"},
    "Task.priority": {"routine", "urgent", "asap", "stat"},
    "Provenance.entity.role": {"derivation", "revision", "quotation", "source", "removal"},
}
SCHEMES = {  # http://hl7.org/fhir/R4/terminologies-systems.html
    "http://dicom.nema.org/resources/ontology/DCM": "DCM",
    "http://snomed.info/sct": "SCT",
    "http://unitsofmeasure.org": "UCUM",
}
OTHER_CODES = {
    ("http://loinc.org", "18748-4"): "Diagnostic imaging study",
    ("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD"): "Radiology",
    ("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN"): "Accession ID",
    ("http://terminology.hl7.org/CodeSystem/observation-category", "imaging"): "Imaging",
    ("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "A"): "Abnormal",
    ("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "AA"): "Critical abnormal",
    ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "performer"): "Performer",
    ("http://radlex.org", "RID12"): "Diagnostic quality",
    ("http://radlex.org", "RID13"): "Limited quality",
    ("http://radlex.org", "RID14"): "Non-diagnostic quality",
}
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def bundle(of: Analysis, headers: list[Dataset] | None = None, previous: PreviousReport | None = None) -> EncodedResult:
    made = ENCODERS["fhir-report"](of, headers or headers_of(of), producer=PRODUCER, previous=previous)
    assert made is not None
    return made


def sent_before(message: EncodedResult, *, kept: bool = True) -> PreviousReport:
    return PreviousReport(
        study_instance_uid=STUDY,
        series_instance_uid="",
        sop_class_uid="",
        sop_instance_uid=message.sop_instance_uid,
        instance_number=1,
        data=message.data if kept else b"",
    )


def resources(message: EncodedResult, kind: str = "") -> list[dict]:
    return [entry["resource"] for entry in json.loads(message.data)["entry"] if kind in {"", entry["resource"]["resourceType"]}]


def the(message: EncodedResult, kind: str) -> dict:
    (found,) = resources(message, kind)
    return found


def values(element: object, path: str) -> Iterator[tuple[str, str]]:
    """Every string below an element with its path, as BINDINGS names them."""
    if isinstance(element, dict):
        path = element.get("resourceType", path) if "resourceType" in element else path
        for name, value in element.items():
            yield from values(value, f"{path}.{name}")
    elif isinstance(element, list):
        for value in element:
            yield from values(value, path)
    elif isinstance(element, str):
        yield path, element


def codings(element: object) -> Iterator[dict]:
    if isinstance(element, dict):
        if "code" in element and "display" in element:
            yield element
        for value in element.values():
            yield from codings(value)
    elif isinstance(element, list):
        for value in element:
            yield from codings(value)


def faults(message: EncodedResult) -> list[str]:
    """What is wrong with a Bundle."""
    try:
        Bundle.model_validate_json(message.data)
    except ValidationError as exc:
        return [str(error["loc"]) for error in exc.errors()]
    content = json.loads(message.data)
    found = [f"{path} {value}" for path, value in values(content, "") if path in BINDINGS and value not in BINDINGS[path]]
    here = {f"{one['resourceType']}/{one['id']}" for one in resources(message)}
    found += [f"{path} {value}" for path, value in values(content, "") if path.endswith(".reference") and value not in here]
    found += [one["id"] for one in resources(message) if not _ID.fullmatch(one["id"])]
    for coding in codings(content):
        key = (coding.get("system", ""), coding["code"])
        meanings = KNOWN.get((SCHEMES.get(key[0], ""), key[1]), {OTHER_CODES.get(key)})
        if coding["display"] not in meanings:
            found.append(f"{key} {coding['display']}")
    return found


# Valid, and never final


@pytest.mark.parametrize("kind", KINDS)
def test_every_bundle_is_valid(kind):
    assert faults(bundle(KINDS[kind])) == []


@pytest.mark.parametrize("kind", ["nothing found", "failed", "withdrawn"])
def test_every_revision_is_valid(kind):
    assert faults(bundle(KINDS[kind], previous=sent_before(bundle(POSITIVE)))) == []


@pytest.mark.parametrize("name", DIRTY)
def test_a_dirty_source_header_gives_a_valid_bundle(name):
    assert faults(bundle(KINDS["failed"], [DIRTY[name].dataset])) == []


MUTANTS = {
    "prelim": ('"status":"preliminary"', '"status":"prelim"'),
    "no status": ('"status":"preliminary",', ""),
    "a reference to nothing": ('"reference":"Device/', '"reference":"Device/0'),
    "another meaning": ('"display":"Pneumothorax"', '"display":"Pneumonia"'),
    "a misspelt element": ('"bodySite"', '"bodySites"'),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bundle_with_one_fault_is_rejected(name):
    right, wrong = MUTANTS[name]
    message = bundle(POSITIVE)
    assert right in message.data.decode()
    assert faults(replace(message, data=message.data.decode().replace(right, wrong, 1).encode())) != []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_ever_final(kind):
    for previous in (None, sent_before(bundle(POSITIVE))):
        message = bundle(KINDS[kind], previous=previous)
        told = {one["status"] for name in ("DiagnosticReport", "Observation") for one in resources(message, name)}
        assert told <= {"preliminary", "entered-in-error"}


def test_there_is_no_way_to_say_final_or_to_lower_a_study():
    assert {status.value for status in Status} == {"preliminary", "entered-in-error"}
    assert {status.value for status in TaskStatus} == {"requested", "cancelled", "entered-in-error"}


# What it says


def test_a_finding_is_an_observation_of_its_concept():
    (found,) = [one for one in resources(bundle(POSITIVE), "Observation") if one["code"]["text"] == "Pneumothorax"]
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    assert found["bodySite"]["coding"][0]["code"] == "3120008"
    certainty, threshold, image = found["component"]
    assert (certainty["valueQuantity"]["value"], certainty["valueQuantity"]["code"]) == (87.3, "%")
    assert threshold["valueQuantity"]["value"] == 42
    assert FRONTAL.sop_instance_uid in image["valueString"]
    device = next(one for one in resources(bundle(POSITIVE), "Device") if f"Device/{one['id']}" == found["device"]["reference"])
    assert device["deviceName"][0]["name"] == "zero-shot-cxr"


def test_a_score_without_calibration_is_no_certainty():
    shown = json.dumps(resources(bundle(SHADOW)))
    assert "246262008" in shown
    assert "111012" not in shown


def test_patient_order_and_study_are_named_and_never_made():
    message = bundle(POSITIVE)
    assert {one["resourceType"] for one in resources(message)} == {"Device", "Observation", "DiagnosticReport", "Task", "Provenance"}
    report = the(message, "DiagnosticReport")
    assert report["subject"]["identifier"] == {"value": "CANARY-ID", "assigner": {"display": "TESTHOSP"}}
    assert report["basedOn"][0]["identifier"]["value"] == "CANARY-ACC"
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}


def test_the_assigning_authority_is_the_system_of_the_patient_s_identifier():
    issuer = coded(UniversalEntityID="1.2.40.0.13.1", UniversalEntityIDType="ISO")
    headers = [header(one, IssuerOfPatientIDQualifiersSequence=[issuer]) for one in (FRONTAL, LATERAL)]
    assert the(bundle(POSITIVE, headers), "DiagnosticReport")["subject"]["identifier"]["system"] == "urn:oid:1.2.40.0.13.1"


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_a_name_in_any_character_set_arrives(name):
    report = the(bundle(POSITIVE, [CHARACTER_SETS[name].dataset, header(LATERAL)]), "DiagnosticReport")
    assert report["subject"]["display"] == CHARACTER_SETS[name].reads.split("=")[0].replace("^", " ")


def test_a_report_for_people_escapes_what_it_quotes():
    hostile = Code(value="36118008", scheme="SCT", meaning="<script>alert(1)</script> & co")
    told = the(bundle(replace(POSITIVE, findings=(replace(POSITIVE.findings[0], concept=hostile),))), "DiagnosticReport")
    assert "<script>" not in told["text"]["div"]
    assert "&lt;script&gt;" in told["text"]["div"]


def test_a_flag_is_a_proposal_to_read_early():
    task = the(bundle(POSITIVE), "Task")
    assert (task["status"], task["intent"], task["priority"]) == ("requested", "proposal", "stat")
    assert task["focus"]["reference"] == f"DiagnosticReport/{the(bundle(POSITIVE), 'DiagnosticReport')['id']}"


@pytest.mark.parametrize("kind", ["nothing found", "shadow", "failed", "not attempted"])
def test_without_a_flag_there_is_no_task(kind):
    assert resources(bundle(KINDS[kind]), "Task") == []


def test_a_flag_that_was_held_back_is_no_task():
    lowered = replace(POSITIVE, findings=tuple(replace(one, flag=FlagLevel.NONE) for one in POSITIVE.findings))
    assert resources(bundle(lowered), "Task") == []


# Sent twice, revised, withdrawn


def test_sending_twice_makes_nothing_twice():
    first, second = bundle(POSITIVE), bundle(POSITIVE)
    assert (first.data, first.sop_instance_uid) == (second.data, second.sop_instance_uid)
    assert (first.sop_class_uid, first.media_type) == ("", MediaType.FHIR_JSON)
    requests = [entry["request"] for entry in json.loads(first.data)["entry"]]
    assert {request["method"] for request in requests} == {"PUT"}
    assert len({request["url"] for request in requests}) == len(requests)


def test_a_revision_is_the_same_resources_again():
    ids = [{(one["resourceType"], one["id"]) for one in resources(bundle(of))} for of in (POSITIVE, NOTHING_FOUND)]
    kinds = [sorted({kind for kind, _ in found}) for found in ids]
    common = ids[0] & ids[1]
    assert kinds[1] == ["Device", "DiagnosticReport", "Observation", "Provenance"]
    assert {kind for kind, _ in common} == {"Device", "DiagnosticReport", "Observation", "Provenance"}


def test_what_an_earlier_bundle_said_and_this_one_does_not_is_entered_in_error():
    message = bundle(KINDS["failed"], previous=sent_before(bundle(POSITIVE)))
    told = {one["code"]["text"]: one["status"] for one in resources(message, "Observation")}
    assert (told["Pneumothorax"], told["Summary of Analyses"]) == ("entered-in-error", "preliminary")
    assert the(message, "Task")["status"] == "cancelled"


def test_a_withdrawal_takes_everything_back():
    message = bundle(WITHDRAWN, previous=sent_before(bundle(POSITIVE)))
    report = the(message, "DiagnosticReport")
    assert (report["id"], report["status"]) == (the(bundle(POSITIVE), "DiagnosticReport")["id"], "entered-in-error")
    assert "images of another patient" in report["conclusion"]
    assert "result" not in report
    assert {one["status"] for one in resources(message, "Observation")} == {"entered-in-error"}
    assert len(resources(message, "Observation")) == len(resources(bundle(POSITIVE), "Observation"))
    assert the(message, "Task")["status"] == "entered-in-error"


def test_a_withdrawal_is_sent_even_if_the_earlier_bundle_is_not_kept_any_more():
    message = bundle(WITHDRAWN, previous=sent_before(bundle(POSITIVE), kept=False))
    assert faults(message) == []
    assert the(message, "DiagnosticReport")["status"] == "entered-in-error"

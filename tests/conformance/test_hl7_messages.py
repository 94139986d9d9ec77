"""HL7 v2.5.1 messages read back and validated by hl7apy, a library that has no part in making them."""

from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message, Segment
from hl7apy.exceptions import ValidationError
from hl7apy.parser import parse_message
from pydicom.dataset import Dataset

from config import Code
from inference.findings import Analysis, FlagLevel, Presence, Priority
from reporting import ENCODERS, EncodedResult, MediaType, PreviousReport
from reporting.er7 import text
from reporting.hl7 import ObservationStatus, ResultStatus
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
    analysis,
    coded,
    dirty_headers,
    finding,
    header,
    headers_of,
)

OMI = replace(PRODUCER, order_message="OMI^O23")
# hl7apy takes the choice of one detail segment in ORM^O01 (2.5.1, 4.4.1) as a demand for all of them.
_CHOICE = ("RQD", "RQ1", "RXO", "ODS", "ODT")
DIRTY = dirty_headers()
HOSTILE = "A|B^C&D~E\\F\r\nOBX|9|TX|x"


def result(of: Analysis, headers: list[Dataset] | None = None, previous: PreviousReport | None = None) -> EncodedResult:
    made = ENCODERS["hl7-oru"](of, headers or headers_of(of), producer=PRODUCER, previous=previous)
    assert made is not None
    return made


def order(of: Analysis, *, producer: object = PRODUCER, previous: PreviousReport | None = None) -> EncodedResult | None:
    return ENCODERS["hl7-order"](of, headers_of(of), producer=producer, previous=previous)  # type: ignore[arg-type]  # a Producer


def sent_before(message: EncodedResult) -> PreviousReport:
    return PreviousReport(
        study_instance_uid=STUDY,
        series_instance_uid="",
        sop_class_uid="",
        sop_instance_uid=message.sop_instance_uid,
        instance_number=1,
        data=message.data,
    )


def parsed(message: EncodedResult | None) -> Message:
    assert message is not None
    return _parsed(message.data)


@cache
def _parsed(data: bytes) -> Message:
    return parse_message(data.decode("utf-8"), find_groups=True, validation_level=VALIDATION_LEVEL.TOLERANT)


def faults(message: EncodedResult | None, folder: Path) -> list[str]:
    """What hl7apy's validator has against the message, but its warnings."""
    report = folder / "report"
    with suppress(ValidationError):
        parsed(message).validate(report_file=str(report))
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return [line for line in lines if line.startswith("Error")]


def segments(message: EncodedResult | None, name: str) -> list[Segment]:
    def walk(part: Message | Group) -> list[Segment]:
        found = []
        for child in part.children:
            found += walk(child) if isinstance(child, Group) else [child]
        return found

    return [segment for segment in walk(parsed(message)) if segment.name == name]


def observations(message: EncodedResult | None) -> list[tuple[str, str, str, str]]:
    """OBX-3.1, OBX-4, OBX-5 and OBX-11 of each observation."""
    return [(one.obx_3.obx_3_1.value, one.obx_4.value, one.obx_5.value, one.obx_11.value) for one in segments(message, "OBX")]


# Valid, and never final


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_a_valid_oru(tmp_path, kind):
    assert faults(result(KINDS[kind]), tmp_path) == []


@pytest.mark.parametrize("kind", ["positive", "partial", "multi-frame", "localised"])
def test_every_order_update_is_a_valid_omi(tmp_path, kind):
    assert faults(order(KINDS[kind], producer=OMI), tmp_path) == []


def test_an_order_update_is_a_valid_orm_but_for_what_the_validator_misreads(tmp_path):
    assert [line for line in faults(order(POSITIVE), tmp_path) if not line.endswith(_CHOICE)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_result_is_ever_final(kind):
    message = result(KINDS[kind], previous=sent_before(result(POSITIVE)))
    assert {one.obr_25.value for one in segments(message, "OBR")} == {"P"}
    assert {status for *_, status in observations(message)} <= {"P", "W"}


def test_there_is_no_way_to_say_final_or_corrected():
    assert {status.value for status in ResultStatus} == {"P"}
    assert {status.value for status in ObservationStatus} == {"P", "W"}  # C replaces a final result, U makes one (table 0085)


FAULTS = {
    "no observation identifier": (b"|111065^Summary of Analyses^DCM|", b"||"),
    "a patient without identifier": (b"|CANARY-ID^^^TESTHOSP^PI|", b"||"),
    "a segment that belongs elsewhere": (b"\rORC|", b"\rIPC|1|2|3|4\rORC|"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_message_with_one_fault_is_rejected(tmp_path, name):
    right, wrong = FAULTS[name]
    message = result(POSITIVE)
    assert right in message.data
    assert faults(replace(message, data=message.data.replace(right, wrong, 1)), tmp_path) != []


# What it says


def test_each_finding_is_a_group_of_observations_under_its_own_sub_id():
    told = observations(result(POSITIVE))
    assert [(code, value) for code, sub_id, value, _ in told if sub_id == "1" and code in {"36118008", "111012", "122411", "121112"}] == [
        ("36118008", "52101004^Present^SCT"),
        ("111012", "87.3"),
        ("122411", "42"),
        ("121112", f"{FRONTAL.sop_instance_uid} frame 1"),
    ]
    assert ("60046008", "2", "373068000^Undetermined^SCT", "P") in told


def test_a_score_without_calibration_is_no_certainty():
    told = {code for code, *_ in observations(result(SHADOW))}
    assert "246262008" in told
    assert not {"111012", "122411"} & told


def test_only_a_raised_flag_makes_a_value_abnormal_and_none_is_ever_called_normal():
    abnormal = [one.obx_8.value for one in segments(result(POSITIVE), "OBX")]
    assert [value for value in abnormal if value] == ["AA"]
    assert [one.obx_8.value for one in segments(result(NOTHING_FOUND), "OBX") if one.obx_8.value] == []


def test_the_patient_is_identified_as_in_the_images():
    issuer = coded(UniversalEntityID="1.2.40.0.13.1", UniversalEntityIDType="ISO", IdentifierTypeCode="MR")
    (patient,) = segments(
        result(POSITIVE, [header(one, IssuerOfPatientIDQualifiersSequence=[issuer]) for one in (FRONTAL, LATERAL)]), "PID"
    )
    assert patient.pid_3.value == "CANARY-ID^^^TESTHOSP&1.2.40.0.13.1&ISO^MR"
    assert (patient.pid_5.value, patient.pid_7.value, patient.pid_8.value) == ("CANARY^PHI^^^^^L^A", "19600101", "F")


def test_prefix_and_suffix_of_a_name_stand_where_hl7_has_them():
    (patient,) = segments(result(POSITIVE, [header(one, PatientName="Doe^Jane^Q^Dr.^III") for one in (FRONTAL, LATERAL)]), "PID")
    name = patient.pid_5
    assert [name.xpn_1.value, name.xpn_2.value, name.xpn_3.value, name.xpn_4.value, name.xpn_5.value] == ["Doe", "Jane", "Q", "III", "Dr."]


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_a_name_in_any_character_set_arrives_in_utf_8(name):
    headers = [CHARACTER_SETS[name].dataset, header(LATERAL)]
    message = result(POSITIVE, headers)
    assert segments(message, "MSH")[0].msh_18.value == "UNICODE UTF-8"
    (patient,) = segments(message, "PID")
    groups = [repetition.value.split("^")[:2] for repetition in patient.children.get("pid_5")]
    assert groups == [(group + "^").split("^")[:2] for group in CHARACTER_SETS[name].reads.split("=")]


def test_the_numbers_of_the_order_are_those_of_the_request():
    request = coded(RequestedProcedureID="RP1", AccessionNumber="ACC9")
    request.RequestedProcedureCodeSequence = [coded(Code(value="399208008", scheme="SCT", meaning="Plain chest X-ray"))]
    request.PlacerOrderNumberImagingServiceRequest, request.FillerOrderNumberImagingServiceRequest = "PO1", "FO1"
    (found,) = segments(result(POSITIVE, [header(one, RequestAttributesSequence=[request]) for one in (FRONTAL, LATERAL)]), "OBR")
    assert (found.obr_2.value, found.obr_3.value, found.obr_18.value) == ("PO1", "FO1", "CANARY-ACC")
    assert found.obr_4.value == "399208008^Plain chest X-ray^SCT"


def test_times_are_those_of_the_analysis_in_the_zone_of_the_images():
    (head,) = segments(result(POSITIVE, [header(one, TimezoneOffsetFromUTC="+0530") for one in (FRONTAL, LATERAL)]), "MSH")
    assert head.msh_7.value == "20260105155000+0530"


# Hostile and odd values


def test_no_value_can_end_its_field_or_its_segment():
    headers = [header(one, PatientID=HOSTILE, StudyDescription=HOSTILE, AccessionNumber="A|B") for one in (FRONTAL, LATERAL)]
    message = result(POSITIVE, headers)
    assert len(segments(message, "OBX")) == len(segments(result(POSITIVE), "OBX"))
    (patient,) = segments(message, "PID")
    assert patient.pid_8.value == "F"
    assert message.data.count(b"\r") == message.data.count(b"\rOBX|") + len(("MSH", "PID", "ORC", "OBR", "TQ1"))
    assert not set(message.data) & (set(range(0x20)) - {0x0D})  # and nothing that MLLP frames with


def test_delimiters_and_control_characters_are_escaped_as_the_standard_says():
    assert text("a|b^c&d~e\\f") == "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f"
    assert text("a\r\x0b\x1c\x85") == "a\\X0D\\\\X0B\\\\X1C\\\\XC285\\"
    assert text("\ud800") == "?"


@pytest.mark.parametrize("name", DIRTY)
def test_a_dirty_source_header_gives_a_message_that_can_be_read(name):
    message = result(KINDS["failed"], [DIRTY[name].dataset])
    assert len(segments(message, "OBX")) == len(segments(result(KINDS["failed"]), "OBX"))
    assert len(segments(message, "PID")) == 1


def test_an_identity_is_never_cut():
    (patient,) = segments(result(POSITIVE, [header(one, PatientID="I" * 70) for one in (FRONTAL, LATERAL)]), "PID")
    assert patient.pid_3.pid_3_1.value == "I" * 70


# The same message is the same message


def test_the_control_id_follows_from_the_content_and_fits():
    first, second, other = result(POSITIVE), result(POSITIVE), result(NOTHING_FOUND)
    assert (first.data, first.sop_instance_uid) == (second.data, second.sop_instance_uid)
    assert first.sop_instance_uid != other.sop_instance_uid
    assert segments(first, "MSH")[0].msh_10.value == first.sop_instance_uid
    assert len(first.sop_instance_uid) <= 20
    assert (first.sop_class_uid, first.media_type) == ("", MediaType.HL7_V2)


def test_two_studies_never_share_a_control_id():
    ids = set()
    for uid in ("1.2.3", "1.2.4"):
        headers = [header(one, StudyInstanceUID=uid) for one in (FRONTAL, LATERAL)]
        ids.add(result(replace(POSITIVE, study_instance_uid=uid), headers).sop_instance_uid)
    assert len(ids) == 2


# Revisions, withdrawals


def test_a_revision_names_what_it_replaces_and_posts_as_wrong_what_does_not_stand_any_more():
    before = result(POSITIVE)
    told = observations(result(NOTHING_FOUND, previous=sent_before(before)))
    assert any(before.sop_instance_uid in value for code, _, value, status in told if code == "121106" and status == "P")
    assert ("36118008", "1", "272519000^Absent^SCT", "P") in told  # replaces "Present" of the same code and sub-ID
    assert ("111101", "", "RID12^Diagnostic quality^RADLEX", "P") in told
    assert [value for code, _, value, status in told if status == "W" and code == "111052"] == [
        "111211^Under exposed^DCM",
        "111209^Positioning^DCM",
    ]


def test_a_withdrawal_posts_as_wrong_all_that_was_said():
    before = result(POSITIVE)
    told = observations(result(WITHDRAWN, previous=sent_before(before)))
    assert {status for *_, status in told} == {"W"}
    assert ("36118008", "1", "52101004^Present^SCT", "W") in told
    assert any("images of another patient" in value for _, _, value, _ in told)


def test_a_withdrawal_is_sent_even_if_the_earlier_message_is_not_kept_any_more(tmp_path):
    forgotten = replace(sent_before(result(POSITIVE)), data=b"")
    message = result(WITHDRAWN, previous=forgotten)
    assert faults(message, tmp_path) == []
    assert any("WITHDRAWN" in value for _, _, value, _ in observations(message))


# Orders


def test_an_order_is_changed_for_a_raised_flag_only():
    for of in (NOTHING_FOUND, SHADOW, KINDS["failed"], KINDS["not attempted"]):
        assert order(of) is None
    lowered = replace(POSITIVE, findings=tuple(replace(one, flag=FlagLevel.NONE) for one in POSITIVE.findings))
    assert order(lowered) is None


@pytest.mark.parametrize(("level", "word"), [(FlagLevel.EMERGENCY, "S"), (FlagLevel.URGENT, "A")])
def test_the_priority_says_how_far_the_flag_raises(level, word):
    of = analysis(findings=(finding(presence=Presence.PRESENT, score=0.9, flag=level),))
    (control,) = segments(order(of), "ORC")
    assert (control.orc_1.value, control.orc_7.value) == ("XO", f"^^^^^{word}")
    assert segments(order(of), "OBR")[0].obr_27.value == f"^^^^^{word}"
    assert segments(order(of, producer=OMI), "TQ1")[0].tq1_9.value == word
    assert segments(result(of), "TQ1")[0].tq1_9.value == word


def test_the_priority_is_called_as_the_site_calls_it():
    critical = Priority(hl7="CRITFIND", ups="HIGH", sr=Code(value="25876001", scheme="SCT", meaning="Emergency"))
    assert segments(order(replace(POSITIVE, priority=critical)), "ORC")[0].orc_7.value == "^^^^^CRITFIND"


def test_a_flag_that_does_not_stand_any_more_leaves_the_priority_as_it_is():
    before = order(POSITIVE)
    assert before is not None
    for of, words in ((NOTHING_FOUND, "analysed again"), (WITHDRAWN, "images of another patient")):
        for producer in (PRODUCER, OMI):
            message = order(of, producer=producer, previous=sent_before(before))
            assert segments(message, "ORC")[0].orc_7.value == ""
            assert segments(message, "OBR")[0].obr_27.value == ""
            assert segments(message, "TQ1") == []
            assert words in segments(message, "NTE")[0].nte_3.value


def test_an_order_update_of_omi_names_the_study():
    (images,) = segments(order(POSITIVE, producer=OMI), "IPC")
    assert (images.ipc_1.value, images.ipc_3.value) == ("CANARY-ACC", STUDY)


def test_a_result_without_a_flag_says_nothing_about_priority():
    assert segments(result(NOTHING_FOUND), "TQ1") == []
    assert segments(result(NOTHING_FOUND), "OBR")[0].obr_27.value == ""

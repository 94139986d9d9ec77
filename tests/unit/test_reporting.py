"""The findings report: what it says, what it never says, and that the same result is the same document."""

import hashlib
import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from config.destinations import ResultKind
from inference.findings import Abstention, AbstentionReason, FlagLevel, ImageKind, Outcome, Presence
from reporting import ENCODERS, EncodedResult, MediaType, PreviousReport, Producer, encode_structured_report
from reporting.uids import IMPLEMENTATION_CLASS_UID
from tests.conformance.sr_documents import (
    FAILED,
    FAULTS,
    FRONTAL,
    KINDS,
    LATERAL,
    LOCALISED,
    MULTI_FRAME_POSITIVE,
    NOT_ATTEMPTED,
    NOTHING_FOUND,
    PARTIAL,
    POSITIVE,
    PREVIOUS,
    PRODUCER,
    QUALITY_ONLY,
    SHADOW,
    STUDY,
    WITHDRAWN,
    analysis,
    encode,
    finding,
    header,
    headers_of,
)
from tests.conformance.sr_readback import concept, groups, walk

LATER = datetime(2026, 2, 1, 8, 0, tzinfo=timezone(timedelta(hours=1)))


def _read(result: EncodedResult) -> Dataset:
    return dcmread(io.BytesIO(result.data))


def _values(document: Dataset, code: str) -> list[str]:
    """Return the values of all CODE and TEXT items with this concept."""
    items = [item for item in walk(document) if concept(item) == code]
    return [item.ConceptCodeSequence[0].CodeMeaning if item.ValueType == "CODE" else item.get("TextValue", "") for item in items]


def _concepts(document: Dataset) -> set[str]:
    return {concept(item) for item in walk(document)}


def _images(group: Dataset) -> list[str]:
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in group.ContentSequence if item.ValueType == "IMAGE"]


def _tracking(document: Dataset) -> list[str]:
    return [item.UID for item in walk(document) if concept(item) == "112040"]


def _previous(result: EncodedResult) -> PreviousReport:
    document = _read(result)
    return PreviousReport(
        study_instance_uid=STUDY,
        series_instance_uid=document.SeriesInstanceUID,
        sop_class_uid=result.sop_class_uid,
        sop_instance_uid=result.sop_instance_uid,
        instance_number=int(document.InstanceNumber),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_result_encoded_twice_is_the_same_file(kind: str) -> None:
    assert encode(KINDS[kind]) == encode(KINDS[kind])


def test_a_result_computed_again_at_another_time_keeps_its_uids() -> None:
    first, second = encode(POSITIVE), encode(replace(POSITIVE, analysed_at=LATER))

    assert first.sop_instance_uid == second.sop_instance_uid
    assert _read(first).SeriesInstanceUID == _read(second).SeriesInstanceUID


def test_another_score_another_identity_or_another_software_version_never_reuses_a_uid() -> None:
    changed = [encode(analysis(findings=(finding(presence=Presence.PRESENT, score=score),))).sop_instance_uid for score in (0.873, 0.872)]
    changed += [
        encode_structured_report(POSITIVE, [header(PatientID=name), header(LATERAL)], producer=PRODUCER, previous=None).sop_instance_uid
        for name in ("CANARY-ID", "CANARY-ID-2")
    ]
    newer = replace(PRODUCER, software_version="0.2.0")
    changed.append(encode_structured_report(POSITIVE, headers_of(POSITIVE), producer=newer, previous=None).sop_instance_uid)

    assert len(set(changed)) == len(changed)


def test_every_time_in_a_report_is_the_time_of_the_analysis() -> None:
    document = _read(encode(replace(POSITIVE, analysed_at=LATER)))

    times = {element.value for element in document.iterall() if element.VR in {"TM", "DT"} and element.keyword != "StudyTime"}
    dates = {element.value for element in document.iterall() if element.VR == "DA" and element.keyword.startswith(("Content", "Instance"))}
    assert (times, dates, document.TimezoneOffsetFromUTC) == ({"080000", "20260201080000+0100"}, {"20260201"}, "+0100")


def test_times_are_told_in_the_time_zone_of_the_study_where_it_names_one() -> None:
    made = encode_structured_report(SHADOW, [header(TimezoneOffsetFromUTC="-0530")], producer=PRODUCER, previous=None)

    document = _read(made)
    assert (document.ContentDate, document.ContentTime, document.TimezoneOffsetFromUTC) == ("20260105", "045000", "-0530")


def test_a_new_revision_follows_its_predecessor_in_the_same_series() -> None:
    first = encode(NOTHING_FOUND)
    second = encode(replace(POSITIVE, revision=2), _previous(first))

    before, after = _read(first), _read(second)
    predecessor = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.sop_instance_uid
    assert (after.SeriesInstanceUID, after.InstanceNumber) == (before.SeriesInstanceUID, 2)
    assert after.SOPInstanceUID != before.SOPInstanceUID


def test_a_finding_keeps_its_tracking_uid_when_images_arrive_late() -> None:
    first = _read(encode(NOTHING_FOUND))
    later = _read(encode(replace(NOTHING_FOUND, revision=2, inputs=(LATERAL, FRONTAL))))

    assert _tracking(first) == _tracking(later)


def test_the_file_carries_our_own_implementation_class() -> None:
    meta = _read(encode(POSITIVE)).file_meta

    assert (meta.ImplementationClassUID, meta.ImplementationVersionName) == (IMPLEMENTATION_CLASS_UID, "DICOM-NODE_0.1")


@pytest.mark.parametrize("kind", KINDS)
def test_no_report_is_ever_verified(kind: str) -> None:
    document = _read(encode(KINDS[kind]))

    assert (document.VerificationFlag, document.PreliminaryFlag, document.ContentQualification) == (
        "UNVERIFIED",
        "PRELIMINARY",
        "RESEARCH",
    )
    assert document.SeriesDescription == "AI TRIAGE - UNVERIFIED - RESEARCH"
    assert "VerifyingObserverSequence" not in document


@pytest.mark.parametrize(
    ("made", "flag", "description", "summary", "analyses"),
    [
        (POSITIVE, "COMPLETE", None, "All algorithms succeeded; with findings", "Succeeded"),
        (NOTHING_FOUND, "COMPLETE", None, "All algorithms succeeded; without findings", "Succeeded"),
        (SHADOW, "COMPLETE", None, "Not all algorithms succeeded; without findings", "Succeeded"),
        (QUALITY_ONLY, "COMPLETE", None, "Not all algorithms succeeded; without findings", "Succeeded"),
        (PARTIAL, "PARTIAL", "Not all analysed: gate disagrees", "Not all algorithms succeeded; with findings", "Partially Succeeded"),
        (FAILED, "PARTIAL", "Failed: model failed", "No algorithms succeeded; without findings", "Failed"),
        (NOT_ATTEMPTED, "PARTIAL", "Not attempted: no route", "No algorithms succeeded; without findings", "Not Attempted"),
    ],
    ids=["positive", "nothing found", "shadow", "quality only", "partial", "failed", "not attempted"],
)
def test_only_a_whole_and_calibrated_analysis_reads_as_negative(
    made: object, flag: str, description: str | None, summary: str, analyses: str
) -> None:
    document = _read(encode(made))  # type: ignore[arg-type]  # parametrised

    assert (document.CompletionFlag, document.get("CompletionFlagDescription")) == (flag, description)
    assert (_values(document, "111017"), _values(document, "111065")) == ([summary], [analyses])


def test_a_failure_says_why() -> None:
    assert "Not analysed (model failed): out of memory after 5 attempts" in _values(_read(encode(FAILED)), "121106")


def test_a_model_in_shadow_reports_a_score_and_neither_certainty_nor_threshold_nor_priority() -> None:
    document = _read(encode(SHADOW))

    numbers = [item.MeasuredValueSequence[0] for item in walk(document) if concept(item) == "246262008"]
    assert [(str(number.NumericValue), number.MeasurementUnitsCodeSequence[0].CodeValue) for number in numbers] == [
        ("0.6124", "1"),
        ("0.2", "1"),
    ]
    assert {"111012", "122411", "260870009"} & _concepts(document) == set()
    assert "shadow: not calibrated for this site; nothing is flagged" in _values(document, "121106")
    assert "calibration=none (shadow)" in _values(document, "111002")


def test_a_calibrated_finding_has_its_certainty_and_threshold_in_percent() -> None:
    group = groups(_read(encode(POSITIVE)))[1]

    numbers = {concept(item): item.MeasuredValueSequence[0] for item in group.ContentSequence if item.ValueType == "NUM"}
    assert {code: (float(number.NumericValue), number.MeasurementUnitsCodeSequence[0].CodeValue) for code, number in numbers.items()} == {
        "111012": (87.3, "%"),
        "122411": (42.0, "%"),
    }


def test_only_a_present_finding_is_asserted() -> None:
    made = analysis(findings=tuple(finding(presence=presence, score=0.4, label=presence.value) for presence in Presence))

    asserted = {
        _values(group, "112039")[0].split("-")[1]: "121071" in {concept(item) for item in group.ContentSequence}
        for group in groups(_read(encode(made)))[1:]
    }
    assert asserted == {"present": True, "absent": False, "undetermined": False}


@pytest.mark.parametrize(
    ("flag", "expected"), [(FlagLevel.EMERGENCY, ["Emergency"]), (FlagLevel.URGENT, ["Urgent Procedure"]), (FlagLevel.NONE, [])]
)
def test_a_priority_is_only_ever_raised(flag: FlagLevel, expected: list[str]) -> None:
    made = analysis(findings=(finding(presence=Presence.PRESENT, score=0.9, flag=flag),))

    assert _values(_read(encode(made)), "260870009") == expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_named_in_the_tree_is_contributing_equipment_with_the_same_values(kind: str) -> None:
    document = _read(encode(KINDS[kind]))

    equipment = {(item.ManufacturerModelName, item.SoftwareVersions) for item in document.ContributingEquipmentSequence}
    named = {(_values(group, "111001")[0], _values(group, "111003")[0]) for group in groups(document)}
    observer = [_values(document, code)[0] for code in ("121014", "121015")]
    uid = next(item.UID for item in walk(document) if concept(item) == "121012")
    assert named <= equipment
    assert [*observer, uid] in [
        [item.Manufacturer, item.ManufacturerModelName, item.DeviceUID] for item in document.ContributingEquipmentSequence
    ]
    assert len({item.DeviceUID for item in document.ContributingEquipmentSequence}) == len(document.ContributingEquipmentSequence)


def test_other_weights_are_another_device() -> None:
    other = replace(POSITIVE, provenance=replace(POSITIVE.provenance, weights_digest="9" * 64))

    devices = [{item.DeviceUID for item in _read(encode(made)).ContributingEquipmentSequence} for made in (POSITIVE, other)]
    assert len(devices[0] ^ devices[1]) == 2


def test_without_a_model_the_node_is_the_algorithm() -> None:
    document = _read(encode(QUALITY_ONLY))

    assert set(_values(document, "111001")) == {"dicom-node quality checks"}


def test_a_fault_that_the_model_sees_stands_in_a_group_of_the_model_beside_that_of_the_pixel_checks() -> None:
    document = _read(encode(FAULTS))

    judged = [group for group in groups(document) if _values(group, "111050") and _images(group) == [FRONTAL.sop_instance_uid]]
    assert [(_values(group, "111001")[0], _values(group, "111050"), _values(group, "111052")) for group in judged] == [
        ("dicom-node quality checks", ["Limited quality"], ["Under exposed"]),
        ("zero-shot-cxr", ["Limited quality"], ["Positioning"]),
    ]


def test_the_words_of_a_report_tell_a_fault_that_was_measured_from_one_that_the_model_sees() -> None:
    document = _read(encode(FAULTS))

    (summary,), comments = _values(document, "121111"), _values(document, "121106")
    seen = "Positioning, Poor SNR, Anatomy coverage incomplete, Other failure"
    assert summary.endswith(f"Image quality: non-diagnostic (Under exposed; as the model sees it: {seen}).")
    assert "Image quality: The median of the lung field is low. Limit from: 100 radiographs" in comments
    assert (
        "Image quality, asked of zero-shot-cxr (prompt:rotated-90, score 0.9812, limit 0.93): The image looks rotated-90."
        " Limit from: 1 % of 900 clean radiographs"
    ) in comments
    assert "Image quality, asked of the model and not seen: under-exposed" in comments


def test_a_report_tells_what_the_model_takes_the_images_for_and_whether_that_was_compared() -> None:
    compared = _values(_read(encode(FAULTS)), "121106")
    assert "The model takes 2 images for CHEST RADIOGRAPH (p from 0.72), as this route expects" in compared

    only_told = ImageKind(kind="a scanned document", probability=0.9, expected=False, images=(FRONTAL,))
    told = _values(_read(encode(analysis(kinds=(only_told,)))), "121106")
    words = "The model takes 1 image for a scanned document (p = 0.90), compared with nothing: this route expects no kind of image"
    assert words in told


def test_a_route_that_asks_for_no_findings_does_not_speak_of_scores() -> None:
    none_asked = Abstention(reason=AbstentionReason.NO_MODEL, detail="this route asks for no findings")
    made = replace(SHADOW, outcome=Outcome.PARTIAL, findings=(), abstentions=(none_asked,))

    (summary,) = _values(_read(encode(made)), "121111")
    assert "SHADOW" not in summary
    assert "No finding was looked for." in summary


def test_frame_numbers_are_given_for_multi_frame_images_only() -> None:
    frames = {
        kind: {
            item.ReferencedSOPSequence[0].get("ReferencedFrameNumber") for item in walk(_read(encode(made))) if item.ValueType == "IMAGE"
        }
        for kind, made in (("single", POSITIVE), ("multi", MULTI_FRAME_POSITIVE))
    }
    assert frames == {"single": {None}, "multi": {None, 7, 8}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_is_exactly_the_inputs(kind: str) -> None:
    study = _read(encode(KINDS[kind])).CurrentRequestedProcedureEvidenceSequence[0]

    listed = [item.ReferencedSOPInstanceUID for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    assert (study.StudyInstanceUID, listed) == (STUDY, [image.sop_instance_uid for image in KINDS[kind].inputs])


def test_a_report_document_as_input_is_evidence_but_no_image() -> None:
    document = _read(encode(NOT_ATTEMPTED))

    assert [item for item in walk(document) if item.ValueType == "IMAGE"] == []


def test_an_analysis_without_any_input_is_still_reported() -> None:
    document = _read(encode(replace(NOT_ATTEMPTED, inputs=())))

    assert (document.StudyInstanceUID, _values(document, "111065")) == (STUDY, ["Not Attempted"])


def test_a_report_is_never_made_in_the_wrong_study() -> None:
    with pytest.raises(ValueError, match="is not of study"):
        encode_structured_report(FAILED, [header(StudyInstanceUID="1.2.3")], producer=PRODUCER, previous=None)


def test_a_finding_on_an_image_that_is_no_input_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the inputs"):
        encode(analysis(findings=(finding(presence=Presence.ABSENT, score=0.1, image=LATERAL),)))


def test_an_input_without_header_is_refused() -> None:
    with pytest.raises(ValueError, match="no header was given"):
        encode_structured_report(FAILED, [], producer=PRODUCER, previous=None)


@pytest.mark.parametrize("change", [{"manufacturer": ""}, {"ae_title": "A" * 17}, {"model_name": "a\\b"}, {"institution": "a\nb"}])
def test_a_producer_that_cannot_be_written_is_refused_at_once(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PRODUCER, **change)


def test_an_institution_may_be_left_out() -> None:
    made = encode_structured_report(FAILED, [header()], producer=replace(PRODUCER, institution=""), previous=None)

    assert "InstitutionName" not in _read(made)


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_registered_encoder_makes_a_result_of_its_kind_with_its_identifier_and_digest(kind: str) -> None:
    headers = [header(image, PhotometricInterpretation="MONOCHROME2") for image in LOCALISED.inputs]
    result = ENCODERS[kind](LOCALISED, headers, producer=PRODUCER, previous=None, companions=(encode(LOCALISED),))

    assert result is not None
    assert (result.kind, result.digest) == (kind, hashlib.sha256(result.data).hexdigest())
    assert 0 < len(result.sop_instance_uid) <= 64
    assert (result.sop_class_uid != "") == (result.media_type is MediaType.DICOM)
    if result.sop_class_uid:
        document = _read(result)
        assert (result.sop_class_uid, result.sop_instance_uid) == (document.SOPClassUID, document.SOPInstanceUID)
        assert document.file_meta.MediaStorageSOPInstanceUID == document.SOPInstanceUID


def test_a_destination_can_ask_for_every_kind_of_result_and_for_no_other() -> None:
    assert set(get_args(ResultKind)) == set(ENCODERS)


def test_a_withdrawal_holds_no_answer_and_says_why() -> None:
    document = _read(encode(WITHDRAWN, PREVIOUS))

    assert (document.CompletionFlag, document.CompletionFlagDescription) == ("PARTIAL", "Withdrawn")
    assert (_values(document, "111017"), _values(document, "RESULT-STATUS")) == (
        ["No algorithms succeeded; without findings"],
        ["Withdrawn"],
    )
    (summary,) = _values(document, "121111")
    assert summary.startswith("WITHDRAWN:")
    assert summary.endswith("Reason: images of another patient")
    assert len(groups(document)) == 1


def test_a_withdrawal_with_an_answer_or_without_a_reason_is_impossible() -> None:
    for change in ({"withdrawn": " "}, {"findings": POSITIVE.findings}, {"outcome": Outcome.SUCCEEDED}):
        with pytest.raises(ValueError, match="a withdrawal has a reason, and no answers"):
            replace(WITHDRAWN, **change)


def test_viewers_are_told_to_show_what_each_item_is_about() -> None:
    document = _read(encode(POSITIVE))

    containers = [document, *(item for item in walk(document) if item.ValueType == "CONTAINER")]
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}


def test_a_producer_is_a_value() -> None:
    assert isinstance(PRODUCER, Producer)
    assert encode(POSITIVE).digest != encode(replace(POSITIVE, outcome=Outcome.PARTIAL)).digest

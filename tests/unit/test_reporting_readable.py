"""The report as a person reads it."""

import io
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from inference.findings import Abstention, AbstentionReason, Presence
from reporting import readable_html, readable_text
from tests.conformance.sr_documents import (
    FAILED,
    FAULTS,
    FRONTAL,
    KINDS,
    LATERAL,
    NOT_ATTEMPTED,
    PARTIAL,
    POSITIVE,
    SHADOW,
    analysis,
    encode,
    finding,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_says_first_that_nobody_verified_it(kind: str) -> None:
    data = encode(KINDS[kind]).data

    assert "UNVERIFIED" in readable_html(data).partition('<div class="sr-body">')[0]
    assert readable_text(data).splitlines()[1].startswith("UNVERIFIED")


@pytest.mark.parametrize("kind", KINDS)
def test_a_readable_report_does_not_name_the_patient(kind: str) -> None:
    data = encode(KINDS[kind]).data

    assert "CANARY" not in readable_html(data) + readable_text(data)


def test_a_positive_report_leads_with_what_was_found_and_how_sure() -> None:
    text = readable_text(encode(POSITIVE).data)

    assert "EMERGENCY REVIEW suggested. Pneumothorax: present (87.3 %, threshold 42 %)." in text
    assert "Priority: Emergency" in text
    assert "Present       Pneumothorax: 87.3 % (threshold 42 %)" in text


def test_findings_are_listed_present_first() -> None:
    made = analysis(
        findings=(
            finding("effusion", presence=Presence.ABSENT, score=0.9),
            finding(presence=Presence.PRESENT, score=0.5),
        )
    )

    text = readable_text(encode(made).data)

    assert text.index("Present       Pneumothorax") < text.index("Absent        Pleural effusion")


def test_a_shadow_report_shows_scores_as_no_probability() -> None:
    page = readable_html(encode(SHADOW).data)

    assert "not a probability" in page
    assert "none: not calibrated" in page


@pytest.mark.parametrize(
    ("made", "reason"), [(PARTIAL, "pixels look like HAND"), (FAILED, "out of memory"), (NOT_ATTEMPTED, "no route takes")]
)
def test_what_was_not_analysed_is_shown_with_its_reason(made: object, reason: str) -> None:
    page = readable_html(encode(made).data)  # type: ignore[arg-type]  # parametrised

    warning = page.partition('class="sr-warning">')[2].partition("</p>")[0]
    assert "Not analysed" in warning
    assert reason in warning


def test_a_reader_sees_whether_a_fault_was_measured_or_seen_by_the_model() -> None:
    text, page = readable_text(encode(FAULTS).data), readable_html(encode(FAULTS).data)

    frontal = [line for line in text.splitlines() if line.startswith("Limited quality") and FRONTAL.sop_instance_uid in line]
    assert [line.rpartition("seen by ")[2] for line in frontal] == ["dicom-node quality checks", "zero-shot-cxr"]
    assert "<td>Positioning</td><td>zero-shot-cxr</td>" in page


def test_text_from_a_file_is_never_markup() -> None:
    attack = Abstention(reason=AbstentionReason.UNREADABLE, detail="<script>alert(1)</script>", images=(LATERAL,))

    page = readable_html(encode(replace(FAILED, abstentions=(attack,))).data)

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_long_table_is_folded() -> None:
    made = analysis(findings=tuple(finding(f"label-{number}", presence=Presence.ABSENT, score=0.1) for number in range(15)))

    assert "3 more" in readable_html(encode(made).data)


def test_a_report_of_another_maker_is_shown_as_its_tree() -> None:
    document = dcmread(io.BytesIO(encode(POSITIVE).data))
    document.ContentSequence = [item for item in document.ContentSequence if item.ValueType == "TEXT"]
    buffer = io.BytesIO()
    document.save_as(buffer)

    assert "Device Observer Name: DICOM-NODE" in readable_text(buffer.getvalue())
    assert "Device Observer Name" in readable_html(buffer.getvalue())


def test_a_file_that_is_no_dicom_is_refused() -> None:
    with pytest.raises(InvalidDicomError):
        readable_html(b"no DICOM at all")

"""The worklist and the page of a demo run: order, reasons, and nothing that a hostile text could break."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from config import Code
from dicom_node.demo.page import thumbnail_png, write_page
from dicom_node.demo.studies import DEMO_STUDIES
from dicom_node.demo.worklist import (
    DISCLAIMER,
    DemoRow,
    ShownReport,
    Standing,
    StoreStatus,
    notes,
    print_worklist,
    quality_in_words,
    ranked,
    worklist_json,
)
from inference.findings import (
    Abstention,
    AbstentionReason,
    Analysis,
    Finding,
    FlagLevel,
    ImageKind,
    ImageRef,
    Outcome,
    Presence,
    Provenance,
    QualityGrade,
    QualityVerdict,
)

IMAGE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.1", sop_instance_uid="2.25.7")
HOSTILE = "<script>alert(1)</script>\"'&[red]"


def provenance(calibration: str | None = None) -> Provenance:
    return Provenance(
        model="some-model",
        version="1",
        manufacturer="dicom-node",
        weights_digest="0" * 64,
        prompt_set="chest",
        prompt_set_digest="1" * 64,
        calibration_id=calibration,
        intended_use="Demonstration.",
    )


def finding(
    score: float, *, label: str = "effusion", flag: FlagLevel = FlagLevel.NONE, presence: Presence = Presence.UNDETERMINED
) -> Finding:
    calibrated = flag is not FlagLevel.NONE or presence is not Presence.UNDETERMINED
    return Finding(
        label=label,
        concept=Code(value="60046008", scheme="SCT", meaning=label.capitalize()),
        site=None,
        presence=presence,
        score=score,
        calibrated=calibrated,
        threshold=0.5 if calibrated else None,
        threshold_source="made up",
        flag=flag,
        image=IMAGE,
    )


def verdict(grade: QualityGrade, check: str = "prompt:rotated-90") -> QualityVerdict:
    return QualityVerdict(
        check=check,
        image=IMAGE,
        measured=0.9,
        unit="1",
        threshold=0.5,
        threshold_source="made up",
        grade=grade,
        code=Code(value="111208", scheme="DCM", meaning="Grid artifact"),
        sentence=f"{check}: {grade.name.lower()}",
    )


def analysis(
    *,
    findings: tuple[Finding, ...] = (),
    quality: tuple[QualityVerdict, ...] = (),
    abstentions: tuple[Abstention, ...] = (),
    calibration: str | None = None,
    outcome: Outcome = Outcome.SUCCEEDED,
) -> Analysis:
    return Analysis(
        study_instance_uid="2.25.1",
        revision=1,
        route="chest",
        outcome=outcome,
        analysed_at=datetime(2026, 1, 5, tzinfo=UTC),
        inputs=(IMAGE,),
        findings=findings,
        quality=quality,
        abstentions=abstentions,
        provenance=provenance(calibration) if findings else None,
    )


def row(title: str, *analyses: Analysis, statuses: tuple[StoreStatus, ...] = (StoreStatus(status="0x0000", count=1),)) -> DemoRow:
    return DemoRow(
        title=title,
        shows="What it shows.",
        study_instance_uid="2.25.1",
        modality="DX",
        instances=1,
        analyses=analyses,
        seconds_to_report=1.5 if analyses else None,
        thumbnail=thumbnail_png(np.full((64, 32), 0.5, np.float32)),
        reports=(ShownReport(file_name="report.dcm", html="<p>Report of <b>one</b> study</p>"),) if analyses else (),
        statuses=statuses,
    )


def abstained(reason: AbstentionReason, detail: str = "because") -> Abstention:
    return Abstention(reason=reason, detail=detail)


IN_READING_ORDER = (
    (
        Standing.EMERGENCY,
        row("a", analysis(findings=(finding(0.6, flag=FlagLevel.EMERGENCY, presence=Presence.PRESENT),), calibration="c")),
    ),
    (Standing.URGENT, row("b", analysis(findings=(finding(0.9, flag=FlagLevel.URGENT, presence=Presence.PRESENT),), calibration="c"))),
    (Standing.NON_DIAGNOSTIC, row("c", analysis(findings=(finding(0.9),), quality=(verdict(QualityGrade.NON_DIAGNOSTIC),)))),
    (Standing.DISAGREES, row("d", analysis(abstentions=(abstained(AbstentionReason.GATE_DISAGREES),)))),
    (Standing.COULD_NOT, row("e", analysis(abstentions=(abstained(AbstentionReason.UNREADABLE),), outcome=Outcome.FAILED))),
    (Standing.LIMITED, row("f", analysis(findings=(finding(0.9),), quality=(verdict(QualityGrade.LIMITED),)))),
    (Standing.NOTED, row("g", analysis(findings=(finding(0.7, presence=Presence.PRESENT),), calibration="c"))),
    (Standing.SCORES_ONLY, row("h", analysis(findings=(finding(0.99),)))),
    (Standing.SCORES_ONLY, row("i", analysis(findings=(finding(0.2),)))),
    (Standing.NOTHING_NOTED, row("j", analysis(findings=(finding(0.1, presence=Presence.ABSENT),), calibration="c"))),
    (
        Standing.QUALITY_ONLY,
        row("k", analysis(quality=(verdict(QualityGrade.DIAGNOSTIC),), abstentions=(abstained(AbstentionReason.NO_MODEL),))),
    ),
    (
        Standing.NOT_ANALYSED,
        row("l", analysis(abstentions=(abstained(AbstentionReason.NOTHING_TO_ANALYSE),), outcome=Outcome.NOT_ATTEMPTED)),
    ),
)


def test_studies_are_read_by_flag_then_quality_then_score() -> None:
    shuffled = [made for _, made in IN_READING_ORDER][::-1]
    assert [made.title for made in ranked(shuffled)] == list("abcdefghijkl")
    assert [notes(made)[0].standing for made in ranked(shuffled)] == [standing for standing, _ in IN_READING_ORDER]


@pytest.mark.parametrize("reason", AbstentionReason)
def test_every_reason_for_not_answering_has_a_place_on_the_worklist(reason: AbstentionReason) -> None:
    assert notes(row("a", analysis(abstentions=(abstained(reason, "said why"),))))[0].text == "Said why"


def test_a_high_score_without_calibration_never_passes_a_flag() -> None:
    flagged = row("flagged", analysis(findings=(finding(0.51, flag=FlagLevel.URGENT, presence=Presence.PRESENT),), calibration="c"))
    assert [made.title for made in ranked([row("shadow", analysis(findings=(finding(1.0),))), flagged])] == ["flagged", "shadow"]


def test_an_image_that_was_not_analysed_for_its_quality_comes_before_one_that_was() -> None:
    turned = analysis(quality=(verdict(QualityGrade.LIMITED),), abstentions=(abstained(AbstentionReason.QUALITY),))
    scored = analysis(findings=(finding(0.9),), quality=(verdict(QualityGrade.LIMITED),))
    assert [made.title for made in ranked([row("a", scored), row("b", turned)])] == ["b", "a"]


def test_what_the_model_takes_an_image_for_is_told_where_nothing_was_expected_of_it() -> None:
    kinds = tuple(
        ImageKind(kind=kind, probability=0.91, expected=expected, images=(IMAGE,)) for kind, expected in (("A", True), ("B", False))
    )
    made = replace(analysis(quality=(verdict(QualityGrade.DIAGNOSTIC),), abstentions=(abstained(AbstentionReason.NO_MODEL),)), kinds=kinds)
    assert [note.text for note in notes(row("a", made))] == ["Because", "Looks like B (p = 0.91)"]
    assert notes(row("a", made))[0].standing is Standing.QUALITY_ONLY


def test_a_fault_that_was_measured_and_one_that_the_model_sees_are_both_named() -> None:
    made = analysis(quality=(verdict(QualityGrade.LIMITED, "inverted"), verdict(QualityGrade.LIMITED, "prompt:inverted")))
    assert quality_in_words(row("a", made)) == "limited: inverted, prompt:inverted"


def test_the_most_pressing_of_several_routes_decides() -> None:
    two = row(
        "a", analysis(findings=(finding(0.9),)), analysis(abstentions=(abstained(AbstentionReason.GATE_DISAGREES, "hand, not chest"),))
    )
    assert notes(two)[0].text == "Hand, not chest"
    assert len(notes(two)) == 2


def test_a_study_that_was_refused_or_forgotten_is_never_silent() -> None:
    refused = row("a", statuses=(StoreStatus(status="0xA900", count=1),))
    assert "refused every instance (0xA900)" in notes(refused)[0].text
    assert notes(row("b"))[0].text == "No report came back in time"
    assert {notes(refused)[0].standing, notes(row("b"))[0].standing} == {Standing.COULD_NOT}


def test_a_failed_analysis_that_gives_no_reason_is_still_shown_as_failed() -> None:
    assert notes(row("a", analysis(outcome=Outcome.FAILED)))[0].standing is Standing.COULD_NOT


def test_the_printed_worklist_names_every_study_and_says_that_nothing_is_a_diagnosis() -> None:
    console = Console(file=io.StringIO(), width=400)
    print_worklist([row(HOSTILE, analysis(abstentions=(abstained(AbstentionReason.NO_MODEL, HOSTILE),))), row("other")], console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    assert printed.count(HOSTILE) == 2
    assert "other" in printed
    assert DISCLAIMER in printed


def test_the_machine_readable_worklist_is_ranked_and_gives_every_reason() -> None:
    document = json.loads(worklist_json([made for _, made in reversed(IN_READING_ORDER)]))
    assert [entry["title"] for entry in document["studies"]] == list("abcdefghijkl")
    assert document["studies"][3]["analyses"][0]["abstentions"] == [{"reason": "gate disagrees", "detail": "because"}]
    assert document["studies"][7]["analyses"][0]["scores"] == {"effusion": 0.99}
    assert document["disclaimer"] == DISCLAIMER


def test_the_page_names_every_study_and_every_reason_for_not_answering(tmp_path: Path) -> None:
    rows = [
        row(study.title, analysis(abstentions=(abstained(AbstentionReason.UNSUPPORTED, f"reason {study.folder}"),)))
        for study in DEMO_STUDIES
    ]
    write_page(tmp_path / "page.html", rows, images_per_s=12.25)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for study in DEMO_STUDIES:
        assert f"{study.title}</h3>" in page
        assert f"reason {study.folder}</li>" in page
    assert DISCLAIMER in page
    assert "<p>Report of <b>one</b> study</p>" in page
    assert ">1.5 s</dd>" in page
    assert ">12.2</dd>" in page


def test_a_hostile_text_stays_text_on_the_page(tmp_path: Path) -> None:
    hostile = row(
        HOSTILE, analysis(findings=(finding(0.5, label=HOSTILE),), abstentions=(abstained(AbstentionReason.UNSUPPORTED, HOSTILE),))
    )
    write_page(tmp_path / "page.html", [hostile])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;[red]" in page


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [row("a", analysis(findings=(finding(0.5),)))])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_the_page_of_a_run_without_any_report_can_still_be_written(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [row("a")])
    assert "No report came back in time" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_thumbnail_keeps_its_shape_and_its_greys() -> None:
    with Image.open(io.BytesIO(thumbnail_png(np.full((1000, 500), 0.5, np.float32), side=100))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (50, 100))
        assert image.getpixel((25, 50)) == 128
    with Image.open(io.BytesIO(thumbnail_png(np.zeros((8, 8, 3), np.float32)))) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("wrong", [np.full((4, 4), 1.1), np.full((4, 4), np.nan), np.zeros((4, 4, 2)), np.zeros(4), np.zeros((0, 4))])
def test_a_thumbnail_of_anything_but_display_values_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"display values|neither"):
        thumbnail_png(wrong.astype(np.float32))

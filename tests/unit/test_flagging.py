"""Flags on the real ledger: who may raise a study, who may not and why, and that a decision is made once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import Code, load
from config.flags import FlagLimitsSection, FlagsSection
from dicom_node.flags.flagging import FlagReason, candidates, decide
from dicom_node.ledger import Ledger, NewResult
from dicom_node.ledger.flags import EVERY_MODEL, THE_CHART
from inference.findings import Analysis, Finding, FlagLevel, ImageRef, Outcome, Presence, Provenance, QualityGrade, QualityVerdict
from reporting.narrative import comments, summary
from tests.builders import CT, DX, uid
from tests.unit.test_ledger import instance, route, settle

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROUTE = "chest-radiograph"
EFFUSION = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")
PATIENT_QUALITY = Code(value="111209", scheme="DCM", meaning="Positioning")
MODEL = "gatekeeper"


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def catalogue():
    return load(None)[1]


def image():
    return ImageRef(sop_class_uid=DX, sop_instance_uid=uid())


def finding(at=None, *, label="pleural-effusion", presence=Presence.PRESENT, calibrated=True, flag=FlagLevel.URGENT):
    return Finding(
        label=label,
        concept=EFFUSION,
        site=None,
        presence=presence,
        score=0.9,
        calibrated=calibrated,
        threshold=0.5 if calibrated else None,
        threshold_source="made up for a test",
        flag=flag if presence is Presence.PRESENT else FlagLevel.NONE,
        image=at or image(),
    )


def quality(at, grade, check="over-exposed"):
    return QualityVerdict(
        check=check,
        image=at,
        measured=1,
        unit="1",
        threshold=0.5,
        threshold_source="made up",
        grade=grade,
        code=PATIENT_QUALITY,
        sentence="The image is wrong.",
    )


def analysis(*findings, study=None, revision=1, calibration="site-2026", verdicts=()):
    return Analysis(
        study_instance_uid=study or uid(),
        revision=revision,
        route=ROUTE,
        outcome=Outcome.SUCCEEDED,
        analysed_at=NOON,
        inputs=tuple(one.image for one in findings),
        findings=findings,
        quality=verdicts,
        provenance=Provenance(
            model=MODEL,
            version="1",
            manufacturer="m",
            weights_digest="0" * 64,
            prompt_set="p",
            prompt_set_digest="1" * 64,
            calibration_id=calibration,
            intended_use="research",
        ),
    )


def limits(**values):
    return FlagsSection(limits=FlagLimitsSection(**values))


class Asked:
    """Asks about flags as the encoding step does, and remembers what was counted."""

    def __init__(self, ledger, catalogue, settings=None):
        self._ledger, self._catalogue, self._settings = ledger, catalogue, settings or FlagsSection()
        self.counted = []

    def __call__(self, found, now=NOON):
        def count(model, reason):
            self.counted.append((model, reason))

        return decide(found, catalogue=self._catalogue, settings=self._settings, ledger=self._ledger, now=now, observer=count)


@pytest.fixture
def asked(ledger, catalogue):
    return Asked(ledger, catalogue)


def reasons(ledger, study=None):
    return [row.decision.reason for row in ledger.flag_rows(study_instance_uid=study)]


def test_a_present_finding_of_a_calibrated_model_raises_its_study(ledger, asked):
    found = analysis(finding())
    reported = asked(found)
    assert reported.flag is FlagLevel.URGENT
    assert reported.flags_held_back == ()
    assert (reported.priority.hl7, reported.priority.ups, reported.priority.sr.meaning) == ("A", "HIGH", "Urgent Procedure")
    assert reasons(ledger, found.study_instance_uid) == [FlagReason.RAISED]


@pytest.mark.parametrize("presence", [Presence.ABSENT, Presence.UNDETERMINED])
def test_what_is_not_present_raises_nothing_and_lowers_nothing(presence, ledger, asked):
    found = analysis(finding(flag=FlagLevel.URGENT), finding(label="pneumonia", presence=presence))
    assert asked(found).flag is FlagLevel.URGENT
    assert reasons(ledger, found.study_instance_uid) == [FlagReason.RAISED, FlagReason.NOT_PRESENT]


def test_a_label_that_no_prompt_set_marks_as_flagging_is_not_asked_about(ledger, asked):
    found = analysis(finding(flag=FlagLevel.NONE))
    assert asked(found).flag is FlagLevel.NONE
    assert reasons(ledger, found.study_instance_uid) == []


def test_a_marked_label_is_decided_about_whatever_was_found(catalogue):
    marked = catalogue.prompt_set(catalogue.route(ROUTE).prompt_set)
    marked = marked.model_copy(update={"labels": tuple(label.model_copy(update={"flag": "urgent"}) for label in marked.labels)})
    name = marked.labels[0].name
    against = {
        FlagReason.NOT_PRESENT: analysis(finding(label=name, presence=Presence.ABSENT)),
        FlagReason.NOT_CALIBRATED: analysis(finding(label=name, presence=Presence.UNDETERMINED, calibrated=False), calibration=None),
        None: analysis(finding(label=name)),
    }
    for reason, found in against.items():
        (candidate,) = candidates(found, marked)
        assert (candidate.finding, candidate.level, candidate.against) == (name, FlagLevel.URGENT, reason)


def test_without_a_calibration_nothing_is_raised_even_if_a_finding_says_so(ledger, asked):
    found = analysis(finding(), calibration=None)
    assert asked(found).flag is FlagLevel.NONE
    assert reasons(ledger, found.study_instance_uid) == [FlagReason.NOT_CALIBRATED]


def test_a_finding_on_a_non_diagnostic_image_is_held_back_and_the_report_says_so(ledger, asked):
    at = image()
    found = analysis(finding(at), verdicts=(quality(at, QualityGrade.NON_DIAGNOSTIC),))
    reported = asked(found)
    assert reported.flag is FlagLevel.NONE
    assert "HELD BACK" in summary(reported)
    assert "No worklist flag was raised: Pleural effusion: the image quality is non-diagnostic" in comments(reported)
    assert reasons(ledger, found.study_instance_uid) == [FlagReason.NON_DIAGNOSTIC]


def test_a_second_image_of_good_quality_still_raises_the_study(asked):
    bad, good = image(), image()
    found = analysis(finding(bad), finding(good), verdicts=(quality(bad, QualityGrade.NON_DIAGNOSTIC), quality(good, QualityGrade.LIMITED)))
    reported = asked(found)
    assert {one.image: one.flag for one in reported.findings} == {bad: FlagLevel.NONE, good: FlagLevel.URGENT}


def test_a_fault_that_the_model_sees_in_a_series_counts_for_a_finding_on_another_slice(asked):
    key, other = (ImageRef(sop_class_uid=CT, sop_instance_uid=uid()) for _ in range(2))
    found = analysis(finding(key), verdicts=(quality(other, QualityGrade.NON_DIAGNOSTIC, check="prompt:no-medical-image"),))
    assert asked(found).flag is FlagLevel.NONE


def test_asked_again_after_a_crash_the_answer_is_the_same_and_the_budget_is_not_spent_twice(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=2))
    first, second = analysis(finding()), analysis(finding())
    once = asked(first)
    later = NOON + timedelta(minutes=5)
    assert asked(first, later) == once
    assert asked(second, later).flag is FlagLevel.URGENT
    assert [reason for _, reason in asked.counted] == [FlagReason.RAISED, FlagReason.RAISED], "a repetition is not counted"


def test_a_decision_stands_although_the_model_was_suspended_since(ledger, asked):
    found = analysis(finding())
    once = asked(found)
    ledger.suspend_flags(model=EVERY_MODEL, who="op", why="night", now=NOON)
    assert asked(found) == once


def test_beyond_its_budget_a_model_raises_nothing_until_the_hour_is_over(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=2))
    flags = [asked(analysis(finding())).flag for _ in range(3)]
    assert flags == [FlagLevel.URGENT, FlagLevel.URGENT, FlagLevel.NONE]
    assert reasons(ledger)[-1] is FlagReason.BUDGET_SPENT
    assert asked(analysis(finding()), NOON + timedelta(minutes=61)).flag is FlagLevel.URGENT


def test_workers_that_ask_at_once_do_not_spend_the_budget_twice(tmp_path, catalogue):
    def ask_of_a_ledger_of_its_own(_):
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        try:
            return Asked(ledger, catalogue, limits(budget_per_hour=3))(analysis(finding())).flag
        finally:
            ledger.close()

    Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}").close()
    with ThreadPoolExecutor(4) as pool:
        flags = list(pool.map(ask_of_a_ledger_of_its_own, range(8)))
    assert flags.count(FlagLevel.URGENT) == 3


def test_a_study_that_stands_raised_is_not_lowered_by_a_spent_budget(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=1))
    first = analysis(finding())
    asked(first)
    assert asked(analysis(finding())).flag is FlagLevel.NONE
    assert asked(replace(first, revision=2)).flag is FlagLevel.URGENT


def test_several_findings_of_one_study_spend_the_budget_once(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=2))
    assert asked(analysis(finding(), finding(label="pneumothorax", flag=FlagLevel.EMERGENCY))).flag is FlagLevel.EMERGENCY
    assert asked(analysis(finding())).flag is FlagLevel.URGENT


def test_the_switch_stops_flags_of_one_model_or_of_all_and_says_who_and_why(ledger, asked):
    assert ledger.suspend_flags(model=MODEL, who="op", why="too many", now=NOON)
    assert not ledger.suspend_flags(model=MODEL, who="op2", why="again", now=NOON)
    held = asked(analysis(finding()))
    assert held.flag is FlagLevel.NONE
    assert held.flags_held_back == (f"Pleural effusion: present, but flags of {MODEL} are suspended",)
    assert ledger.resume_flags(model=MODEL, who="op", why="fixed", now=NOON)
    assert asked(analysis(finding())).flag is FlagLevel.URGENT
    ledger.suspend_flags(model=EVERY_MODEL, who="op", why="holiday", now=NOON)
    assert asked(analysis(finding())).flag is FlagLevel.NONE
    (ended, holds) = ledger.suspensions(ended=True)
    assert (ended.suspended_by, ended.why, ended.resumed_why, holds.until) == ("op", "too many", "fixed", None)


def test_while_flags_are_suspended_order_updates_wait_and_reports_go_on(ledger, asked):
    study = uid()
    ledger.record_instance(instance(study=study), urgent=False)
    (settled,) = settle(ledger)
    route(ledger, settled, ROUTE)
    item = ledger.claim_work(owner="w", now=NOON, lease_s=60)
    ledger.record_analysis(item, path=Path("analyses/a.json"), now=NOON)
    item = ledger.claim_work(owner="w", now=NOON, lease_s=60)
    asked(analysis(finding(), study=study))
    results = [
        NewResult(kind=kind, sop_class_uid="", sop_instance_uid=kind, path=Path(kind), digest="x", destinations=("ris",))
        for kind in ("hl7-order", "hl7-oru")
    ]
    ledger.record_results(item, results, now=NOON)

    def sent(owner):
        claimed = ledger.claim_delivery(destination="ris", owner=owner, now=NOON, lease_s=60, learnt_since=NOON)
        return claimed and claimed.kind

    ledger.suspend_flags(model=MODEL, who="op", why="too many", now=NOON)
    assert (sent("first"), sent("second")) == ("hl7-oru", None)
    ledger.resume_flags(model=MODEL, who="op", why="fine", now=NOON)
    assert sent("second") == "hl7-order"


def test_a_model_that_flags_too_much_suspends_itself_and_stays_so_until_somebody_resumes_it(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=10_000))
    raised = 0
    while not ledger.suspensions():
        raised += asked(analysis(finding())).flag is FlagLevel.URGENT
        assert raised < 20
    (suspension,) = ledger.suspensions()
    assert suspension.suspended_by == THE_CHART
    assert "too many" in suspension.why
    assert asked(analysis(finding())).flag is FlagLevel.NONE
    assert ledger.resume_flags(model=MODEL, who="op", why="was a training day", now=NOON)
    assert asked(analysis(finding())).flag is FlagLevel.URGENT, "the chart began anew"


def test_the_chart_counts_what_the_model_wants_once_a_study_and_not_what_became_of_it(ledger, catalogue):
    asked = Asked(ledger, catalogue, limits(budget_per_hour=0))
    first = analysis(finding())
    for found in (first, replace(first, revision=2), analysis(finding(label="pneumonia", presence=Presence.ABSENT))):
        asked(found)
    (model,) = ledger.flagging_models(now=NOON)
    assert (model.studies, model.wanted, model.raised_within_the_hour) == (2, 1, 0)


def test_a_flag_cannot_be_named_routine():
    priority = {"hl7": "R", "sr": {"value": "1", "scheme": "99X", "meaning": "Routine"}}
    with pytest.raises(ValueError, match="a flag only raises"):
        FlagsSection.model_validate({"priorities": {"urgent": priority}})

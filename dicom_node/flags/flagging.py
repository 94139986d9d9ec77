"""Whether a finding raises its study on the reading worklist. A flag only ever raises: nothing here lowers a study.

Only findings of labels that the route's prompt set marks as flagging are asked about. `candidates` says what speaks for and
against each, from the analysis alone; the ledger adds what depends on other studies (suspension, budget) and records the
decision, once: an encoding that is repeated after a crash gets the same answer. `applied` writes it into the analysis.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from config.catalogue import Catalogue
from config.flags import FlagLimitsSection, FlagsSection, PrioritySection
from config.prompt_sets import PromptSet
from inference.findings import Analysis, Finding, FlagLevel, Presence, Priority, QualityGrade

_log = structlog.get_logger(__name__)
_LEVELS: Mapping[str, FlagLevel] = {"none": FlagLevel.NONE, "urgent": FlagLevel.URGENT, "emergency": FlagLevel.EMERGENCY}
_NOT_CALIBRATED = "the model is not calibrated for this site"
_NON_DIAGNOSTIC = "the image quality is non-diagnostic"


class FlagReason(enum.StrEnum):
    """Why a flag was raised or not."""

    RAISED = "raised"
    NOT_PRESENT = "not present"
    NOT_CALIBRATED = "not calibrated"
    NON_DIAGNOSTIC = "non-diagnostic"
    SUSPENDED = "suspended"
    BUDGET_SPENT = "budget spent"


HELD_BACK = frozenset({FlagReason.NON_DIAGNOSTIC, FlagReason.SUSPENDED, FlagReason.BUDGET_SPENT})
"""The finding is Present and would have raised its study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCandidate:
    """One label of one analysis that may raise its study. `against`: what in the analysis itself forbids it, None if nothing does."""

    finding: str
    level: FlagLevel
    against: FlagReason | None
    detail: str

    @property
    def wanted(self) -> bool:
        """True if the model found what flags: what the control chart counts, whatever became of the flag."""
        return self.against not in {FlagReason.NOT_PRESENT, FlagReason.NOT_CALIBRATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDecision:
    """What was decided about one label of one study revision under one route. `detail` says why, in words without patient data."""

    finding: str
    model: str
    level: FlagLevel
    reason: FlagReason
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagQuestion:
    """What the ledger is asked: may these raise the study?"""

    study_instance_uid: str
    revision: int
    route: str
    model: str
    candidates: tuple[FlagCandidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagAnswer:
    """The decisions as they stand in the ledger; `new` unless they stood there before. `suspended`: the chart signalled just now."""

    decisions: tuple[FlagDecision, ...]
    new: bool
    suspended: str = ""


FlagObserver = Callable[[str, FlagReason], None]
"""Is told the model and the reason of each new decision: the metrics."""


class FlagLedger(Protocol):
    """The part of the ledger that decides about flags."""

    def decide_flags(self, question: FlagQuestion, *, limits: FlagLimitsSection, now: datetime) -> FlagAnswer: ...


def decide(
    analysis: Analysis, *, catalogue: Catalogue, settings: FlagsSection, ledger: FlagLedger, now: datetime, observer: FlagObserver
) -> Analysis:
    """Return the analysis with the flags that may be raised, the reasons for those held back, and what the level is called elsewhere.

    The decision is in the ledger when this returns. Asked again, it is the same.
    """
    asked = candidates(analysis, _prompt_set(catalogue, analysis.route))
    if analysis.provenance is None or not asked:
        return replace(analysis, findings=tuple(replace(finding, flag=FlagLevel.NONE) for finding in analysis.findings))
    question = FlagQuestion(
        study_instance_uid=analysis.study_instance_uid,
        revision=analysis.revision,
        route=analysis.route,
        model=analysis.provenance.model,
        candidates=asked,
    )
    answer = ledger.decide_flags(question, limits=settings.limits_of(question.model), now=now)
    if answer.new:
        _tell(question, answer, observer)
    return applied(analysis, answer.decisions, settings)


def _prompt_set(catalogue: Catalogue, route: str) -> PromptSet | None:
    """Return the prompts of a route, None if it has none, or the route is no longer there."""
    names = {rule.name: rule.prompt_set for rule in catalogue.routes}
    name = names.get(route)
    return catalogue.prompt_set(name) if name else None


def candidates(analysis: Analysis, prompt_set: PromptSet | None) -> tuple[FlagCandidate, ...]:
    """Return what may raise the study, a candidate a label: those that the prompt set marks, and those marked when it was analysed."""
    marked = {label.name: _LEVELS[label.flag] for label in prompt_set.labels if label.flag != "none"} if prompt_set else {}
    by_label: dict[str, list[Finding]] = {}
    for finding in analysis.findings:
        unmarked_then = finding.presence is Presence.PRESENT and finding.flag is FlagLevel.NONE
        if _flags(finding) or (finding.label in marked and not unmarked_then):
            by_label.setdefault(finding.label, []).append(finding)
    return tuple(_candidate(analysis, findings, marked.get(label, FlagLevel.NONE)) for label, findings in by_label.items())


def _flags(finding: Finding) -> bool:
    """True if the finding was Present and marked as flagging when it was analysed; a mark that came later does not count."""
    return finding.presence is Presence.PRESENT and finding.flag is not FlagLevel.NONE


def _candidate(analysis: Analysis, findings: Sequence[Finding], marked: FlagLevel) -> FlagCandidate:
    level = max(marked, *(finding.flag for finding in findings))
    meaning = findings[0].concept.meaning
    present = [finding for finding in findings if _flags(finding)]
    against: FlagReason | None = None
    detail = f"{meaning}: present"
    if analysis.in_shadow or not any(finding.calibrated for finding in findings):
        against, detail = FlagReason.NOT_CALIBRATED, f"{meaning}: {_NOT_CALIBRATED}"
    elif not present:
        against, detail = FlagReason.NOT_PRESENT, f"{meaning}: {max(finding.presence for finding in findings).value}"
    elif not any(_is_legible(analysis, finding) for finding in present):
        against, detail = FlagReason.NON_DIAGNOSTIC, f"{meaning}: {_NON_DIAGNOSTIC}"
    return FlagCandidate(finding=findings[0].label, level=level, against=against, detail=detail)


def _is_legible(analysis: Analysis, finding: Finding) -> bool:
    """True if no check called an image of the finding non-diagnostic.

    What the model is asked about slices that are judged together is told at one of them only, so of such a check the worst verdict
    counts for a finding on another slice.
    """
    worst: dict[str, QualityGrade] = {}
    own: dict[str, QualityGrade] = {}
    images = {(image.sop_instance_uid, image.frame_number) for image in finding.images}
    for verdict in analysis.quality:
        at = (verdict.image.sop_instance_uid, verdict.image.frame_number)
        if at in images or (at[0], None) in images:
            own[verdict.check] = max(own.get(verdict.check, verdict.grade), verdict.grade)
        elif verdict.by_model:
            worst[verdict.check] = max(worst.get(verdict.check, verdict.grade), verdict.grade)
    return QualityGrade.NON_DIAGNOSTIC not in (worst | own).values()


def applied(analysis: Analysis, decisions: Sequence[FlagDecision], settings: FlagsSection) -> Analysis:
    """Return the analysis as it is reported: flags that were not raised are NONE, and it says which were held back and why."""
    raised = {decision.finding for decision in decisions if decision.reason is FlagReason.RAISED}
    reported = replace(
        analysis,
        findings=tuple(
            finding if finding.label in raised and _is_legible(analysis, finding) else replace(finding, flag=FlagLevel.NONE)
            for finding in analysis.findings
        ),
        flags_held_back=tuple(decision.detail for decision in decisions if decision.reason in HELD_BACK),
    )
    return replace(reported, priority=_priority(reported.flag, settings))


def _priority(level: FlagLevel, settings: FlagsSection) -> Priority | None:
    names: Mapping[FlagLevel, PrioritySection] = {
        FlagLevel.URGENT: settings.priorities.urgent,
        FlagLevel.EMERGENCY: settings.priorities.emergency,
    }
    found = names.get(level)
    return None if found is None else Priority(hl7=found.hl7, ups=found.ups, sr=found.sr)


def _tell(question: FlagQuestion, answer: FlagAnswer, observer: FlagObserver) -> None:
    for decision in answer.decisions:
        observer(question.model, decision.reason)
        if decision.reason is FlagReason.RAISED:
            _log.info("flag_raised", model=question.model, finding=decision.finding, level=decision.level.name.lower())
        elif decision.reason in HELD_BACK:
            _log.warning("flag_held_back", model=question.model, finding=decision.finding, reason=decision.reason.value)
    if answer.suspended:
        consequence = "no study is flagged by it until `dicom-node flags resume`"
        _log.error("flags_suspended", model=question.model, why=answer.suspended, consequence=consequence)

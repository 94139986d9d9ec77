"""The reading worklist of a demo run: what is known of each study, in the order in which a person should look."""

import enum
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inference.findings import Abstention, AbstentionReason, Analysis, Finding, FlagLevel, Outcome, Presence, QualityGrade, QualityVerdict

DISCLAIMER = "Nothing here is a diagnosis."
SHADOW_NOTICE = "Demonstration model, not calibrated for any site: its scores are shown, nothing is flagged."


class Standing(enum.IntEnum):
    """Why a study stands where it stands on the worklist, first come first. The label is what a person reads."""

    label: str

    def __new__(cls, order: int, label: str) -> "Standing":
        member = int.__new__(cls, order)
        member._value_ = order
        member.label = label
        return member

    EMERGENCY = 0, "Emergency"
    URGENT = 1, "Urgent"
    NON_DIAGNOSTIC = 2, "Non-diagnostic image"
    DISAGREES = 3, "Header and pixels disagree"
    COULD_NOT = 4, "Could not be analysed"
    LIMITED = 5, "Limited image quality"
    NOTED = 6, "Finding, no flag"
    SCORES_ONLY = 7, "Scores only"
    NOTHING_NOTED = 8, "Nothing noted"
    QUALITY_ONLY = 9, "Image quality only"
    NOT_ANALYSED = 10, "Not analysed"


_STANDING_OF_FLAG = {FlagLevel.EMERGENCY: Standing.EMERGENCY, FlagLevel.URGENT: Standing.URGENT}
_STANDING_OF_GRADE = {QualityGrade.NON_DIAGNOSTIC: Standing.NON_DIAGNOSTIC, QualityGrade.LIMITED: Standing.LIMITED}
_STANDING_OF_ABSTENTION = {
    AbstentionReason.GATE_DISAGREES: Standing.DISAGREES,
    AbstentionReason.QUALITY: Standing.COULD_NOT,
    AbstentionReason.UNREADABLE: Standing.COULD_NOT,
    AbstentionReason.UNSUPPORTED: Standing.COULD_NOT,
    AbstentionReason.LATERALITY: Standing.COULD_NOT,
    AbstentionReason.MODEL_FAILED: Standing.COULD_NOT,
    AbstentionReason.NO_ROUTE: Standing.NOT_ANALYSED,
    AbstentionReason.NO_MODEL: Standing.NOT_ANALYSED,
    AbstentionReason.NOTHING_TO_ANALYSE: Standing.NOT_ANALYSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """How often the node answered a C-STORE of a study with one status, as on the wire ("0x0000")."""

    status: str
    count: int

    @property
    def meaning(self) -> str:
        """The class of the status in words (PS3.7 Annex C)."""
        if self.status == "0x0000":
            return "stored"
        return "stored with a warning" if self.status.startswith("0xB") else "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReport:
    """A Structured Report as it came out at the archive: its file's name and its content as an HTML fragment, escaped by its maker."""

    file_name: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """One study of a demo run.

    `instances` counts the files that were sent, stored or refused. `seconds_to_report` runs from the last C-STORE
    response for the study to the last report in the archive; None if no report came. `thumbnail` is a PNG file.
    """

    title: str
    shows: str
    study_instance_uid: str
    modality: str
    instances: int
    analyses: tuple[Analysis, ...]
    seconds_to_report: float | None
    thumbnail: bytes | None
    reports: tuple[ShownReport, ...]
    statuses: tuple[StoreStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One reason to look at a study, in words."""

    standing: Standing
    text: str


def notes(row: DemoRow) -> tuple[Note, ...]:
    """Everything that speaks for looking at a study, the most pressing first; never empty, for silence is not an answer."""
    found = {note: None for analysis in row.analyses for note in _analysis_notes(analysis)}
    if not row.analyses:
        found[_missing(row)] = None
    return tuple(sorted(found, key=lambda note: note.standing))


def ranked(rows: Sequence[DemoRow]) -> tuple[DemoRow, ...]:
    """The rows in reading order: by standing, then by the highest score, then by title."""
    return tuple(sorted(rows, key=lambda row: (notes(row)[0].standing, -_highest_score(row), row.title)))


def strongest(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The strongest finding of each label over all images, strongest first."""
    by_label: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda finding: (-finding.flag, -finding.score)):
        by_label.setdefault(finding.label, finding)
    return tuple(by_label.values())


def defects(verdicts: Sequence[QualityVerdict]) -> tuple[QualityVerdict, ...]:
    """The worst verdict of each quality check that found something, worst first."""
    by_check: dict[str, QualityVerdict] = {}
    for verdict in sorted(verdicts, key=lambda verdict: -verdict.grade):
        if verdict.grade is not QualityGrade.DIAGNOSTIC:
            by_check.setdefault(verdict.check, verdict)
    return tuple(by_check.values())


def said(finding: Finding) -> str:
    """A finding with its number and what kind of number that is."""
    if not finding.calibrated:
        return f"{finding.concept.meaning}: score {finding.score:.2f}, not calibrated"
    threshold = f", threshold {finding.threshold:.2f}" if finding.threshold is not None else ""
    return f"{finding.concept.meaning}: {finding.presence.value}, probability {finding.score:.2f}{threshold}"


def _analysis_notes(analysis: Analysis) -> Iterator[Note]:
    yield from (_abstention_note(abstention, analysis) for abstention in analysis.abstentions)
    if study := analysis.grade:  # one odd slice of many does not make a study limited
        yield from (
            Note(standing=_STANDING_OF_GRADE[min(verdict.grade, study)], text=verdict.sentence) for verdict in defects(analysis.quality)
        )
    told = (kind for kind in analysis.kinds if not kind.expected)
    yield from (Note(standing=Standing.QUALITY_ONLY, text=f"Looks like {kind.kind} (p = {kind.probability:.2f})") for kind in told)
    findings = strongest(analysis.findings)
    noted = [Note(standing=standing, text=said(finding)) for finding in findings if (standing := _finding_standing(finding)) is not None]
    yield from noted
    if analysis.in_shadow and findings:
        yield Note(standing=Standing.SCORES_ONLY, text=f"Highest is {said(findings[0])}")
    elif findings and not noted:
        yield Note(standing=Standing.NOTHING_NOTED, text=f"Highest is {said(findings[0])}")
    if not findings and not analysis.abstentions:
        yield _unanswered(analysis)


def _unanswered(analysis: Analysis) -> Note:
    if analysis.outcome is Outcome.FAILED:
        return Note(standing=Standing.COULD_NOT, text=f"The analysis under route {analysis.route} failed")
    if analysis.quality:
        return Note(standing=Standing.QUALITY_ONLY, text="Image quality was checked; no model looked for findings")
    return Note(standing=Standing.NOT_ANALYSED, text="Nothing was analysed")


def _abstention_note(abstention: Abstention, analysis: Analysis) -> Note:
    standing = _STANDING_OF_ABSTENTION[abstention.reason]
    if standing is Standing.NOT_ANALYSED and analysis.quality:
        standing = Standing.QUALITY_ONLY
    return Note(standing=standing, text=abstention.detail[:1].upper() + abstention.detail[1:])


def _finding_standing(finding: Finding) -> Standing | None:
    if finding.flag in _STANDING_OF_FLAG:
        return _STANDING_OF_FLAG[finding.flag]
    return Standing.NOTED if finding.calibrated and finding.presence is not Presence.ABSENT else None


def _missing(row: DemoRow) -> Note:
    refused = sum(status.count for status in row.statuses if status.meaning == "refused")
    if refused and refused == row.instances:
        answers = ", ".join(status.status for status in row.statuses)
        return Note(standing=Standing.COULD_NOT, text=f"The node refused every instance ({answers}), so there is no report")
    return Note(standing=Standing.COULD_NOT, text="No report came back in time")


def _highest_score(row: DemoRow) -> float:
    return max((finding.score for analysis in row.analyses for finding in analysis.findings), default=0.0)


def quality_in_words(row: DemoRow) -> str:
    """The worst image quality of a study, and by which checks."""
    verdicts = tuple(verdict for analysis in row.analyses for verdict in analysis.quality)
    if not verdicts:
        return "not checked"
    if not (found := defects(verdicts)):
        count = len({verdict.check for verdict in verdicts})
        return f"no defect in {count} check{'s' if count > 1 else ''}"
    return f"{found[0].grade.name.lower().replace('_', '-')}: {', '.join(verdict.check for verdict in found)}"


def seconds_in_words(row: DemoRow) -> str:
    """The time to the report, or that there is none."""
    return "no report" if row.seconds_to_report is None else f"{row.seconds_to_report:.1f} s"


def print_worklist(rows: Sequence[DemoRow], console: Console) -> None:
    """Print the ranked worklist as a table, with the words that must stand beside it. It fits a terminal of 80 columns."""
    table = Table(title="Reading worklist", caption=f"{DISCLAIMER} {SHADOW_NOTICE}", show_lines=True)
    table.add_column("#", justify="right")
    table.add_column("Study", max_width=34)
    table.add_column("Why it stands here")
    table.add_column("Report", justify="right", no_wrap=True)
    for rank, row in enumerate(ranked(rows), start=1):
        study = Text.assemble((row.title, "bold"), f"\n{row.modality}, {row.instances} instance{'s' if row.instances > 1 else ''}")
        why = Text.assemble((notes(row)[0].standing.label, "bold"))
        why.append("".join(f"\n{note.text}" for note in notes(row)) + f"\nQuality: {quality_in_words(row)}")
        table.add_row(str(rank), study, why, seconds_in_words(row))
    console.print(table)


def worklist_json(rows: Sequence[DemoRow]) -> str:
    """The ranked worklist as a JSON document, for a machine."""
    entries = [
        {
            "rank": rank,
            "standing": notes(row)[0].standing.name.lower(),
            "reasons": [note.text for note in notes(row)],
            "title": row.title,
            "study_instance_uid": row.study_instance_uid,
            "modality": row.modality,
            "instances": row.instances,
            "statuses": {status.status: status.count for status in row.statuses},
            "quality": quality_in_words(row),
            "seconds_to_report": row.seconds_to_report,
            "reports": [report.file_name for report in row.reports],
            "analyses": [_analysis_entry(analysis) for analysis in row.analyses],
        }
        for rank, row in enumerate(ranked(rows), start=1)
    ]
    return json.dumps({"disclaimer": DISCLAIMER, "studies": entries}, indent=2)


def _analysis_entry(analysis: Analysis) -> dict[str, object]:
    return {
        "route": analysis.route,
        "outcome": analysis.outcome.value,
        "model": analysis.provenance.model if analysis.provenance else None,
        "shadow": analysis.in_shadow,
        "flag": analysis.flag.name.lower(),
        "scores": {finding.label: round(finding.score, 6) for finding in strongest(analysis.findings)},
        "defects": {verdict.check: verdict.grade.name.lower() for verdict in defects(analysis.quality)},
        "abstentions": [{"reason": abstention.reason.value, "detail": abstention.detail} for abstention in analysis.abstentions],
    }

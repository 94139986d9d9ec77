"""The words of a report: the paragraph that a radiologist reads first, and the comments that say what it does not show."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from inference.findings import Abstention, Analysis, Finding, FlagLevel, ImageRef, Outcome, Presence, QualityGrade
from reporting.attributes import printable

NOT_ANALYSED = "Not analysed"
DISCLAIMER = (
    "AI result, NOT verified by a radiologist. Zero-shot vision-language model; scores are model certainty, not disease probability. "
    "An absent or low score does not exclude disease. For worklist prioritisation and review support only; not for primary diagnosis."
)
DISCLAIMER_WITHOUT_MODEL = (
    "Automatic result, NOT verified by a radiologist. No model was asked and no finding was looked for: this says nothing about disease. "
    "For review support only; not for primary diagnosis."
)
SHADOW = "shadow: not calibrated for this site; nothing is flagged"
_GRADE = {QualityGrade.DIAGNOSTIC: "diagnostic", QualityGrade.LIMITED: "limited", QualityGrade.NON_DIAGNOSTIC: "non-diagnostic"}
_FLAG = {FlagLevel.URGENT: "URGENT REVIEW suggested.", FlagLevel.EMERGENCY: "EMERGENCY REVIEW suggested."}
_COMPLETION_DESCRIPTION_LENGTH = 64  # characters, VR LO


def summary(analysis: Analysis) -> str:
    """Return the paragraph of the report: flag, state, findings and image quality, most important first."""
    return " ".join(filter(None, (_FLAG.get(analysis.flag, ""), _state(analysis), _findings(analysis), _quality(analysis))))


def comments(analysis: Analysis) -> tuple[str, ...]:
    """Return the comments, each about one thing: disclaimer, shadow, what was not analysed and why, sources, what was left out."""
    lines = [
        DISCLAIMER if analysis.provenance else DISCLAIMER_WITHOUT_MODEL,
        SHADOW if analysis.in_shadow else "",
        *(_abstention(abstention) for abstention in analysis.abstentions),
        *_quality_sentences(analysis),
        *_threshold_sources(analysis.findings),
        *_exclusions(analysis),
        f"Intended use of {analysis.provenance.model}: {analysis.provenance.intended_use}" if analysis.provenance else "",
    ]
    return tuple(line for line in map(printable, lines) if line)


def completion_description(analysis: Analysis) -> str:
    """Return Completion Flag Description (0040,A492) for a report that is PARTIAL."""
    reasons = ", ".join(dict.fromkeys(abstention.reason.value for abstention in analysis.abstentions))
    outcome = "Not all analysed" if analysis.outcome is Outcome.PARTIAL else analysis.outcome.value.capitalize()
    return (f"{outcome}: {reasons}" if reasons else outcome)[:_COMPLETION_DESCRIPTION_LENGTH]


def percent(fraction: float) -> float:
    """Return a fraction in percent, as it is reported: to two decimals."""
    return round(fraction * 100, 2)


def _state(analysis: Analysis) -> str:
    if analysis.outcome is Outcome.FAILED:
        return "AI analysis FAILED: no result. This is not a negative result."
    if analysis.outcome is Outcome.NOT_ATTEMPTED:
        return "NOT ANALYSED: no AI result. This is not a negative result."
    partial = "PARTIAL result: not everything could be analysed." if analysis.outcome is Outcome.PARTIAL else ""
    if analysis.in_shadow:
        scored = "scores are reported, no finding is asserted or excluded" if analysis.findings else "no scores are reported"
        return f"{partial} SHADOW: the model is not calibrated for this site; {scored} and nothing is flagged.".strip()
    return partial


def _findings(analysis: Analysis) -> str:
    if analysis.outcome in {Outcome.FAILED, Outcome.NOT_ATTEMPTED}:
        return ""
    if not analysis.findings:
        return "No finding was looked for." if analysis.provenance is None else "No finding was scored."
    by_label = [list(group) for _, group in groupby(sorted(analysis.findings, key=lambda f: f.label), key=lambda f: f.label)]
    sentences = sorted((_label(group) for group in by_label), reverse=True)
    words = " ".join(sentence for _, _, sentence in sentences)
    if all(finding.presence is Presence.ABSENT for finding in analysis.findings):
        return f"No finding above threshold in the checked list. This does not exclude disease. {words}"
    return words


def _label(findings: list[Finding]) -> tuple[int, float, str]:
    """Return the rank of a label (present first, then undetermined), its highest score and its sentence."""
    order = (Presence.ABSENT, Presence.UNDETERMINED, Presence.PRESENT)
    highest = max(findings, key=lambda finding: (order.index(finding.presence), finding.score))
    same = sum(finding.presence is highest.presence for finding in findings)
    where = f" on {same} of {len(findings)} images, highest" if len(findings) > 1 else ""
    if highest.calibrated:
        threshold = "" if highest.threshold is None else f", threshold {percent(highest.threshold):g} %"
        number = f"{percent(highest.score):g} %{threshold}"
    else:
        number = f"uncalibrated score {highest.score:.4f}"
    sentence = f"{highest.concept.meaning}: {highest.presence.value}{where} ({number})."
    return order.index(highest.presence), highest.score, sentence


def _quality(analysis: Analysis) -> str:
    if analysis.grade is None:
        return ""
    defects = dict.fromkeys(verdict.code.meaning for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC)
    named = f" ({', '.join(defects)})" if defects else ""
    return f"Image quality: {_GRADE[analysis.grade]}{named}."


def _abstention(abstention: Abstention) -> str:
    count = len(abstention.images)
    extent = f", {count} image{'s' if count > 1 else ''}" if count else ""
    return f"{NOT_ANALYSED} ({abstention.reason.value}{extent}): {abstention.detail}"


def _quality_sentences(analysis: Analysis) -> Iterator[str]:
    """Say each defect once, with the number of images that have it."""
    images: dict[tuple[str, str], set[ImageRef]] = {}
    for verdict in analysis.quality:
        if verdict.grade is not QualityGrade.DIAGNOSTIC:
            images.setdefault((verdict.sentence, verdict.threshold_source), set()).add(verdict.image)
    for (sentence, source), on in images.items():
        extent = f" ({len(on)} images)" if len(on) > 1 else ""
        yield f"Image quality{extent}: {sentence} Limit from: {source}"


def _threshold_sources(findings: Iterable[Finding]) -> Iterator[str]:
    used = {finding.label: finding for finding in findings if finding.threshold is not None}
    for finding in used.values():
        yield f"Threshold of {finding.concept.meaning}: {percent(finding.threshold or 0):g} %, from: {finding.threshold_source}"


def _exclusions(analysis: Analysis) -> Iterator[str]:
    for reason, count in Counter(exclusion.reason for exclusion in analysis.excluded).items():
        yield f"Left out on purpose, {count} instance{'s' if count > 1 else ''}: {reason}"

"""The words of a report: the paragraph that a radiologist reads first, and the comments that say what it does not show."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from inference.findings import (
    PROMPT,
    Abstention,
    AbstentionReason,
    Analysis,
    Finding,
    FlagLevel,
    ImageKind,
    Outcome,
    Presence,
    QualityGrade,
    QualityVerdict,
)
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
DISCLAIMER_OF_WITHDRAWAL = (
    "Automatic message, NOT verified by a radiologist. The document that this one supersedes stays in the archive as it was sent. "
    "The images are to be read without it."
)
_WITHDRAWN = "WITHDRAWN: the AI result reported before is taken back and must not be used. This is neither positive nor negative."
REGION = (
    "Outlines show where the model's answer comes from. They are no measurement of a lesion: size, border and number may be wrong, "
    "and disease may lie elsewhere."
)
SHADOW = "shadow: not calibrated for this site; nothing is flagged"
FLAG_HELD_BACK = "No worklist flag was raised"
_FLAG_HELD_BACK = "A WORKLIST FLAG WAS HELD BACK: read the findings, the comments say why."
_GRADE = {QualityGrade.DIAGNOSTIC: "diagnostic", QualityGrade.LIMITED: "limited", QualityGrade.NON_DIAGNOSTIC: "non-diagnostic"}
_FLAG = {FlagLevel.URGENT: "URGENT REVIEW suggested.", FlagLevel.EMERGENCY: "EMERGENCY REVIEW suggested."}
_COMPLETION_DESCRIPTION_LENGTH = 64  # characters, VR LO


def summary(analysis: Analysis) -> str:
    """Return the paragraph of the report: flag, state, findings and image quality, most important first."""
    if analysis.withdrawn is not None:
        return f"{_WITHDRAWN} Reason: {printable(analysis.withdrawn)}"
    flags = (_FLAG.get(analysis.flag, ""), _FLAG_HELD_BACK if analysis.flags_held_back else "")
    return " ".join(filter(None, (*flags, _state(analysis), _findings(analysis), _quality(analysis))))


def comments(analysis: Analysis) -> tuple[str, ...]:
    """Return the comments, each about one thing.

    Disclaimer, shadow, what was not analysed and why, flags that were held back, how much was looked at, what the images show, what is
    wrong with them, sources, what was left out.
    """
    if analysis.withdrawn is not None:
        return (DISCLAIMER_OF_WITHDRAWAL,)
    lines = [
        DISCLAIMER if analysis.provenance else DISCLAIMER_WITHOUT_MODEL,
        SHADOW if analysis.in_shadow else "",
        *(_abstention(abstention) for abstention in analysis.abstentions),
        *(f"{FLAG_HELD_BACK}: {sentence}" for sentence in analysis.flags_held_back),
        *analysis.remarks,
        *_kinds(analysis),
        *_quality_sentences(analysis),
        *_threshold_sources(analysis.findings),
        *_exclusions(analysis),
        *(f"Intended use of {model.model}: {model.intended_use}" for model in (analysis.provenance, analysis.seen_by) if model),
    ]
    return tuple(line for line in map(printable, lines) if line)


def regions_summary(analysis: Analysis, count: int) -> str:
    """Return the paragraph of the region report with `count` regions."""
    if analysis.withdrawn is not None:
        return summary(analysis)
    if count == 0:
        return "No region is reported any more: no finding is present at a known place. The findings report says what was found."
    names = ", ".join(dict.fromkeys(finding.concept.meaning for finding in analysis.findings if finding.presence is Presence.PRESENT))
    return f"{count} region{'s' if count > 1 else ''} that the model attended to for: {names}. The findings report says what was found."


def regions_comments(analysis: Analysis) -> tuple[str, ...]:
    """Return the comments of the region report: what an outline by this software is, and is not."""
    return comments(analysis)[:1] if analysis.withdrawn is not None else (comments(analysis)[0], REGION)


def completion_description(analysis: Analysis) -> str:
    """Return Completion Flag Description (0040,A492) for a report that is PARTIAL."""
    if analysis.withdrawn is not None:
        return "Withdrawn"
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
    if analysis.in_shadow and not _no_findings_wanted(analysis):
        scored = "scores are reported, no finding is asserted or excluded" if analysis.findings else "no scores are reported"
        return f"{partial} SHADOW: the model is not calibrated for this site; {scored} and nothing is flagged.".strip()
    return partial


def _no_findings_wanted(analysis: Analysis) -> bool:
    """True if the route asks for no findings, as opposed to a search that did not come about."""
    return analysis.provenance is None or any(abstention.reason is AbstentionReason.NO_MODEL for abstention in analysis.abstentions)


def _findings(analysis: Analysis) -> str:
    if analysis.outcome in {Outcome.FAILED, Outcome.NOT_ATTEMPTED}:
        return ""
    if not analysis.findings:
        return "No finding was looked for." if _no_findings_wanted(analysis) else "No finding was scored."
    by_label = [list(group) for _, group in groupby(sorted(analysis.findings, key=lambda f: f.label), key=lambda f: f.label)]
    labels_of = Counter(group[0].concept for group in by_label)
    sentences = sorted((_label(group, with_site=labels_of[group[0].concept] > 1) for group in by_label), reverse=True)
    words = " ".join(sentence for _, _, sentence in sentences)
    if all(finding.presence is Presence.ABSENT for finding in analysis.findings):
        return f"No finding above threshold in the checked list. This does not exclude disease. {words}"
    return words


def _label(findings: list[Finding], *, with_site: bool) -> tuple[int, float, str]:
    """Return the rank of a label (present first, then undetermined), its highest score and its sentence.

    `with_site` tells labels of one concept apart: the left eye, the right eye, both.
    """
    order = (Presence.ABSENT, Presence.UNDETERMINED, Presence.PRESENT)
    highest = max(findings, key=lambda finding: (order.index(finding.presence), finding.score))
    same = sum(finding.presence is highest.presence for finding in findings)
    where = f" on {same} of {len(findings)} images, highest" if len(findings) > 1 else ""
    where = f" for the patient, from {len(highest.images)} images together" if highest.others else where
    if highest.calibrated:
        threshold = "" if highest.threshold is None else f", threshold {percent(highest.threshold):g} %"
        number = f"{percent(highest.score):g} %{threshold}"
    else:
        number = f"uncalibrated score {highest.score:.4f}"
    site = f", {highest.site.meaning.lower()}" if with_site and highest.site else ""
    sentence = f"{highest.concept.meaning}{site}: {highest.presence.value}{where} ({number})."
    return order.index(highest.presence), highest.score, sentence


def _quality(analysis: Analysis) -> str:
    if analysis.grade is None:
        return ""
    measured, seen = (_defects(analysis, by_model=by_model) for by_model in (False, True))
    named = "; ".join(filter(None, (measured, f"as the model sees it: {seen}" if seen else "")))
    return f"Image quality: {_GRADE[analysis.grade]}{f' ({named})' if named else ''}."


def _defects(analysis: Analysis, *, by_model: bool) -> str:
    found = (verdict for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC)
    return ", ".join(dict.fromkeys(verdict.code.meaning for verdict in found if verdict.by_model is by_model))


def _abstention(abstention: Abstention) -> str:
    count = len(abstention.images)
    extent = f", {count} image{'s' if count > 1 else ''}" if count else ""
    return f"{NOT_ANALYSED} ({abstention.reason.value}{extent}): {abstention.detail}"


def _kinds(analysis: Analysis) -> Iterator[str]:
    """Say once for each kind what the model takes images for, so that a person can contradict it."""
    told: dict[tuple[str, bool], list[ImageKind]] = {}
    for kind in analysis.kinds:
        told.setdefault((kind.kind, kind.expected), []).append(kind)
    for (words, expected), kinds in told.items():
        count = sum(len(kind.images) for kind in kinds)
        lowest = min(kind.probability for kind in kinds)
        probability = f"p = {lowest:.2f}" if len(kinds) == 1 else f"p from {lowest:.2f}"
        judged = "as this route expects" if expected else "compared with nothing: this route expects no kind of image"
        yield f"The model takes {count} image{'s' if count > 1 else ''} for {words} ({probability}), {judged}"


def _quality_sentences(analysis: Analysis) -> Iterator[str]:
    """Say each defect once, with the number of images that have it and who found it; then what the model was asked in vain."""
    found: dict[tuple[str, str, str], list[QualityVerdict]] = {}
    for verdict in analysis.quality:
        if verdict.grade is not QualityGrade.DIAGNOSTIC:
            found.setdefault((verdict.check, verdict.sentence, verdict.threshold_source), []).append(verdict)
    for (_, sentence, source), verdicts in found.items():
        images = len({verdict.image for verdict in verdicts})
        extent = f" ({images} images)" if images > 1 else ""
        yield f"Image quality{extent}{_asked(verdicts, analysis)}: {sentence} Limit from: {source}"
    asked = dict.fromkeys(verdict.check for verdict in analysis.quality if verdict.by_model)
    if unseen := [check.removeprefix(PROMPT) for check in asked if check not in {check for check, _, _ in found}]:
        yield f"Image quality, asked of the model and not seen: {', '.join(unseen)}"


def _asked(verdicts: Sequence[QualityVerdict], analysis: Analysis) -> str:
    """Who says so, if it is the model, and how clearly."""
    highest = max(verdicts, key=lambda verdict: verdict.measured)
    if not highest.by_model:
        return ""
    model = analysis.sight.model if analysis.sight else "the model"
    return f", asked of {model} ({highest.check}, score {highest.measured:.4g}, limit {highest.threshold:.4g})"


def _threshold_sources(findings: Iterable[Finding]) -> Iterator[str]:
    used = {finding.label: finding for finding in findings if finding.threshold is not None}
    for finding in used.values():
        yield f"Threshold of {finding.concept.meaning}: {percent(finding.threshold or 0):g} %, from: {finding.threshold_source}"


def _exclusions(analysis: Analysis) -> Iterator[str]:
    for reason, count in Counter(exclusion.reason for exclusion in analysis.excluded).items():
        yield f"Left out on purpose, {count} instance{'s' if count > 1 else ''}: {reason}"

"""What stands on the page for people: the words of the secondary capture and of the PDF, before anybody draws them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from inference.findings import (
    HEAT_WARNING,
    NO_PLACE,
    Analysis,
    Finding,
    FlagLevel,
    ImageRef,
    Outcome,
    Presence,
    QualityGrade,
    Region,
)
from reporting import narrative
from reporting.attributes import SourceHeader, printable
from reporting.companions.instance import local_time
from reporting.companions.lettering import drawable
from reporting.companions.picture import Colour, HeatPicture, Picture, finding_under, heat_to_show, images_to_show
from reporting.result import PreviousReport, Producer

BANNER = "UNVERIFIED AI RESULT"
BANNER_NOTE = "not read by a radiologist; not for primary diagnosis"
_GRADE = {QualityGrade.DIAGNOSTIC: "Diagnostic", QualityGrade.LIMITED: "Limited", QualityGrade.NON_DIAGNOSTIC: "Non-diagnostic"}
_FLAG = {FlagLevel.URGENT: "URGENT REVIEW SUGGESTED", FlagLevel.EMERGENCY: "EMERGENCY REVIEW SUGGESTED"}
_NO_RESULT = {Outcome.FAILED: "AI analysis FAILED: no result", Outcome.NOT_ATTEMPTED: "NOT ANALYSED: no AI result"}
_ORDER = (Presence.PRESENT, Presence.UNDETERMINED, Presence.ABSENT)
_NAMED = 4  # in the headline; the table has them all
_SHORT_DIGEST = 12  # characters: enough to compare by eye
_TICKS = (0.0, 0.5, 1.0)  # of a heat map's scale
_NOT_DRAWABLE = "(name in a script that this page cannot draw)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One label. `fraction` and `limit` are in [0, 1]; `limit` is None in shadow."""

    name: str
    detail: str
    presence: Presence
    number: str
    fraction: float
    limit: float | None
    remark: str
    flag: FlagLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture with its caption and the outlines on it, in pixels of the original image."""

    picture: Picture
    caption: str
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """An image under a heat map: the colours of its scale from left to right, and the scores that stand below them."""

    picture: Picture
    title: str
    caption: str
    regions: tuple[Region, ...]
    scale: tuple[Colour, ...]
    ticks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All words of one result, most important first."""

    patient: str
    person: str
    study: str
    flag: str
    level: FlagLevel
    headline: str
    explanation: str
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    quality: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    disclaimer: str
    pictures: tuple[Shown, ...]
    heat: tuple[Heat, ...] = ()


def page_of(
    analysis: Analysis,
    header: SourceHeader,
    producer: Producer,
    *,
    previous: PreviousReport | None = None,
    pictures: Sequence[Picture] = (),
    heat_pictures: Sequence[HeatPicture] = (),
) -> Page:
    """Return the page of an analysis. `header` is that of the first input, `previous` the page that this one replaces."""
    headline, explanation = _headline(analysis)
    return Page(
        patient=_name(header),
        person=" · ".join(_person(header)),
        study=" · ".join(_study(header)),
        flag=_FLAG.get(analysis.flag, ""),
        level=analysis.flag,
        headline=headline,
        explanation=explanation,
        rows=tuple(_rows(analysis)),
        missing=tuple(_missing(analysis)),
        quality=tuple(_quality(analysis)),
        facts=tuple(_facts(analysis, header, producer, previous)),
        disclaimer=_disclaimer(analysis),
        pictures=tuple(_shown(analysis, pictures)),
        heat=tuple(_heat(analysis, heat_pictures)),
    )


def _disclaimer(analysis: Analysis) -> str:
    if analysis.withdrawn is not None:
        return narrative.DISCLAIMER_OF_WITHDRAWAL
    return narrative.DISCLAIMER if analysis.provenance else narrative.DISCLAIMER_WITHOUT_MODEL


def _name(header: SourceHeader) -> str:
    """Return the name's groups as the header has them (PS3.5 6.2.1.1), those that can be drawn."""
    groups = [_group(group) for group in header.text("PatientName").split("=")]
    shown = [group for group in groups if group and drawable(group)]
    if not shown:
        return _NOT_DRAWABLE if any(groups) else "(no patient name)"
    first, *others = shown
    return f"{first} ({' / '.join(others)})" if others else first


def _group(group: str) -> str:
    family, _, others = group.partition("^")
    given = " ".join(part for part in others.split("^") if part)
    return ", ".join(part for part in (family.strip(), given) if part)


def _person(header: SourceHeader) -> Iterator[str]:
    issuer = header.text("IssuerOfPatientID")
    yield f"ID {header.text('PatientID') or '(none)'}{f' ({issuer})' if issuer else ''}"
    if born := header.date("PatientBirthDate"):
        yield f"born {_day(born)}"
    if sex := header.text("PatientSex"):
        yield f"sex {sex}"


def _study(header: SourceHeader) -> Iterator[str]:
    if text := header.text("StudyDescription"):
        yield text
    if day := header.date("StudyDate"):
        time = header.time("StudyTime")
        yield f"{_day(day)} {time[:2]}:{time[2:4] or '00'}" if time else _day(day)
    if accession := header.text("AccessionNumber"):
        yield f"accession {accession}"


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _headline(analysis: Analysis) -> tuple[str, str]:
    """Return the sentence that must be seen, and the one that must not be missed."""
    if analysis.withdrawn is not None:
        return "WITHDRAWN", printable(f"What was reported before is withdrawn: {analysis.withdrawn}")
    if no_result := _NO_RESULT.get(analysis.outcome):
        return no_result, "This is not a negative result."
    sentence, limits = _answer(analysis)
    partial = "PARTIAL result: not everything could be analysed. " if analysis.outcome is Outcome.PARTIAL else ""
    return sentence, f"{partial}{limits}"


def _answer(analysis: Analysis) -> tuple[str, str]:
    present = dict.fromkeys(finding.concept.meaning for finding in analysis.findings if finding.presence is Presence.PRESENT)
    if present:
        others = len({finding.concept for finding in analysis.findings}) > len(present)
        limits = "To be checked by a person." + (" A low score of the others does not exclude disease." if others else "")
        named = ", ".join(tuple(present)[:_NAMED])
        more = f" and {len(present) - _NAMED} more" if len(present) > _NAMED else ""
        return printable(f"Present: {named}{more}"), limits
    if not analysis.findings:
        looked = "No finding was looked for" if analysis.provenance is None else "No finding was scored"
        return looked, "This says nothing about disease."
    if analysis.in_shadow:
        return "SHADOW: scores only", "The model is not calibrated for this site. Nothing is asserted, excluded or flagged."
    if all(finding.presence is Presence.ABSENT for finding in analysis.findings):
        return "No finding above threshold", "Of the checked list only. This does not exclude disease."
    return "Undetermined", "Nothing is asserted or excluded."


def _rows(analysis: Analysis) -> Iterator[Row]:
    """One row for each label: its clearest image. Present ones first, each by score."""
    labels = [list(group) for _, group in groupby(sorted(analysis.findings, key=lambda f: f.label), key=lambda f: f.label)]
    made = [_row(findings) for findings in labels]
    yield from sorted(made, key=lambda row: (_ORDER.index(row.presence), -row.fraction, row.name))


def _row(findings: Sequence[Finding]) -> Row:
    clearest = min(findings, key=lambda finding: (_ORDER.index(finding.presence), -finding.score))
    same = sum(finding.presence is clearest.presence for finding in findings)
    extent = f"{same} of {len(findings)} images" if len(findings) > 1 else ""
    extent = f"{len(clearest.images)} images together" if clearest.others else extent
    coded = f"{clearest.concept.scheme} {clearest.concept.value}"
    site = clearest.site.meaning if clearest.site else ""
    flag = max(finding.flag for finding in findings)
    if clearest.calibrated and clearest.threshold is not None:
        number, limit = f"{narrative.percent(clearest.score):g} %", f"threshold {narrative.percent(clearest.threshold):g} %"
    else:
        number, limit = f"{clearest.score:.4f}", "uncalibrated score"
    return Row(
        name=printable(clearest.concept.meaning),
        detail=printable(" · ".join(part for part in (site, coded, extent) if part)),
        presence=clearest.presence,
        number=number,
        fraction=clearest.score,
        limit=clearest.threshold,
        remark=limit,
        flag=flag,
    )


def _missing(analysis: Analysis) -> Iterator[str]:
    for abstention in analysis.abstentions:
        count = len(abstention.images)
        extent = f" ({count} image{'s' if count > 1 else ''})" if count else ""
        yield printable(f"{abstention.reason.value.capitalize()}{extent}: {abstention.detail}")
    for sentence in analysis.flags_held_back:
        yield printable(f"{narrative.FLAG_HELD_BACK}: {sentence}")
    for reason, count in Counter(exclusion.reason for exclusion in analysis.excluded).items():
        yield printable(f"Left out on purpose ({count} instance{'s' if count > 1 else ''}): {reason}")


def _quality(analysis: Analysis) -> Iterator[str]:
    if analysis.grade is None:
        return
    images = len({verdict.image for verdict in analysis.quality})
    yield f"{_GRADE[analysis.grade]}{f' ({images} images together)' if images > 1 else ''}"
    defects = [verdict for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC]
    ranked = sorted(defects, key=lambda verdict: (-verdict.grade, verdict.code.meaning))
    for (meaning, by_model), group in groupby(ranked, key=lambda verdict: (verdict.code.meaning, verdict.by_model)):
        found = list(group)
        images = len({verdict.image for verdict in found})
        seen = "as the model sees it" if by_model else f"{found[0].check} {found[0].measured:.3g}, limit {found[0].threshold:.3g}"
        extent = f", {images} images" if images > 1 else ""
        yield printable(f"{meaning} ({_GRADE[found[0].grade].lower()}{extent}; {seen})")


def _facts(analysis: Analysis, header: SourceHeader, producer: Producer, previous: PreviousReport | None) -> Iterator[tuple[str, str]]:
    """Where the numbers come from."""
    if model := analysis.provenance:
        yield "Model", printable(f"{model.model} {model.version}, {model.manufacturer}")
        yield "Weights", f"sha256 {model.weights_digest[:_SHORT_DIGEST]}"
        yield "Prompt set", printable(f"{model.prompt_set}, sha256 {model.prompt_set_digest[:_SHORT_DIGEST]}")
        yield "Calibration", printable(model.calibration_id or "none for this site (shadow)")
        yield "Intended use", printable(model.intended_use)
    if sight := analysis.seen_by:
        yield "Image kind by", printable(f"{sight.model} {sight.version}, sha256 {sight.weights_digest[:_SHORT_DIGEST]}")
    for kind in dict.fromkeys((kind.kind, kind.expected) for kind in analysis.kinds):
        yield "Image taken for", printable(f"{kind[0]}{'' if kind[1] else ' (compared with nothing)'}")
    yield "Route", f"{analysis.route}, revision {analysis.revision}, {len(analysis.inputs)} image{'' if len(analysis.inputs) == 1 else 's'}"
    if previous is not None:
        yield "Replaces", f"number {previous.instance_number} of this series, which does not stand any more"
    at = local_time(analysis, header)
    yield "Made", f"{at:%Y-%m-%d %H:%M:%S %z} by {producer.model_name} {producer.software_version} ({producer.ae_title})"


def _shown(analysis: Analysis, pictures: Sequence[Picture]) -> Iterator[Shown]:
    """The pictures in the order of `images_to_show`, each with the outlines of what is present on it."""
    by_image = {picture.image: picture for picture in pictures}
    for picture in (by_image[image] for image in images_to_show(analysis) if image in by_image):
        present = [finding for finding in analysis.findings if finding.presence is Presence.PRESENT and picture.image in finding.images]
        regions = tuple(region for finding in present for region in finding.regions if region.image == picture.image)
        names = ", ".join(dict.fromkeys(finding.concept.meaning for finding in present))
        where = _where(picture.image, analysis)
        yield Shown(picture=picture, caption=printable(f"{where}: {names}" if names else where), regions=regions)


def _heat(analysis: Analysis, pictures: Sequence[HeatPicture]) -> Iterator[Heat]:
    """The heat maps in the order of `heat_to_show`: of what, where, by which model, and what such a map does not say."""
    by_grid = {picture.heat: picture for picture in pictures}
    model = analysis.provenance
    for grid in heat_to_show(analysis):
        if grid not in by_grid or model is None:
            continue
        finding = finding_under(grid, analysis)
        regions = tuple(region for region in finding.regions if region.image == grid.image)
        where = f", {_where(grid.image, analysis).lower()}" if len(analysis.inputs) > 1 or len(finding.images) > 1 else ""
        given = f"A map of {model.model} {model.version}, which gives this image the score {grid.score:.3f}."
        yield Heat(
            picture=by_grid[grid].picture,
            title=printable(f"Heat map: {finding.concept.meaning}{where}"),
            caption=printable(f"{given} {HEAT_WARNING if regions else NO_PLACE}"),
            regions=regions,
            scale=by_grid[grid].scale,
            ticks=tuple(f"{grid.left_at(share):.3f}" for share in _TICKS),
        )


def _where(image: ImageRef, analysis: Analysis) -> str:
    """The image by its number on the page, and the frame if it is not the first."""
    numbered = {one.sop_instance_uid: number for number, one in enumerate(analysis.inputs, start=1)}
    frame = f", frame {image.frame_number}" if image.frame_number and image.frame_number > 1 else ""
    return f"Image {numbered.get(image.sop_instance_uid, '?')}{frame}"

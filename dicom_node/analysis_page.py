"""The page of `dicom-node analyse`: what was said of each study in words, and the pictures beside it. One folder, nothing from outside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from dicom_node.commands.status import in_words
from inference.explanation import Illustrated
from inference.findings import Analysis

PAGE = "index.html"
PICTURES = "pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShownPicture:
    """A picture as a file beside the page."""

    file: str
    caption: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShownStudy:
    """One analysis in lines of text."""

    analysis: Analysis
    findings: tuple[str, ...]
    quality: tuple[str, ...]
    reasons: tuple[str, ...]
    pictures: tuple[_ShownPicture, ...]


def write_page(folder: Path, analyses: Sequence[Illustrated], skipped: Sequence[str]) -> Path:
    """Write the page and its pictures into a folder that exists; return the page. `skipped`: a line for each file that was left out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dicom_node", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    studies = [_study(folder, number, illustrated) for number, illustrated in enumerate(analyses, start=1)]
    page = folder / PAGE
    page.write_text(environment.get_template("analysis.html.j2").render(studies=studies, skipped=skipped), encoding="utf-8")
    return page


def findings_in_words(analysis: Analysis) -> list[str]:
    """Return a line for each finding, then what the images look like, and how much of a slide was looked at."""
    shown = dict.fromkeys(f"looks like {kind.kind}, p = {kind.probability:.2f}" for kind in analysis.kinds)
    return [*map(in_words, analysis.findings), *shown, *analysis.remarks]


def quality_in_words(analysis: Analysis) -> list[str]:
    """Return a line for each fault; if there is none, that nothing is wrong, or that nobody looked."""
    poor = sorted({f"{verdict.sentence} ({verdict.check})" for verdict in analysis.quality if verdict.grade})
    return poor or ["nothing wrong" if analysis.quality else "not checked"]


def reasons_in_words(analysis: Analysis) -> list[str]:
    """Return a line for each reason for which something was not answered."""
    return sorted({f"{abstention.reason.value}: {abstention.detail}" for abstention in analysis.abstentions})


def _study(folder: Path, number: int, illustrated: Illustrated) -> _ShownStudy:
    analysis = illustrated.analysis
    return _ShownStudy(
        analysis=analysis,
        findings=tuple(findings_in_words(analysis)),
        quality=tuple(quality_in_words(analysis)),
        reasons=tuple(reasons_in_words(analysis)),
        pictures=tuple(_pictures(folder, number, illustrated)),
    )


def _pictures(folder: Path, number: int, illustrated: Illustrated) -> Iterator[_ShownPicture]:
    """Write the pictures of the analysis with this number."""
    for count, picture in enumerate(illustrated.pictures, start=1):
        name = f"{PICTURES}/{number:03d}-{count}.png"
        (folder / PICTURES).mkdir(exist_ok=True)
        (folder / name).write_bytes(picture.png())
        rows, columns = picture.pixels.shape[:2]
        yield _ShownPicture(file=name, caption=picture.caption, rows=rows, columns=columns)

"""The page of an evaluation: one HTML file that asks for nothing from outside, with curves, tables and pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from dicom_node.evaluation.examples import ConceptExamples, FaultStrip
from dicom_node.evaluation.metrics import Estimate
from dicom_node.evaluation.results import Choice, ConceptResult, DegradationResult, Evaluation
from dicom_node.evaluation.wording import (
    BASELINE,
    BETTER,
    DISCLAIMER,
    INTERVALS,
    WORSE,
    accuracy_name,
    against_baseline,
    data_in_words,
    has_several_sources,
    in_words,
    share_in_words,
    shown_sources,
)
from inference.charts import COLOURS, Series, line_chart

_LOWEST, _WIDTH = 0.4, 150  # left end of the axis of intervals, and its length in pixels
_TONES = {BETTER: "good", WORSE: "stop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures of the page."""

    concepts: tuple[ConceptExamples, ...]
    faults: tuple[FaultStrip, ...]

    def of(self, prompt_set: str, label: str) -> ConceptExamples | None:
        return next((one for one in self.concepts if (one.prompt_set, one.label) == (prompt_set, label)), None)

    def of_fault(self, kind: str) -> FaultStrip | None:
        return next((one for one in self.faults if one.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the confusion matrix: how many images, and their share of the row, in [0, 1]."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The confusion matrix without the labels that no image has and no answer named."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]


def write_page(path: Path, evaluation: Evaluation, pictures: Pictures) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dicom_node.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": _data_uri, "words": in_words, "share": share_in_words}
    page = environment.get_template("page.html.j2").render(
        evaluation=evaluation,
        pictures=pictures,
        figures=_figures(evaluation),
        disclaimer=DISCLAIMER,
        intervals=INTERVALS,
        baseline=BASELINE,
        data=data_in_words(evaluation),
        accuracy_name=accuracy_name,
        verdict=against_baseline,
        tones=_TONES,
        matrix=matrix,
        roc=roc_chart,
        curve=strength_chart,
        whiskers=whiskers,
        shown_sources=shown_sources,
        has_several_sources=has_several_sources,
        colours=COLOURS,
    )
    path.write_text(page, encoding="utf-8")


def matrix(choice: Choice) -> Matrix:
    """Return the confusion matrix as it is shown."""
    used = [index for index, row in enumerate(choice.confusion) if sum(row)]
    shown = [index for index in range(len(choice.labels)) if index in used or any(row[index] for row in choice.confusion)]

    def row(index: int) -> tuple[str, int, tuple[Cell, ...]]:
        counts = choice.confusion[index]
        total = sum(counts)
        cells = tuple(Cell(count=counts[column], share=counts[column] / total, right=column == index) for column in shown)
        return choice.labels[index], total, cells

    return Matrix(columns=tuple(choice.labels[index] for index in shown), rows=tuple(map(row, used)))


def roc_chart(concept: ConceptResult) -> Markup:
    """Return the ROC curves of model and baseline; nothing where one class has no images."""
    if not concept.model_roc:
        return Markup("")
    series = [Series(name=f"model {_short(concept.model_auroc)}", points=concept.model_roc)]
    if concept.baseline_roc:
        series.append(Series(name=f"baseline {_short(concept.baseline_auroc)}", points=concept.baseline_roc, line="dashed"))
    series.append(Series(name="chance", points=((0, 0), (1, 1)), line="reference"))
    return _trusted(series, concept.label, "1 - specificity", "sensitivity", width=330, height=300)


def strength_chart(result: DegradationResult) -> Markup:
    """Return the mean score by strength, with the quartiles shaded and the threshold."""
    steps = result.strengths
    series = [
        Series(
            name="mean score, quartiles",
            points=tuple((step.strength, step.mean_score) for step in steps),
            band=tuple((step.strength, step.lower_quartile, step.upper_quartile) for step in steps),
        ),
        Series(name="threshold", points=((0, result.threshold), (1, result.threshold)), line="reference"),
    ]
    return _trusted(series, result.kind, "strength (0: clean)", "score", width=330, height=250)


def whiskers(model: Estimate, baseline: Estimate) -> Markup:
    """Return both estimates with their intervals on one axis from 0.4 to 1: the model above, the baseline below."""
    if model.value is None and baseline.value is None:
        return Markup("")
    middle = _place(0.5)
    parts = [f'<line x1="{middle:.1f}" y1="0" x2="{middle:.1f}" y2="20" stroke="#d9e0e7"/>']
    for estimate, y, colour in ((model, 6, COLOURS[0]), (baseline, 14, COLOURS[1])):
        if estimate.value is None:
            continue
        if estimate.interval is not None:
            low, high = _place(estimate.interval.low), _place(estimate.interval.high)
            parts.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{_place(estimate.value):.1f}" cy="{y}" r="3" fill="{colour}"/>')
    drawn = "".join(parts)
    return Markup(f'<svg width="{_WIDTH + 8}" height="20" aria-hidden="true">{drawn}</svg>')  # noqa: S704 - numbers and our own colours


def _place(value: float) -> float:
    return 4 + (max(value, _LOWEST) - _LOWEST) / (1 - _LOWEST) * _WIDTH


def _trusted(series: Sequence[Series], title: str, x_label: str, y_label: str, *, width: int, height: int) -> Markup:
    picture = line_chart(series, title=title, x_label=x_label, y_label=y_label, x_range=(0, 1), y_range=(0, 1), width=width, height=height)
    return Markup(picture)  # noqa: S704 - the chart escapes its words


def _short(estimate: Estimate) -> str:
    return "" if estimate.value is None else f"{estimate.value:.3f}"


def _figures(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """Name and number of what stands first on the page."""
    figures = [("images shown to the model", str(evaluation.images)), ("patients, or images without one", str(evaluation.patients))]
    for result in evaluation.prompt_sets:
        if result.choice is not None and result.choice.macro_accuracy.value is not None:
            figures.append((f"macro accuracy, {result.prompt_set}", f"{result.choice.macro_accuracy.value:.3f}"))
    if evaluation.degradation is not None and evaluation.degradation.any_false_alarm.value is not None:
        figures.append(("clean images with any false alarm", f"{100 * evaluation.degradation.any_false_alarm.value:.1f} %"))
    return (*figures, ("rows left out, with reason", str(len(evaluation.left_out))))


def _data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"

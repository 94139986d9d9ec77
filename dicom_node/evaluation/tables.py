"""An evaluation on the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.evaluation.answers import LeftOut
from dicom_node.evaluation.metrics import Estimate
from dicom_node.evaluation.results import Choice, DegradationStudy, Evaluation, PromptSetResult
from dicom_node.evaluation.wording import (
    BALANCED_ACCURACY,
    BASELINE,
    BETTER,
    DISCLAIMER,
    INTERVALS,
    RECALL,
    SAME,
    WORSE,
    accuracy_name,
    against_baseline,
    data_in_words,
    has_several_sources,
    in_words,
    share_in_words,
    shown_sources,
)

_SHOWN_MISTAKES, _SHOWN_REASONS = 10, 10
_COLOURS = {BETTER: "green", SAME: "yellow", WORSE: "red"}
_SHORT = {RECALL: "recall", BALANCED_ACCURACY: "bal.acc."}


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print the tables, then what was left out and how to read them."""
    console.print(
        f"[bold]{evaluation.model} {evaluation.model_version}[/bold] on {escape(data_in_words(evaluation))}. [bold]{DISCLAIMER}[/bold]"
    )
    for result in evaluation.prompt_sets:
        console.print(_concepts(result))
        if any(concept.at_threshold for concept in result.concepts):
            console.print(_thresholds(result))
        if result.choice is not None:
            _print_choice(result.choice, console)
        if has_several_sources(result):
            console.print(_sources(result))
    if evaluation.degradation is not None:
        _print_degradation(evaluation.degradation, console)
    _print_left_out(evaluation, console)
    console.print(f"{INTERVALS}\n{BASELINE}", style="dim")


def _concepts(result: PromptSetResult) -> Table:
    table = _table(f"{result.prompt_set} version {result.version} ({result.recipe}), {result.images} images")
    table.add_column("Label", overflow="fold")
    for column in ("n", "pos.", "AUROC", "95 %", "base", _SHORT[accuracy_name(result)], "base", "vs base"):
        table.add_column(column, justify="right", no_wrap=True)
    for concept in result.concepts:
        verdict = against_baseline(concept)
        table.add_row(
            concept.label,
            str(concept.images),
            str(concept.positives),
            _value(concept.model_auroc),
            _interval(concept.model_auroc),
            _value(concept.baseline_auroc),
            _value(concept.model_accuracy),
            _value(concept.baseline_accuracy),
            f"[{_COLOURS[verdict]}]{verdict}[/{_COLOURS[verdict]}]" if verdict else "-",
        )
    return table


def _thresholds(result: PromptSetResult) -> Table:
    table = _table(f"{result.prompt_set}, at the thresholds of the model's manifest")
    table.add_column("Label", overflow="fold")
    for column in ("threshold", "found", "95 %", "false alarms", "95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for concept in result.concepts:
        if (at := concept.at_threshold) is not None:
            shares = (_percent(at.detected), _interval(at.detected), _percent(at.false_alarms), _interval(at.false_alarms))
            table.add_row(concept.label, f"{at.threshold:.3f}", *shares)
    return table


def _print_choice(choice: Choice, console: Console) -> None:
    console.print(
        f"Macro accuracy over {len(choice.counted)} labels with at least {choice.fewest_images} images:"
        f" [bold]{escape(_or_why(choice.macro_accuracy))}[/bold], baseline {escape(_or_why(choice.baseline_macro_accuracy))};"
        f" accuracy over all images {escape(in_words(choice.accuracy))}"
    )
    mistaken = sorted(
        (
            (count, true, taken)
            for true, row in zip(choice.labels, choice.confusion, strict=True)
            for taken, count in zip(choice.labels, row, strict=True)
            if count and true != taken
        ),
        reverse=True,
    )
    if mistaken:
        told = ", ".join(f"{true} for {taken} ({count})" for count, true, taken in mistaken[:_SHOWN_MISTAKES])
        console.print(f"Most often mistaken: {escape(told)}")


def _sources(result: PromptSetResult) -> Table:
    table = _table(f"{result.prompt_set}, source by source")
    table.add_column("Source", overflow="fold")
    table.add_column("Label", overflow="fold")
    for column in ("n", "pos.", "AUROC", "base", _SHORT[accuracy_name(result)], "base"):
        table.add_column(column, justify="right", no_wrap=True)
    last = ""
    for row in shown_sources(result):
        figures = (row.model_auroc, row.baseline_auroc, row.model_accuracy, row.baseline_accuracy)
        source = escape(row.source) if row.source != last else ""
        table.add_row(source, row.label, str(row.images), str(row.positives), *map(_value, figures))
        last = row.source
    return table


def _print_degradation(study: DegradationStudy, console: Console) -> None:
    table = _table(f"{study.prompt_set}: {study.images} clean images, degraded on purpose")
    table.add_column("Kind", overflow="fold")
    for column in ("n", "AUROC .25 to 1", "95 %", "rank", "found", "false", "limit"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in study.kinds:
        steps = " ".join(f"{step.auroc:.2f}" for step in kind.strengths if step.auroc is not None)
        rank = "" if kind.rank_of_means is None else f"{kind.rank_of_means:.2f}"
        reported = (_value(kind.detected), _value(kind.false_alarms), f"{kind.threshold:.3f}")
        table.add_row(kind.kind, str(kind.images), steps, _interval(kind.medium), rank, *reported)
    console.print(table)
    sources = sorted({kind.threshold_source for kind in study.kinds})
    console.print(
        f"Rank correlation (Spearman) of strength with mean score / with every score. Thresholds: {'; '.join(sources)}.", style="dim"
    )
    console.print(f"Clean images with any false alarm: {escape(share_in_words(study.any_false_alarm))}")
    for rotated in study.rotated:
        console.print(f"Rotated against upright, {rotated.image_kind} ({rotated.images}): AUROC {escape(in_words(rotated.auroc))}")
    if study.not_studied:
        console.print(f"Not studied, too few clean images or not a label: {', '.join(study.not_studied)}", style="yellow")


def _print_left_out(evaluation: Evaluation, console: Console) -> None:
    left = evaluation.left_out
    if not left:
        return
    console.print(f"Not shown to the model: {len(left)} images (each of them: --json or --output)", style="yellow")
    reasons: dict[str, list[LeftOut]] = {}
    for one in left:
        reasons.setdefault(one.reason, []).append(one)
    for reason, rows in list(reasons.items())[:_SHOWN_REASONS]:
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        console.print(f"  line {rows[0].line}{more}: {reason}", style="yellow", highlight=False, markup=False)
    if len(reasons) > _SHOWN_REASONS:
        console.print(f"  ... and {len(reasons) - _SHOWN_REASONS} more reasons", style="yellow")


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _value(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.3f}"


def _percent(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{100 * estimate.value:.1f} %"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.interval.low:.2f}-{estimate.interval.high:.2f}" if estimate.interval else ""


def _or_why(estimate: Estimate) -> str:
    return estimate.note if estimate.value is None else in_words(estimate)

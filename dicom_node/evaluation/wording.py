"""Figures in words, the same on the terminal and on the page."""

from dicom_node.evaluation.metrics import Estimate
from dicom_node.evaluation.results import ConceptResult, Evaluation, PromptSetResult, SourceResult

DISCLAIMER = "Not a diagnosis; not a clinical validation."
INTERVALS = (
    "Intervals: 95 %, bootstrap over patients (over images where no patient is known). An interval of no width says that no error was seen"
    " among so many images, not that there are none."
)
BASELINE = (
    "Shortcut baseline: ridge regression on 32 x 32 grey pixels of the same images, cross-validated in five folds that never split a"
    " patient. Where the model does no better, its answer may be a property of the source rather than of what it should see."
)
BETTER, SAME, WORSE = "better", "no better", "worse"
RECALL, BALANCED_ACCURACY = "Recall", "Balanced accuracy"


def in_words(estimate: Estimate) -> str:
    """Return 0.987 [0.981, 0.993]; a dash if there is no figure."""
    if estimate.value is None:
        return "-"
    interval = f" [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]" if estimate.interval else ""
    return f"{estimate.value:.3f}{interval}"


def share_in_words(estimate: Estimate) -> str:
    """Return 98.7 % [98.1, 99.3]; a dash if there is no figure."""
    if estimate.value is None:
        return "-"
    interval = f" [{100 * estimate.interval.low:.1f}, {100 * estimate.interval.high:.1f}]" if estimate.interval else ""
    return f"{100 * estimate.value:.1f} %{interval}"


def against_baseline(concept: ConceptResult) -> str:
    """Return what the interval of the difference in AUROC says of the model against the baseline; empty if there is none."""
    interval = concept.difference.interval
    if interval is None:
        return ""
    if interval.low > 0:
        return BETTER
    return WORSE if interval.high < 0 else SAME


def accuracy_name(result: PromptSetResult) -> str:
    """Return what accuracy means for this prompt set."""
    return RECALL if result.choice else BALANCED_ACCURACY


def shown_sources(result: PromptSetResult) -> tuple[SourceResult, ...]:
    """Return the rows of single sources that have a figure. Where presence is asked, a source of one class only has none."""
    return tuple(row for row in result.sources if result.choice is not None or row.model_auroc.value is not None)


def has_several_sources(result: PromptSetResult) -> bool:
    """True if a table source by source says more than the one over all."""
    return len({row.source for row in result.sources}) > 1 and bool(shown_sources(result))


def data_in_words(evaluation: Evaluation) -> str:
    split = f", split {evaluation.split}" if evaluation.split else ""
    return f"{evaluation.images} images of {evaluation.patients} patients or single images from {evaluation.data}{split}"

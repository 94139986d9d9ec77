"""`dicom-node evaluate`: how well an installed model answers its prompts on labelled images, with a shortcut baseline beside it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from config import Catalogue, ConfigurationError
from config.manifests import ModelManifest
from config.preferences import acknowledgement, may_be_used
from config.prompt_sets import PromptSet
from config.schema import Settings
from dicom_node.commands.opening import FAILED, USAGE, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from dicom_node.delivery import utc_now
from dicom_node.evaluation.answers import Answers, ask, scores_of
from dicom_node.evaluation.concepts import NO_SOURCE, Judged, judge
from dicom_node.evaluation.degraded import Plan, plan, study
from dicom_node.evaluation.examples import ConceptExamples, Gallery
from dicom_node.evaluation.manifest import LabelledData, read_labelled_data, sampled, with_something_known
from dicom_node.evaluation.page import Pictures, write_page
from dicom_node.evaluation.pictures import UnusableImageError
from dicom_node.evaluation.results import DegradationStudy, Evaluation, PromptSetResult
from dicom_node.evaluation.tables import print_evaluation
from dicom_node.version import node_version
from inference.adapters import DeviceMemoryError, ModelLoadError, ModelOutputError
from inference.damage.degradations import KINDS

if TYPE_CHECKING:
    from inference.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is evaluated, and how. `quality`: the prompt set of the faults that images are degraded with; None: they are not."""

    settings: Settings
    catalogue: Catalogue
    manifest: ModelManifest
    prompt_sets: tuple[PromptSet, ...]
    quality: PromptSet | None
    data: LabelledData
    seed: int

    @property
    def maximum_megapixels(self) -> float:
        return self.settings.work.maximum_frame_megapixels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """The figures, and what pictures can be taken from."""

    answers: Answers
    results: tuple[PromptSetResult, ...]
    judged: tuple[Judged, ...]
    planned: Plan | None
    degradation: DegradationStudy | None


def evaluate(
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of an installed model.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="CSV table: a row an image (PNG, JPEG, TIFF, DICOM).", dir_okay=False)],
    prompt_set: Annotated[
        list[str] | None, typer.Option("--prompt-set", "-p", help="May be repeated. Without it: all of the model.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Label rules (YAML) for a table of another make.", dir_okay=False)] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only rows whose column `split` says so.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many images, drawn at random.")] = None,
    degrade: Annotated[bool, typer.Option("--degrade", help="Degrade clean images on purpose, and see whether it is noticed.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json and index.html.", file_okay=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all that is random: the same seed, the same figures.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate: measure a model on labelled images, next to a baseline that sees only 32 x 32 grey pixels. No clinical validation.

    The columns of the table: `path`, and if known `patient`, `source`, `modality`, `split`, `frame`. The labels: for a prompt set that
    chooses among kinds a column of its name (or `label`), for the others a column named as each label, with 1, 0 or nothing.

    Example: dicom-node evaluate --model gatekeeper --data labelled.csv --output evaluation
    """
    settings, catalogue = settings_and_catalogue(config)
    manifest = _manifest(catalogue, settings, model)
    asked = _asked(catalogue, manifest, prompt_set or [])
    quality = _with_faults(asked, manifest) if degrade else None
    task = _Task(
        settings=settings,
        catalogue=catalogue,
        manifest=manifest,
        prompt_sets=asked,
        quality=quality,
        data=_labelled(data, asked, catalogue, manifest, rules=labels, split=split, limit=limit, degrade=degrade, seed=seed),
        seed=seed,
    )
    with _progress() as bar:
        measured = _measure(task, bar)
        found = _evaluation(task, measured, rules=labels, split=split or "")
        if output is not None:
            _write(output, task, measured, found, bar)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        print_evaluation(found, Console())
        if output is not None:
            Console().print(f"Page: {(output / 'index.html').resolve()}", soft_wrap=True, highlight=False)


def _manifest(catalogue: Catalogue, settings: Settings, name: str) -> ModelManifest:
    try:
        manifest = catalogue.manifest(name)
    except KeyError:
        stop_with(f"no model {name!r}; installed: {', '.join(manifest.name for manifest in catalogue.manifests)}", USAGE)
    if not may_be_used(manifest, settings.models.acknowledged_licences):
        stop_with(f"model {name} may not be used: {acknowledgement(name, manifest.licence)} in the settings")
    return manifest


def _asked(catalogue: Catalogue, manifest: ModelManifest, names: Sequence[str]) -> tuple[PromptSet, ...]:
    known = [prompt_set.name for prompt_set in catalogue.prompt_sets]
    for name in names:
        if name not in known:
            stop_with(f"no prompt set {name!r}; installed: {', '.join(known)}", USAGE)
    wanted = tuple(dict.fromkeys(names)) or catalogue.prompt_sets_asked(manifest)
    if not wanted:
        stop_with(f"model {manifest.name} has no gate, no image quality and no route; name a prompt set with --prompt-set", USAGE)
    return tuple(catalogue.prompt_set(name) for name in wanted)


def _with_faults(asked: Sequence[PromptSet], manifest: ModelManifest) -> PromptSet:
    """The prompt set whose labels are kinds of degradation."""
    found = [one for one in asked if one.recipe == "pair-softmax" and any(label.name in KINDS for label in one.labels)]
    if not found:
        names = ", ".join(prompt_set.name for prompt_set in asked)
        stop_with(f"--degrade needs a prompt set with labels such as {KINDS[0]}; {manifest.name} is asked with {names}", USAGE)
    if manifest.gate is None:
        stop_with(f"--degrade needs a model with a gate: the kind of image decides which faults apply; {manifest.name} has none", USAGE)
    return found[0]


def _labelled(
    path: Path,
    asked: Sequence[PromptSet],
    catalogue: Catalogue,
    manifest: ModelManifest,
    *,
    rules: Path | None,
    split: str | None,
    limit: int | None,
    degrade: bool,
    seed: int,
) -> LabelledData:
    """The rows that are going to be shown to the model: those of which something is known."""
    gate = [catalogue.prompt_set(manifest.gate.prompt_set)] if degrade and manifest.gate else []
    wanted = tuple({prompt_set.name: prompt_set for prompt_set in (*asked, *gate)}.values())
    try:
        read = read_labelled_data(path, wanted, installed=catalogue.prompt_sets, rules_file=rules, split=split)
    except ConfigurationError as exc:
        stop_with(str(exc))
    if not read.truths:
        names = ", ".join(prompt_set.name for prompt_set in wanted)
        stop_with(
            f"{path} says nothing about the labels of {names}; see `dicom-node evaluate --help` for the columns, or give --labels", USAGE
        )
    return sampled(with_something_known(read), limit, seed=seed)


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield bar


def _measure(task: _Task, bar: Progress) -> _Measured:
    from inference.engine import Engine, EngineOptions  # noqa: PLC0415 - torch takes seconds to import; mistakes are told before

    work, model = task.settings.work, task.manifest.name
    try:
        options = EngineOptions.of(work)
        engine = Engine(task.catalogue, device=work.device, batch_size=work.batch_size, cache_folder=None, options=options)
        showing = _counter(bar, "Showing images to the model", len(task.data.images))
        answers = ask(engine, task.manifest, task.data, maximum_megapixels=task.maximum_megapixels, progress=showing)
        if not answers.names:
            reasons = "; ".join(dict.fromkeys(left.reason for left in answers.left_out[:3]))
            stop_with(f"none of {len(answers.left_out)} images could be shown to {model}: {reasons}", FAILED)
        judging = _counter(bar, "Measuring, prompt set by prompt set", len(task.prompt_sets))
        judged, results = [], []
        for prompt_set in task.prompt_sets:
            if (one := _judged(engine, model, prompt_set, answers)) is not None:
                judged.append(one)
                results.append(judge(one, prompt_set, task.manifest.quality, seed=task.seed))
            judging()
        planned, degradation = _degrade(task, engine, answers, bar)
    except (ModelLoadError, ModelOutputError, DeviceMemoryError, UnusableImageError) as exc:
        stop_with(str(exc))
    return _Measured(answers=answers, results=tuple(results), judged=tuple(judged), planned=planned, degradation=degradation)


def _judged(engine: "Engine", model: str, prompt_set: PromptSet, answers: Answers) -> Judged | None:
    truth = answers.data.truth(prompt_set.name)
    if truth is None or not truth.known.any():
        return None
    rows = np.flatnonzero(truth.known)
    images = [answers.data.images[row] for row in rows]
    return Judged(
        truth=truth.of(rows),
        rows=rows,
        scores=scores_of(engine, model, prompt_set.name, answers.embeddings[rows]),
        pixels=answers.pixels[rows],
        patients=tuple(image.group for image in images),
        sources=tuple(image.source or NO_SOURCE for image in images),
    )


def _degrade(task: _Task, engine: "Engine", answers: Answers, bar: Progress) -> tuple[Plan | None, DegradationStudy | None]:
    if task.quality is None:
        return None, None
    assert task.manifest.gate is not None
    gate = task.catalogue.prompt_set(task.manifest.gate.prompt_set)
    planned = plan(answers, task.manifest, task.quality, gate)
    if not planned.versions:
        stop_with(f"--degrade: no image can be degraded; it takes clean images whose kind is known (labels of {gate.name})")
    advance = _counter(bar, "Degrading images and asking again", len(planned.versions))
    found = study(engine, task.manifest, answers, planned, maximum_megapixels=task.maximum_megapixels, seed=task.seed, progress=advance)
    return planned, found


def _counter(bar: Progress, what: str, total: int) -> Callable[[], None]:
    counted = bar.add_task(what, total=total)
    return lambda: bar.advance(counted)


def _evaluation(task: _Task, measured: _Measured, *, rules: Path | None, split: str) -> Evaluation:
    manifest, answers = task.manifest, measured.answers
    return Evaluation(
        model=manifest.name,
        model_version=manifest.version,
        weights_digest=manifest.weights.sha256,
        intended_use=manifest.intended_use,
        data=task.data.path.name,
        data_digest=task.data.sha256,
        label_rules=rules.name if rules else "",
        label_rules_digest=sha256(rules.read_bytes()).hexdigest() if rules else "",
        split=split,
        rows=task.data.rows,
        images=len(answers.names),
        patients=len(set(answers.groups.tolist())),
        made_at=utc_now().isoformat(timespec="seconds"),
        seed=task.seed,
        node_version=node_version(),
        prompt_sets=measured.results,
        degradation=measured.degradation,
        left_out=answers.left_out,
    )


def _write(folder: Path, task: _Task, measured: _Measured, found: Evaluation, bar: Progress) -> None:
    gallery = Gallery(answers=measured.answers, maximum_megapixels=task.maximum_megapixels)
    collecting = _counter(bar, "Collecting pictures for the page", len(measured.judged) + 1)
    concepts: list[ConceptExamples] = []
    for judged in measured.judged:
        concepts += gallery.concepts(judged)
        collecting()
    faults = (
        gallery.faults(measured.planned, measured.degradation.kinds, seed=task.seed) if measured.planned and measured.degradation else ()
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
        write_page(folder / "index.html", found, Pictures(concepts=tuple(concepts), faults=tuple(faults)))
    except OSError as exc:
        stop_with(f"cannot write to {folder}: {exc.strerror}; give --output a folder that this user may write to")
    collecting()

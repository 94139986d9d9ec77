"""Clean images, degraded on purpose: does the score of each fault rise with its strength, and does its threshold find it?"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.manifests import FaultLimitSection, ModelManifest
from config.prompt_sets import PromptSet
from config.views import ViewsSection
from dicom_node.evaluation.answers import Answers, scores_of
from dicom_node.evaluation.manifest import TRUE, LabelledImage
from dicom_node.evaluation.metrics import Bootstrap, Estimate, Flags, Floats, auroc, discrimination, group_codes, spearman, weighted_recalls
from dicom_node.evaluation.pictures import UnusableImageError, read_picture
from dicom_node.evaluation.results import DegradationResult, DegradationStudy, RotationResult, StrengthResult
from inference.damage.degradations import KINDS, MEDIUM, WITHOUT_STRENGTH, Kind, applies, degrade
from inference.frames import Frame

if TYPE_CHECKING:
    from inference.engine import Engine

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
ROTATIONS: tuple[Kind, ...] = ("rotated-90", "upside-down", "rotated-270")
_FALSE_ALARMS = 0.01
_FEWEST_IMAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One clean image (its row in the answers), degraded; `kind_number` in KINDS."""

    row: int
    kind_number: int
    strength: float

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to be degraded, image after image, and into what.

    `image_kinds`: label of the gate for each row, "" if unknown. For each of KINDS, `judged` are the clean rows on which the fault can be
    decided, `asked` those on which the node reports it.
    """

    prompt_set: PromptSet
    versions: tuple[Version, ...]
    image_kinds: tuple[str, ...]
    judged: tuple[frozenset[int], ...]
    asked: tuple[frozenset[int], ...]


def plan(answers: Answers, manifest: ModelManifest, prompt_set: PromptSet, gate: PromptSet) -> Plan:
    """Return which clean images are degraded into which kinds: where the fault can be decided, and the manifest has it asked.

    `gate`: the prompt set whose truth says what each image shows.
    """
    image_kinds = _image_kinds(answers, gate)
    patients = frozenset(label.name for label in gate.labels if not label.foreign)
    clean, labels = _clean_rows(answers, prompt_set), {label.name for label in prompt_set.labels}

    def rows(kind: Kind, shown: Collection[str]) -> frozenset[int]:
        usable = (row for row in clean if kind not in answers.data.images[row].unusable_for)
        return frozenset(row for row in usable if kind in labels and image_kinds[row] in shown)

    decidable = {kind: frozenset(label.name for label in gate.labels if applies(kind, label.name)) for kind in KINDS}
    limits = {kind: _limit(manifest, prompt_set.name, kind) for kind in KINDS}
    asked = [rows(kind, (limit.kinds or patients) if (limit := limits[kind]) else decidable[kind]) for kind in KINDS]
    judged = [rows(kind, decidable[kind]) & there for kind, there in zip(KINDS, asked, strict=True)]
    versions = [
        Version(row=row, kind_number=number, strength=strength)
        for row in range(len(answers.names))
        for number, there in enumerate(judged)
        if row in there
        for strength in ((1.0,) if KINDS[number] in WITHOUT_STRENGTH else STRENGTHS)
    ]
    return Plan(prompt_set=prompt_set, versions=tuple(versions), image_kinds=image_kinds, judged=tuple(judged), asked=tuple(asked))


def study(
    engine: "Engine",
    manifest: ModelManifest,
    answers: Answers,
    planned: Plan,
    *,
    maximum_megapixels: float,
    seed: int,
    progress: Callable[[], None],
) -> DegradationStudy:
    """Degrade, ask and measure. `progress` is called once a degraded version. The same seed gives the same faults.

    Raises:
        ModelLoadError, ModelOutputError, DeviceMemoryError: as the engine does.
        UnusableImageError: a file has changed since it was read first.
    """
    frames = _degraded(answers, planned, maximum_megapixels=maximum_megapixels, seed=seed, progress=progress)
    embeddings = engine.embed(manifest.name, frames)
    name, labels = planned.prompt_set.name, [label.name for label in planned.prompt_set.labels]
    clean = scores_of(engine, manifest.name, name, answers.embeddings)
    faulty = scores_of(engine, manifest.name, name, embeddings).reshape(len(planned.versions), len(labels))
    table = _Scored(
        plan=planned,
        labels=tuple(labels),
        groups=tuple(image.group for image in answers.data.images),
        clean=clean,
        faulty=faulty,
        rows=np.array([version.row for version in planned.versions], dtype=np.intp),
        kinds=np.array([version.kind_number for version in planned.versions], dtype=np.intp),
        strengths=np.array([version.strength for version in planned.versions]),
        seed=seed,
    )
    results = [table.kind(number, manifest) for number, rows in enumerate(planned.judged) if len(rows) >= _FEWEST_IMAGES]
    return DegradationStudy(
        prompt_set=name,
        images=len(set(table.rows.tolist())),
        kinds=tuple(results),
        rotated=tuple(table.rotated()),
        any_false_alarm=table.any_false_alarm([result for result in results if _is_asked(result.kind, manifest, name)]),
        not_studied=tuple(kind for kind, rows in zip(KINDS, planned.judged, strict=True) if len(rows) < _FEWEST_IMAGES),
    )


def _image_kinds(answers: Answers, gate: PromptSet) -> tuple[str, ...]:
    """What the gate's truth says each image shows; without it nobody knows which fault applies."""
    truth = answers.data.truth(gate.name)
    if truth is None:
        return ("",) * len(answers.names)
    return tuple(truth.labels[int(row.argmax())] if (row == TRUE).any() else "" for row in truth.values)


def _clean_rows(answers: Answers, prompt_set: PromptSet) -> tuple[int, ...]:
    """The images without any fault that the table knows of."""
    truth = answers.data.truth(prompt_set.name)
    faulty = np.zeros(len(answers.names), dtype=np.bool_) if truth is None else (truth.values == TRUE).any(axis=1)
    return tuple(row for row, image in enumerate(answers.data.images) if image.clean and not faulty[row])


def _degraded(answers: Answers, planned: Plan, *, maximum_megapixels: float, seed: int, progress: Callable[[], None]) -> Iterator[Frame]:
    """The versions in the order of the plan; each image is read once more, because frames are not kept."""
    row, frame = -1, None
    for version in planned.versions:
        image = answers.data.images[version.row]
        if frame is None or version.row != row:
            row, frame = version.row, _read_again(image, answers.views, maximum_megapixels)
        progress()
        yield fault_of(frame, image, version, seed=seed)


def fault_of(frame: Frame, image: LabelledImage, version: Version, *, seed: int) -> Frame:
    """Return the frame of an image, degraded. All strengths of a kind draw the same random numbers: the same fault grows."""
    rng = np.random.default_rng([seed, image.line, version.kind_number])
    return replace(frame, pixels=degrade(frame.pixels, version.kind, version.strength, rng, modality=frame.modality), values=None)


def _read_again(image: LabelledImage, views: ViewsSection, maximum_megapixels: float) -> Frame:
    try:
        return read_picture(image, maximum_megapixels=maximum_megapixels, views=views).frame
    except UnusableImageError as exc:
        raise UnusableImageError(f"line {image.line} of the table was read a moment ago and cannot be read any more: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """Scores `(n, labels)` of the clean images and `(versions, labels)` of the degraded ones."""

    plan: Plan
    labels: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    clean: Floats
    faulty: Floats
    rows: NDArray[np.intp]
    kinds: NDArray[np.intp]
    strengths: Floats
    seed: int

    def kind(self, number: int, manifest: ModelManifest) -> DegradationResult:
        kind = KINDS[number]
        column, rows = self.labels.index(kind), _ordered(self.plan.judged[number])
        clean, asked = self.clean[rows, column], _ordered(self.plan.asked[number])
        strengths = (1.0,) if kind in WITHOUT_STRENGTH else STRENGTHS
        by_strength = {strength: self.faulty[(self.kinds == number) & (self.strengths == strength), column] for strength in strengths}
        medium = by_strength[MEDIUM if MEDIUM in by_strength else strengths[-1]]
        threshold, source = _threshold(manifest, self.plan.prompt_set, kind, clean)
        levels = np.repeat((0.0, *strengths), len(rows))
        every = np.concatenate([clean, *by_strength.values()])
        steps = tuple(_strength(strength, scores, clean) for strength, scores in ((0.0, clean), *by_strength.items()))
        ranked = kind not in WITHOUT_STRENGTH
        return DegradationResult(
            kind=kind,
            images=len(rows),
            asked=len(asked),
            strengths=steps,
            medium=self._against_clean(clean, medium, rows),
            rank_of_means=spearman(np.array([0.0, *strengths]), np.array([step.mean_score for step in steps])) if ranked else None,
            rank_of_images=spearman(levels, every) if ranked else None,
            threshold=threshold,
            threshold_source=source,
            detected=self._share(medium >= threshold, rows),
            false_alarms=self._share(self.clean[asked, column] >= threshold, asked),
        )

    def rotated(self) -> Iterator[RotationResult]:
        """Upright images and the same ones turned, by kind of image and all together: the highest score of any rotation."""
        numbers = [KINDS.index(kind) for kind in ROTATIONS if kind in self.labels]
        columns = [self.labels.index(KINDS[number]) for number in numbers]
        upright = sorted(frozenset.intersection(*(self.plan.judged[number] for number in numbers))) if numbers else []
        kinds = sorted({self.plan.image_kinds[row] for row in upright})
        for image_kind in ("", *kinds) if len(kinds) > 1 else kinds:
            rows = np.array([row for row in upright if image_kind in {"", self.plan.image_kinds[row]}], dtype=np.intp)
            turned = np.isin(self.rows, rows) & np.isin(self.kinds, numbers)
            scores = np.concatenate([self.clean[rows][:, columns].max(axis=1), self.faulty[turned][:, columns].max(axis=1)])
            positive = np.arange(len(scores)) >= len(rows)
            groups = group_codes([self.groups[row] for row in (*rows, *self.rows[turned])])
            result = discrimination(scores, positive, groups, seed=self.seed)
            yield RotationResult(image_kind=image_kind or "all kinds", images=len(rows), auroc=result)

    def any_false_alarm(self, results: Sequence[DegradationResult]) -> Estimate:
        """Of the clean images of which at least one fault is asked, those of which at least one is reported."""
        asked, alarmed = np.zeros(len(self.clean), dtype=np.bool_), np.zeros(len(self.clean), dtype=np.bool_)
        for result in results:
            rows = _ordered(self.plan.asked[KINDS.index(_kind(result.kind))])
            asked[rows] = True
            alarmed[rows] |= self.clean[rows, self.labels.index(result.kind)] >= result.threshold
        return self._share(alarmed[asked], np.flatnonzero(asked))

    def _against_clean(self, clean: Floats, faulty: Floats, rows: NDArray[np.intp]) -> Estimate:
        groups = group_codes([self.groups[row] for row in (*rows, *rows)])
        return discrimination(np.concatenate([clean, faulty]), np.repeat([False, True], len(rows)), groups, seed=self.seed)

    def _share(self, reported: Flags, rows: NDArray[np.intp]) -> Estimate:
        if not len(reported):
            return Estimate(value=None, note="no images")
        groups, one_class = group_codes([self.groups[row] for row in rows]), np.zeros(len(reported), dtype=np.intp)
        interval = Bootstrap(groups=groups, seed=self.seed).interval(
            lambda weights: weighted_recalls(reported, one_class, 1, weights)[:, 0]
        )
        return Estimate(value=float(reported.mean()), interval=interval)


def _strength(strength: float, scores: Floats, clean: Floats) -> StrengthResult:
    lower, upper = np.quantile(scores, (0.25, 0.75))
    rank = auroc(np.concatenate([clean, scores]), np.repeat([False, True], [len(clean), len(scores)])) if strength else None
    return StrengthResult(
        strength=strength, mean_score=float(scores.mean()), lower_quartile=float(lower), upper_quartile=float(upper), auroc=rank
    )


def _limit(manifest: ModelManifest, prompt_set: str, kind: str) -> FaultLimitSection | None:
    quality = manifest.quality
    return quality.labels.get(kind) if quality is not None and quality.prompt_set == prompt_set else None


def _is_asked(kind: str, manifest: ModelManifest, prompt_set: str) -> bool:
    """False if the manifest names faults of these prompts, and not this one: then the node never reports it."""
    quality = manifest.quality
    return quality is None or quality.prompt_set != prompt_set or kind in quality.labels


def _threshold(manifest: ModelManifest, prompt_set: PromptSet, kind: Kind, clean: Floats) -> tuple[float, str]:
    """The manifest's threshold, else the lowest with at most 1 % false alarms on these clean images."""
    limit = _limit(manifest, prompt_set.name, kind)
    if limit is not None:
        return limit.threshold, "the model's manifest"
    allowed = int(_FALSE_ALARMS * len(clean))
    highest = np.sort(clean)[::-1]
    return float(np.nextafter(highest[allowed], np.inf)), "at most 1 % false alarms, chosen on these same images"


def _ordered(rows: frozenset[int]) -> NDArray[np.intp]:
    return np.array(sorted(rows), dtype=np.intp)


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind == name)

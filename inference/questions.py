"""What is asked of the model about frames that it may see: what they show, what is wrong with them, then the findings of the route."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from config.calibrations import Calibration
from config.heads import ANY_IMAGE, heads_of, views_of
from config.manifests import FaultLimitSection, ModelManifest
from config.prompt_sets import LabelSection, PromptSet
from config.routes import RouteRule
from inference.attributes import text
from inference.decision import decide, gate_agrees, judge_fault
from inference.eyes import eye_of, together, why_not_together, why_unknown
from inference.findings import AbstentionReason, Finding, ImageKind, ImageRef, QualityGrade, QualityVerdict, Score
from inference.frames import Frame
from inference.gate import GateReading, KindShare, read_gate
from inference.reading import AskedFrame, Reading, as_clause
from inference.scores import pool

_CODE_STRING = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _")  # PS3.5 Table 6.2-1, CS
_CODE_STRING_LENGTH = 16
_FRAMES_AT_ONCE = 32


class Scorer(Protocol):
    """What an analysis needs of the engine: see `inference.engine.Engine` for shapes and errors."""

    device: str

    @property
    def precision(self) -> str: ...

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]: ...

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The models of a route and what is asked of them: `manifest` tells kind and quality, `finder` (often the same) looks for findings.

    `gate_prompts` and `quality_prompts` are None if the manifest has none, or the route checks no quality. `prompt_set` None: no
    findings.
    """

    route: RouteRule
    manifest: ModelManifest
    finder: ModelManifest
    gate_prompts: PromptSet | None
    quality_prompts: PromptSet | None
    prompt_set: PromptSet | None
    calibration: Calibration | None

    @property
    def models(self) -> tuple[ModelManifest, ...]:
        """The models, each once."""
        return (self.manifest,) if self.finder is self.manifest else (self.manifest, self.finder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Frames that are judged together, and their embeddings `(n, d)`."""

    frames: tuple[AskedFrame, ...]
    embeddings: NDArray[np.float32]

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(frame.image for frame in self.frames)

    def alone(self) -> tuple["_Group", ...]:
        """Each frame as a group of its own."""
        return tuple(_Group(frames=(frame,), embeddings=self.embeddings[row : row + 1]) for row, frame in enumerate(self.frames))


def ask(questions: Questions, scorer: Scorer, frames: Iterable[tuple[Frame, ...]], reading: Reading) -> tuple[Finding, ...]:
    """Return the findings of the route on the frames that may be searched. What they show, their faults and refusals go to `reading`.

    `frames` are those of `reading`, one view for each model, which names them as they are taken. Each is embedded once, whatever is
    asked of it. Frames that are judged together get one finding a label, pooled as the manifest says (by default the mean of the three
    highest, because a finding may lie in few of them), with the highest as key images; and one verdict a fault,
    by the median: half of them must have it. The first and last slices of a sound series look cut off, blank or noisy. Both are
    told at the frame with the highest score.

    A model that sees eyes is asked about each image as the eye that its header names, and about the patient from one image of
    each eye. Where the header does not say, or there is not one image of each, `reading` says so instead.

    Raises:
        ModelLoadError, ModelOutputError, DeviceMemoryError: as the engine does.
    """
    seen, *others = _embedded(questions.models, scorer, frames)
    searched = zip(_groups(reading.asked, seen), _groups(reading.asked, others[0] if others else seen), strict=True)
    groups = [group for shown, group in searched if _may_be_searched(shown, questions, scorer, reading)]
    prompt_set = questions.prompt_set
    if prompt_set is None:
        return ()
    if heads_of(questions.finder.architecture):
        scores = [*_of_views(groups, prompt_set, questions.finder, scorer, reading)]
    else:
        scores = [score for group in groups for score in _pooled(_scores(group, prompt_set, questions.finder, scorer), questions.finder)]
    return decide(scores, prompt_set, questions.calibration)


def _embedded(models: Sequence[ModelManifest], scorer: Scorer, frames: Iterable[tuple[Frame, ...]]) -> list[NDArray[np.float32]]:
    """The embeddings of all frames by each model. For several models a few frames at a time are held, as they come only once."""
    if len(models) == 1:
        return [scorer.embed(models[0].name, (view for (view,) in frames))]
    left, parts = iter(frames), []
    while few := list(islice(left, _FRAMES_AT_ONCE)):
        parts.append([scorer.embed(model.name, views) for model, views in zip(models, zip(*few, strict=True), strict=True)])
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)] or [np.empty((0, 0), dtype=np.float32) for _ in models]


def _of_views(
    groups: Sequence[_Group], prompt_set: PromptSet, manifest: ModelManifest, scorer: Scorer, reading: Reading
) -> Iterator[Score]:
    """The scores of a model with a head for each eye and one for both: of each group as its eye, and of the pair."""
    of_eyes = _of_eyes(groups, reading)
    for views in dict.fromkeys(views_of(manifest.architecture, prompt_set.head_of(label)) for label in prompt_set.labels):
        if len(views) == 1:
            for group in of_eyes.get(views[0], ()):
                yield from _pooled(_scores(group, prompt_set, manifest, scorer, views=views), manifest)
        elif (pair := _pair(of_eyes, views, groups, reading)) is not None:
            yield from _scores(pair, prompt_set, manifest, scorer, views=views)[0]


def _of_eyes(groups: Iterable[_Group], reading: Reading) -> Mapping[str, Sequence[_Group]]:
    """The groups by the eye that they show; `reading` names those whose header does not say."""
    of_eyes: dict[str, list[_Group]] = {}
    for group in groups:
        header = group.frames[0].instance.header
        eye = eye_of(header)
        if eye is None:
            reading.abstain(AbstentionReason.LATERALITY, why_unknown(header), *group.images)
        else:
            of_eyes.setdefault(eye, []).append(group)
    return of_eyes


def _pair(of_eyes: Mapping[str, Sequence[_Group]], views: tuple[str, ...], groups: Sequence[_Group], reading: Reading) -> _Group | None:
    """One frame of each view, in their order; None if there is not exactly one of each, which `reading` says."""
    frames = {eye: [frame for group in found for frame in group.alone()] for eye, found in of_eyes.items()}
    pair = together(frames, views)
    if pair is None:
        images = [image for group in groups for image in group.images]
        unknown = len(images) - sum(len(found) for found in frames.values())
        if images:
            reading.abstain(AbstentionReason.LATERALITY, why_not_together(frames, views, unknown=unknown), *images)
        return None
    return _Group(frames=tuple(one.frames[0] for one in pair), embeddings=np.concatenate([one.embeddings for one in pair]))


def _groups(asked: Sequence[AskedFrame], embeddings: NDArray[np.float32]) -> Iterator[_Group]:
    for _, members in groupby(range(len(asked)), key=lambda row: asked[row].group):
        rows = list(members)
        yield _Group(frames=tuple(asked[row] for row in rows), embeddings=embeddings[rows])


def _scores(
    group: _Group, prompt_set: PromptSet, manifest: ModelManifest, scorer: Scorer, *, views: tuple[str, ...] = ANY_IMAGE
) -> tuple[tuple[Score, ...], ...]:
    return scorer.score(manifest.name, prompt_set.name, group.embeddings, group.images, views=views)


def _together(frames: Sequence[Sequence[Score]], rule: Callable[[Sequence[float]], float], *, named: int = 0) -> tuple[Score, ...]:
    """One score a label: the value of all frames by `rule`, at the frame with the highest; the `named` highest are the key images."""
    return tuple(_of_frames(label, rule, named if len(frames) > 1 else 0) for label in zip(*frames, strict=True))


def _of_frames(label: Sequence[Score], rule: Callable[[Sequence[float]], float], named: int) -> Score:
    ranked = sorted(label, key=lambda score: -score.value)
    return Score(
        label=ranked[0].label,
        value=rule([score.value for score in label]),
        image=ranked[0].image,
        key_images=tuple(score.image for score in ranked[:named]),
    )


def _pooled(frames: Sequence[Sequence[Score]], manifest: ModelManifest) -> tuple[Score, ...]:
    """One score a label for frames that are searched together, as the manifest says."""
    series = manifest.series
    return _together(frames, partial(pool, rule=series.pool, highest=series.highest), named=series.highest)


def _may_be_searched(group: _Group, questions: Questions, scorer: Scorer, reading: Reading) -> bool:
    """True if findings may be looked for. What the group shows and what is wrong with it is noted whatever the answer."""
    header = group.frames[0].instance.header
    shown = _shown(group, questions, scorer)
    if shown is not None:
        reading.shown[group.frames[0].group] = shown.likeliest
    disagreement = _disagreement(shown, questions, header)
    kind = None if shown is None else shown.likeliest if disagreement else shown.likeliest_expected or shown.likeliest
    faults = tuple(_without_the_less_likely(tuple(_faults(group, kind, questions, scorer))))
    reading.quality.extend(verdict for _, verdict in faults)
    if disagreement:
        reading.abstain(AbstentionReason.GATE_DISAGREES, disagreement, *group.images)
        return False
    if kind is not None:
        expected = bool(questions.route.expect)
        reading.kinds.append(ImageKind(kind=kind.words, probability=kind.share, expected=expected, images=group.images))
    refusal = _refusal(faults, header, questions)
    if refusal is not None:
        reading.abstain(*refusal, *group.images)
    return refusal is None


def _shown(group: _Group, questions: Questions, scorer: Scorer) -> GateReading | None:
    """What the gate reads, whether or not the route expects something; None without a gate."""
    prompts = questions.gate_prompts
    if prompts is None:
        return None
    return read_gate(_scores(group, prompts, questions.manifest, scorer), expect=questions.route.expect, prompt_set=prompts)


def _without_the_less_likely(
    faults: Sequence[tuple[LabelSection, QualityVerdict]],
) -> Iterator[tuple[LabelSection, QualityVerdict]]:
    """Of faults that exclude each other, such as turns, only the likeliest of those that are seen, and all that are not."""
    likeliest: dict[str, float] = {}
    for label, verdict in faults:
        group = _group_if_seen(label, verdict)
        likeliest[group] = max(likeliest.get(group, 0), verdict.measured)
    for label, verdict in faults:
        group = _group_if_seen(label, verdict)
        if not group or verdict.measured == likeliest[group]:
            yield label, verdict


def _group_if_seen(label: LabelSection, verdict: QualityVerdict) -> str:
    return label.fault.group if label.fault is not None and verdict.grade is not QualityGrade.DIAGNOSTIC else ""


def _faults(group: _Group, kind: KindShare | None, questions: Questions, scorer: Scorer) -> Iterator[tuple[LabelSection, QualityVerdict]]:
    """The verdict on every fault that is asked of such a kind of image; `kind` is None where no gate tells it."""
    quality, prompts = questions.manifest.quality, questions.quality_prompts
    if quality is None or prompts is None:
        return
    labels = {label.name: label for label in prompts.labels}
    for score in _together(_scores(group, prompts, questions.manifest, scorer), median):
        limit = quality.labels.get(score.label)
        if limit is not None and _concerns(limit, kind):
            yield labels[score.label], judge_fault(score, labels[score.label], limit)


def _concerns(limit: FaultLimitSection, kind: KindShare | None) -> bool:
    if limit.kinds:
        return kind is not None and kind.label in limit.kinds
    return kind is None or not kind.foreign


def _refusal(
    faults: Sequence[tuple[LabelSection, QualityVerdict]], header: Dataset, questions: Questions
) -> tuple[AbstentionReason, str] | None:
    """Why no findings are looked for, by the clearest of the faults that forbid it. None if none does.

    A fault that only spoils the search is no reason on a route that searches for nothing; one that contradicts the header is. Which
    faults forbid it stands with their prompts; a route with the quality gate `abstain` adds all that make an image non-diagnostic.
    """
    found = sorted(faults, key=lambda fault: -fault[1].measured)
    for label, verdict in found:
        if verdict.grade is QualityGrade.DIAGNOSTIC or label.fault is None:
            continue
        unusable = verdict.grade is QualityGrade.NON_DIAGNOSTIC and questions.route.quality_gate == "abstain"
        forbids = label.fault.abstain or ("quality" if unusable else None)
        if forbids is None:
            continue
        reason, words = AbstentionReason(forbids), as_clause(verdict.sentence)
        if reason is AbstentionReason.GATE_DISAGREES:
            return reason, f"{_header_says(header, questions.route)}, {words}"
        if questions.prompt_set is not None:
            return reason, f"{words}: no findings were looked for"
    return None


def _disagreement(shown: GateReading | None, questions: Questions, header: Dataset) -> str:
    """How header and pixels contradict each other; empty if they do not, or there is nothing to compare."""
    gate, route = questions.manifest.gate, questions.route
    if gate is None or shown is None or not shown.expected or gate_agrees(shown.expected_probability, gate):
        return ""
    says = _header_says(header, route)
    if shown.likeliest in shown.expected:
        kinds, needed = " or ".join(kind.words for kind in shown.expected), f"{gate.minimum_probability:.2f} is needed"
        return f"{says}, pixels do not show it clearly: {kinds} with p = {shown.expected_probability:.2f}, {needed}"
    return f"{says}, pixels look like {shown.likeliest.words} (p = {shown.likeliest.share:.2f})"


def _header_says(header: Dataset, route: RouteRule) -> str:
    return f"header says {_body_part(header)} (route {route.name})"


def _body_part(header: Dataset) -> str:
    """The Body Part Examined, if it is a code string as it should be: free text there might name a person."""
    found = text(header, "BodyPartExamined")
    return found if found and len(found) <= _CODE_STRING_LENGTH and set(found) <= _CODE_STRING else "no body part"

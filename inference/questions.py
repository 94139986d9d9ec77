"""What is asked of the model about frames that it may see: first what they show, then the findings of the route."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from config.routes import RouteRule
from config.schema import Calibration, GateSection, ModelManifest, PromptSet
from inference.attributes import text
from inference.decision import decide, gate_agrees
from inference.findings import AbstentionReason, Finding, Score
from inference.frames import Frame, UndecodableError, read_frames
from inference.gate import GateReading, read_gate
from inference.orientation import rotated_verdict, rotation_of, turned_views
from inference.reading import AskedFrame, Reading
from inference.scores import pool

if TYPE_CHECKING:
    from inference.engine import Engine

_CODE_STRING = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _")  # PS3.5 Table 6.2-1, CS
_CODE_STRING_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The model of a route and what the route asks of it. `prompt_set` None: only what the pixels show."""

    route: RouteRule
    manifest: ModelManifest
    gate_prompts: PromptSet | None
    prompt_set: PromptSet | None
    calibration: Calibration | None
    maximum_frame_megapixels: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Frames that are judged together, and their embeddings `(n, d)`."""

    frames: tuple[AskedFrame, ...]
    embeddings: NDArray[np.float32]


def ask(questions: Questions, engine: "Engine", frames: Iterable[Frame], reading: Reading) -> tuple[Finding, ...]:
    """Return the findings of the route on the frames that the gate lets pass; refusals and rotation go to `reading`.

    `frames` are those of `reading`, which names them as they are taken.

    Raises:
        ModelLoadError, ModelOutputError, DeviceMemoryError: as the engine does.
    """
    embeddings = engine.embed(questions.manifest.name, frames)
    groups = [group for group in _groups(reading.asked, embeddings) if _shows_what_is_expected(group, questions, engine, reading)]
    prompt_set = questions.prompt_set
    if prompt_set is None:
        return ()
    scores = [score for group in groups for score in _pooled(_scores(group, prompt_set, questions.manifest, engine))]
    return decide(scores, prompt_set, questions.calibration)


def _groups(asked: Sequence[AskedFrame], embeddings: NDArray[np.float32]) -> Iterator[_Group]:
    for _, members in groupby(range(len(asked)), key=lambda row: asked[row].instance.group):
        rows = list(members)
        yield _Group(frames=tuple(asked[row] for row in rows), embeddings=embeddings[rows])


def _scores(group: _Group, prompt_set: PromptSet, manifest: ModelManifest, engine: "Engine") -> tuple[tuple[Score, ...], ...]:
    return engine.score(manifest.name, prompt_set.name, group.embeddings, [frame.image for frame in group.frames])


def _pooled(frames: Sequence[Sequence[Score]]) -> tuple[Score, ...]:
    """One score a label: the pooled value, at the frame with the highest (the key image)."""
    return tuple(
        Score(label=label[0].label, value=pool([score.value for score in label]), image=max(label, key=lambda score: score.value).image)
        for label in zip(*frames, strict=True)
    )


def _shows_what_is_expected(group: _Group, questions: Questions, engine: "Engine", reading: Reading) -> bool:
    gate, prompts, expect = questions.manifest.gate, questions.gate_prompts, questions.route.expect
    if gate is None or prompts is None or not expect:
        return True
    shown = read_gate(_scores(group, prompts, questions.manifest, engine), expect=expect, prompt_set=prompts)
    if gate_agrees(shown.expected_probability, gate):
        return True
    if not _noted_as_rotated(group, shown, questions, engine, reading):
        detail = _disagreement(group.frames[0].instance.header, questions.route, shown, gate)
        reading.abstain(AbstentionReason.GATE_DISAGREES, detail, *(frame.image for frame in group.frames))
    return False


def _noted_as_rotated(group: _Group, shown: GateReading, questions: Questions, engine: "Engine", reading: Reading) -> bool:
    gate, prompts, expect = questions.manifest.gate, questions.gate_prompts, questions.route.expect
    rotation = rotation_of(gate, expect) if gate is not None else None
    if rotation is None or prompts is None or len(group.frames) != 1:
        return False
    (frame,) = group.frames
    turned = []
    for view in _turned(frame, questions.maximum_frame_megapixels):
        scores = engine.scores(questions.manifest.name, prompts.name, [view])
        turned.append(read_gate(scores, expect=expect, prompt_set=prompts))
    verdict = rotated_verdict(shown, turned, frame.image, rotation) if turned else None
    if verdict is None:
        return False
    reading.quality.append(verdict)
    reading.abstain(AbstentionReason.QUALITY, "the image looks rotated: no findings were looked for", frame.image)
    return True


def _turned(frame: AskedFrame, maximum_megapixels: float) -> tuple[Frame, ...]:
    """The frame is read once more, because frames are not kept; one that has vanished since is not turned."""
    try:
        (again,) = read_frames(frame.instance.path, [frame.frame_number], maximum_megapixels=maximum_megapixels)
    except UndecodableError:
        return ()
    return turned_views(again)


def _disagreement(header: Dataset, route: RouteRule, shown: GateReading, gate: GateSection) -> str:
    says = f"header says {_body_part(header)} (route {route.name})"
    if shown.looks_like in shown.expected:
        needed = f"{gate.minimum_probability:.2f} is needed"
        return f"{says}, pixels do not show it clearly: {' or '.join(shown.expected)} with p = {shown.expected_probability:.2f}, {needed}"
    return f"{says}, pixels look like {shown.looks_like} (p = {shown.looks_like_probability:.2f})"


def _body_part(header: Dataset) -> str:
    """The Body Part Examined, if it is a code string as it should be: free text there might name a person."""
    found = text(header, "BodyPartExamined")
    return found if found and len(found) <= _CODE_STRING_LENGTH and set(found) <= _CODE_STRING else "no body part"

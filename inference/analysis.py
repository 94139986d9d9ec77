"""One study revision under one route, from files to an `Analysis`: read, checked, asked what it shows, asked the findings."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from config.catalogue import Catalogue, model_digest, prompt_set_digest
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.adapters import ModelOutputError
from inference.findings import Abstention, AbstentionReason, Analysis, Exclusion, Finding, ImageRef, Outcome, Provenance, SeriesQuality
from inference.header_quality import judge_headers
from inference.quality.grade import grade_series
from inference.quality.header import HEADER_CHECKS
from inference.quality.series import SERIES_CHECKS
from inference.questions import Questions, Scorer, ask
from inference.reading import Reading
from inference.selection import ChosenFrames, SelectedInstance, choose_frames, sliced_series
from inference.slides.looking import Show, SlidesLookedAt, for_kind_only, look_at_slides
from inference.slides.pyramid import is_slide

__all__ = ["SelectedInstance", "analyse", "decode_analysis", "encode_analysis", "unanswered"]

_QUALITY_ONLY = "no model of this node serves this kind of image; only image quality was checked"
_NOTHING_ASKED = "no model of this node serves this kind of image, and this route checks no image quality"
_NO_MODEL_FOR_SLIDES = "no model of this route looks at whole slides; they were not looked at"
_NO_FINDINGS_ASKED = "this route asks for no findings; only the kind of image and its quality were checked"


def analyse(
    *,
    study_instance_uid: str,
    revision: int,
    route: RouteRule,
    selected: Sequence[SelectedInstance],
    excluded: Sequence[Exclusion],
    engine: Scorer,
    catalogue: Catalogue,
    site: str,
    analysed_at: datetime,
    maximum_frame_megapixels: float,
    show: Show | None = None,
) -> Analysis:
    """Return what is to be reported about these instances. Pixels that cannot be used become abstentions, never exceptions.

    `analysed_at` is aware. Projection images are judged one by one; slices of a series and frames of a multi-frame instance
    together: the gate by their mean, a fault that the model is asked about by its median score, a finding by the mean of its three
    highest; the last two are told at the frame with the highest score. A whole slide is judged by its tiles (`inference.slides`); `show`
    is given maps of them.

    Raises:
        ModelLoadError: the model of the route cannot be loaded.
        DeviceMemoryError, MemoryError: a batch or a frame does not fit into memory now.
    """
    if route.no_analysis or not selected:
        return unanswered(
            outcome=Outcome.NOT_ATTEMPTED,
            study_instance_uid=study_instance_uid,
            revision=revision,
            route=route.name,
            reason=AbstentionReason.NOTHING_TO_ANALYSE,
            detail=route.no_analysis or "every instance of this route was left out",
            inputs=[instance.image for instance in selected] or [exclusion.image for exclusion in excluded],
            excluded=excluded,
            analysed_at=analysed_at,
        )
    slides, others = [one for one in selected if is_slide(one)], [one for one in selected if not is_slide(one)]
    series = sliced_series(others)
    chosen = choose_frames(others, maximum_frames=route.most_frames, series=series)
    questions = _questions(route, catalogue, site)
    reading = Reading(quality_gate=route.quality_gate)
    frames = reading.frames(
        chosen,
        models=questions.models if questions else (),
        check_quality=route.quality,
        maximum_megapixels=maximum_frame_megapixels,
    )
    findings: tuple[Finding, ...] = ()
    looked = SlidesLookedAt()
    failed = False
    if questions is None:
        deque(frames, maxlen=0)
        if reading.used:
            reading.abstain(AbstentionReason.NO_MODEL, _QUALITY_ONLY if route.quality else _NOTHING_ASKED)
        if slides:
            reading.used += slides
            reading.abstain(AbstentionReason.NO_MODEL, _NO_MODEL_FOR_SLIDES, *(slide.image for slide in slides))
    else:
        try:
            findings = ask(questions, engine, frames, reading)
            looked = look_at_slides(
                slides, questions, scorer=engine, reading=reading, maximum_megapixels=maximum_frame_megapixels, show=show
            )
        except ModelOutputError as exc:
            failed = True
            reading.abstain(AbstentionReason.MODEL_FAILED, str(exc))
        if questions.prompt_set is None and (looked.tiles or any(not is_slide(one) for one in reading.used)):
            reading.abstain(AbstentionReason.NO_MODEL, _NO_FINDINGS_ASKED)
    if route.quality:
        reading.quality += judge_headers(reading, series, left_out=len(excluded))
    return Analysis(
        study_instance_uid=study_instance_uid,
        revision=revision,
        route=route.name,
        outcome=Outcome.FAILED if failed else _outcome(reading, (*findings, *looked.findings)),
        analysed_at=_aware(analysed_at),
        inputs=tuple(instance.image for instance in reading.used or [*(choice.instance for choice in chosen), *slides]),
        excluded=(*excluded, *reading.repeated, *_left_out(chosen), *looked.left_out),
        findings=(*findings, *looked.findings),
        quality=tuple(reading.quality),
        kinds=tuple(reading.kinds),
        abstentions=_merged(reading.abstentions),
        provenance=_provenance(questions, engine, chosen, looked.tiles) if questions is not None and reading.used else None,
        seen_by=_seen_by(questions) if questions is not None and reading.used else None,
        remarks=tuple(looked.remarks),
        series_quality=_series_quality(reading, selected),
    )


def unanswered(
    *,
    outcome: Literal[Outcome.FAILED, Outcome.NOT_ATTEMPTED],
    study_instance_uid: str,
    revision: int,
    route: str,
    reason: AbstentionReason,
    detail: str,
    inputs: Sequence[ImageRef],
    analysed_at: datetime,
    excluded: Sequence[Exclusion] = (),
) -> Analysis:
    """Return an analysis that says that there is no answer, and why. `detail` is for the report and must hold no patient data."""
    return Analysis(
        study_instance_uid=study_instance_uid,
        revision=revision,
        route=route,
        outcome=outcome,
        analysed_at=_aware(analysed_at),
        inputs=tuple(inputs),
        excluded=tuple(excluded),
        abstentions=(Abstention(reason=reason, detail=detail),),
    )


def encode_analysis(analysis: Analysis) -> bytes:
    """Return the analysis as JSON (UTF-8) from which `decode_analysis` makes an equal one."""
    return msgspec.json.encode(analysis)


def decode_analysis(data: bytes) -> Analysis:
    """Return the analysis that `encode_analysis` was given.

    Raises:
        msgspec.DecodeError: the data are not an encoded analysis (also its subclass ValidationError).
    """
    return msgspec.json.decode(data, type=Analysis)


def _questions(route: RouteRule, catalogue: Catalogue, site: str) -> Questions | None:
    if route.model is None:
        return None
    manifest = catalogue.manifest(route.model)
    prompt_set = catalogue.prompt_set(route.prompt_set) if route.prompt_set else None
    finder = catalogue.manifest(route.searched_by) if route.searched_by else manifest
    return Questions(
        route=route,
        manifest=manifest,
        finder=finder,
        gate_prompts=catalogue.prompt_set(manifest.gate.prompt_set) if manifest.gate else None,
        quality_prompts=catalogue.prompt_set(manifest.quality.prompt_set) if manifest.quality and route.quality else None,
        prompt_set=prompt_set,
        calibration=catalogue.calibration_for(finder, prompt_set, site) if prompt_set else None,
    )


def _outcome(reading: Reading, findings: Sequence[Finding]) -> Outcome:
    if not reading.used:
        return Outcome.FAILED
    if not reading.abstentions:
        return Outcome.SUCCEEDED
    return Outcome.PARTIAL if findings or reading.quality else Outcome.NOT_ATTEMPTED


def _series_quality(reading: Reading, selected: Sequence[SelectedInstance]) -> tuple[SeriesQuality, ...]:
    frames = Counter(frame.group for frame in reading.asked)
    return grade_series(
        reading.quality,
        series_of={instance.image.sop_instance_uid: instance.series for instance in selected},
        together={frame.image: frames[frame.group] for frame in reading.asked},
        of_series=frozenset((*HEADER_CHECKS, *SERIES_CHECKS)),
    )


def _left_out(chosen: Sequence[ChosenFrames]) -> tuple[Exclusion, ...]:
    taken = sum(len(choice.frame_numbers) for choice in chosen)
    reason = f"not among the {taken} frames that were taken evenly from the selection"
    return tuple(Exclusion(image=choice.instance.image, reason=reason) for choice in chosen if not choice.frame_numbers)


def _merged(abstentions: Sequence[Abstention]) -> tuple[Abstention, ...]:
    """One abstention a reason and detail, with the images of all, in the order in which they first came up."""
    images: dict[tuple[AbstentionReason, str], list[ImageRef]] = {}
    for abstention in abstentions:
        images.setdefault((abstention.reason, abstention.detail), []).extend(abstention.images)
    return tuple(Abstention(reason=reason, detail=detail, images=tuple(refs)) for (reason, detail), refs in images.items())


def _provenance(questions: Questions, engine: Scorer, chosen: Sequence[ChosenFrames], tiles: int) -> Provenance:
    manifest = questions.finder
    prompts = questions.prompt_set or questions.gate_prompts
    return Provenance(
        model=manifest.name,
        version=manifest.version,
        manufacturer=manifest.manufacturer,
        weights_digest=manifest.weights.sha256,
        prompt_set=prompts.name if prompts else "",
        prompt_set_digest=prompt_set_digest(prompts) if prompts else "",
        calibration_id=questions.calibration.id if questions.calibration else None,
        intended_use=manifest.intended_use,
        parameters=_parameters(questions, engine, chosen, tiles),
    )


def _seen_by(questions: Questions) -> Provenance | None:
    """The model that told kind and quality; None if it is the one that looked for findings."""
    manifest, prompts = questions.manifest, questions.gate_prompts
    if manifest is questions.finder:
        return None
    return Provenance(
        model=manifest.name,
        version=manifest.version,
        manufacturer=manifest.manufacturer,
        weights_digest=manifest.weights.sha256,
        prompt_set=prompts.name if prompts else "",
        prompt_set_digest=prompt_set_digest(prompts) if prompts else "",
        calibration_id=None,
        intended_use=manifest.intended_use,
    )


def _parameters(questions: Questions, engine: Scorer, chosen: Sequence[ChosenFrames], tiles: int) -> tuple[str, ...]:
    prompt_set, quality = questions.prompt_set, questions.quality_prompts
    recipe = _recipe(prompt_set) if prompt_set else ()
    faults = (f"quality-prompt-set={quality.name}", f"quality-prompt-set-sha256={prompt_set_digest(quality)}") if quality else ()
    frames = sum(len(choice.frame_numbers) for choice in chosen)
    looks = (f"looks={questions.finder.looks.in_words}",) if questions.finder.looks else ()
    searched = questions.finder.slides if questions.prompt_set else None
    read = searched or for_kind_only(questions.manifest)
    of_slides = (f"tiles={tiles}", f"slides={read.in_words}", f"maximum-tiles={questions.route.maximum_tiles}") if tiles else ()
    return (
        f"frames={frames}",
        *of_slides,
        f"device={engine.device}",
        f"precision={engine.precision}",
        f"model-sha256={model_digest(questions.finder)}",
        *recipe,
        *looks,
        _gate_parameter(questions),
        *faults,
    )


def _recipe(prompt_set: PromptSet) -> tuple[str, ...]:
    heads = "+".join(dict.fromkeys(prompt_set.head_of(label) or "all" for label in prompt_set.labels))
    facts = (f"recipe={prompt_set.recipe}", f"temperature={prompt_set.temperature}", f"ensemble={prompt_set.ensemble}")
    return facts if heads == "all" else (*facts, f"heads={heads}")


def _gate_parameter(questions: Questions) -> str:
    gate, prompts, expect = questions.manifest.gate, questions.gate_prompts, questions.route.expect
    if gate is None or prompts is None:
        return "gate=none"
    return f"gate={'+'.join(expect)}>={gate.minimum_probability}" if expect else f"gate={prompts.name}, nothing expected"


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("the time of an analysis needs a time zone")
    return time

"""Frames on their way to the model: read one at a time, checked, and kept back where the model must not be asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import numpy as np

from config.manifests import ModelManifest
from inference.findings import Abstention, AbstentionReason, Exclusion, ImageKind, ImageRef, QualityGrade, QualityVerdict
from inference.frames import Frame, UndecodableError, frame_count, read_ahead
from inference.gate import KindShare
from inference.quality import check_frame
from inference.quality.header import PixelFacts
from inference.selection import ChosenFrames, SelectedInstance
from inference.views import SampledRanges, viewed

BLANK = "blank"  # the quality check after which there is nothing to look at

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFrame:
    """A frame that went to the model: the instance that it is of, what names it in results, and what it is judged together with."""

    instance: SelectedInstance
    image: ImageRef
    group: str


@dataclass(slots=True, kw_only=True)
class Reading:
    """What became known while the frames of one analysis were read; it grows as `frames` is consumed.

    `quality_gate` is the route's: with `abstain` a frame that any check calls non-diagnostic is not shown to the model. `repeated`: images
    left out because another has the same pixels. `pixels` and, if there is a gate, `shown`: of what is judged together, by its group.
    """

    quality_gate: Literal["qualify", "abstain"] = "qualify"
    used: list[SelectedInstance] = field(default_factory=list)
    asked: list[AskedFrame] = field(default_factory=list)
    quality: list[QualityVerdict] = field(default_factory=list)
    kinds: list[ImageKind] = field(default_factory=list)
    abstentions: list[Abstention] = field(default_factory=list)
    repeated: list[Exclusion] = field(default_factory=list)
    pixels: dict[str, PixelFacts] = field(default_factory=dict)
    shown: dict[str, KindShare] = field(default_factory=dict)
    _views_by_digest: dict[bytes, ImageRef] = field(default_factory=dict)

    def frames(
        self, chosen: Sequence[ChosenFrames], *, models: Sequence[ModelManifest], check_quality: bool, maximum_megapixels: float
    ) -> Iterator[tuple[Frame, ...]]:
        """Yield each frame that the models may be asked about, once for each of them, as its manifest has it shown.

        Quality is judged on the frame as it was decoded. Without models every frame that can be read is yielded, once and as decoded.
        """
        ranges = SampledRanges(chosen, maximum_megapixels=maximum_megapixels)
        files = [(choice.instance.path, choice.frame_numbers) for choice in chosen]
        for choice, decoded in zip(chosen, read_ahead(files, maximum_megapixels=maximum_megapixels), strict=True):
            try:
                for frame in decoded:
                    if self._is_there_already(frame, choice.instance):
                        continue
                    if check_quality:
                        self._note_pixels(frame, choice)
                    wishes = dict.fromkeys(manifest.views for manifest in models)
                    views = {wanted: viewed(frame, choice.instance.header, wanted, ranges) for wanted in wishes}
                    shown = tuple(views[manifest.views] for manifest in models) or (frame,)
                    if self._admits(frame, shown, choice.instance, models, check_quality=check_quality):
                        self.asked.append(AskedFrame(instance=choice.instance, image=frame.ref, group=choice.group))
                        yield shown
            except UndecodableError as exc:
                self.abstain(AbstentionReason.UNREADABLE, str(exc), choice.instance.image)

    def abstain(self, reason: AbstentionReason, detail: str, *images: ImageRef) -> None:
        """Note a refusal to answer."""
        self.abstentions.append(Abstention(reason=reason, detail=detail, images=images))

    def _is_there_already(self, frame: Frame, instance: SelectedInstance) -> bool:
        """True, and noted, if another single image has the very same pixels. Slices and cines are not compared."""
        if instance.sliced or frame_count(instance.header) > 1:
            return False
        digest = blake2b(repr(frame.pixels.shape).encode(), digest_size=_DIGEST_BYTES)
        digest.update(np.ascontiguousarray(frame.pixels).data)
        first = self._views_by_digest.setdefault(digest.digest(), frame.ref)
        if first.sop_instance_uid == frame.ref.sop_instance_uid:
            return False
        self.repeated.append(Exclusion(image=instance.image, reason="the same pixels as another image of the study"))
        return True

    def _note_pixels(self, frame: Frame, choice: ChosenFrames) -> None:
        facts = PixelFacts.of(frame, choice.instance.header)
        known = self.pixels.get(choice.group)
        self.pixels[choice.group] = facts if known is None else known.and_also(facts)

    def _admits(
        self,
        frame: Frame,
        shown: Sequence[Frame],
        instance: SelectedInstance,
        models: Sequence[ModelManifest],
        *,
        check_quality: bool,
    ) -> bool:
        if instance not in self.used[-1:]:
            self.used.append(instance)
        verdicts = check_frame(frame, instance.header) if check_quality else ()
        self.quality.extend(verdicts)
        if not models:
            return True
        if refusal := next(filter(None, map(colour_refusal, shown, models)), ""):
            self.abstain(AbstentionReason.UNSUPPORTED, refusal, frame.ref)
            return False
        if any(verdict.check == BLANK and verdict.grade is QualityGrade.NON_DIAGNOSTIC for verdict in verdicts):
            self.abstain(AbstentionReason.QUALITY, "blank image: the model was not asked", frame.ref)
            return False
        unusable = next((verdict for verdict in verdicts if verdict.grade is QualityGrade.NON_DIAGNOSTIC), None)
        if unusable is not None and self.quality_gate == "abstain":
            self.abstain(AbstentionReason.QUALITY, f"{as_clause(unusable.sentence)}: the model was not asked", frame.ref)
            return False
        return True


def as_clause(sentence: str) -> str:
    """The sentence of a verdict as the first half of another."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def colour_refusal(frame: Frame, manifest: ModelManifest) -> str:
    """Why the model must not be shown a frame (as its view has it), in words; empty if it may."""
    if manifest.colour == "grey" and frame.pixels.ndim != 2:  # noqa: PLR2004 - rows and columns
        return f"colour image; model {manifest.name} was made for grey images"
    if manifest.colour == "colour" and frame.pixels.ndim == 2:  # noqa: PLR2004 - rows and columns
        return f"grey image; model {manifest.name} was made for colour images"
    return ""

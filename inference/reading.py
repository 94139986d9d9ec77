"""Frames on their way to the model: read one at a time, checked, and kept back where the model must not be asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from config.manifests import ModelManifest
from inference.findings import Abstention, AbstentionReason, ImageKind, ImageRef, QualityGrade, QualityVerdict
from inference.frames import Frame, UndecodableError, read_frames
from inference.quality import check_frame
from inference.selection import ChosenFrames, SelectedInstance

BLANK = "blank"  # the quality check after which there is nothing to look at


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFrame:
    """A frame that went to the model: the instance that it is of, and what names it in results."""

    instance: SelectedInstance
    image: ImageRef


@dataclass(slots=True, kw_only=True)
class Reading:
    """What became known while the frames of one analysis were read; it grows as `frames` is consumed."""

    used: list[SelectedInstance] = field(default_factory=list)
    asked: list[AskedFrame] = field(default_factory=list)
    quality: list[QualityVerdict] = field(default_factory=list)
    kinds: list[ImageKind] = field(default_factory=list)
    abstentions: list[Abstention] = field(default_factory=list)

    def frames(
        self, chosen: Sequence[ChosenFrames], *, models: Sequence[ModelManifest], check_quality: bool, maximum_megapixels: float
    ) -> Iterator[Frame]:
        """Yield each frame that the models may be asked about (every frame that can be read, if there are none)."""
        for choice in chosen:
            try:
                decoded = read_frames(choice.instance.path, choice.frame_numbers, maximum_megapixels=maximum_megapixels)
                for frame in decoded:
                    if self._admits(frame, choice.instance, models, check_quality=check_quality):
                        self.asked.append(AskedFrame(instance=choice.instance, image=frame.ref))
                        yield frame
            except UndecodableError as exc:
                self.abstain(AbstentionReason.UNREADABLE, str(exc), choice.instance.image)

    def abstain(self, reason: AbstentionReason, detail: str, *images: ImageRef) -> None:
        """Note a refusal to answer."""
        self.abstentions.append(Abstention(reason=reason, detail=detail, images=images))

    def _admits(self, frame: Frame, instance: SelectedInstance, models: Sequence[ModelManifest], *, check_quality: bool) -> bool:
        if instance not in self.used[-1:]:
            self.used.append(instance)
        verdicts = check_frame(frame, instance.header) if check_quality else ()
        self.quality.extend(verdicts)
        if not models:
            return True
        if refusal := next(filter(None, (_colour_refusal(frame, manifest) for manifest in models)), ""):
            self.abstain(AbstentionReason.UNSUPPORTED, refusal, frame.ref)
            return False
        if any(verdict.check == BLANK and verdict.grade is QualityGrade.NON_DIAGNOSTIC for verdict in verdicts):
            self.abstain(AbstentionReason.QUALITY, "blank image: the model was not asked", frame.ref)
            return False
        return True


def _colour_refusal(frame: Frame, manifest: ModelManifest) -> str:
    if manifest.colour == "grey" and frame.pixels.ndim != 2:  # noqa: PLR2004 - rows and columns
        return f"colour image; model {manifest.name} was made for grey images"
    if manifest.colour == "colour" and frame.pixels.ndim == 2:  # noqa: PLR2004 - rows and columns
        return f"grey image; model {manifest.name} was made for colour images"
    return ""

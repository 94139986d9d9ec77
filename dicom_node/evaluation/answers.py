"""What the model answers: every labelled image is read as the node reads it and shown to the model once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.manifests import ModelManifest
from config.views import ViewsSection
from dicom_node.evaluation.baseline import SIDE, grey_pixels
from dicom_node.evaluation.manifest import LabelledData
from dicom_node.evaluation.metrics import Codes, Floats, group_codes
from dicom_node.evaluation.pictures import DEFAULT_VIEWS, Picture, UnusableImageError, read_picture
from inference.findings import ImageRef
from inference.frames import Frame

if TYPE_CHECKING:
    from inference.engine import Engine

NOWHERE = ImageRef(sop_class_uid="", sop_instance_uid="")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that the model was not asked about, and why. `line` is 1-based in the table; `name` is empty where it might name a patient."""

    line: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The images that the model was shown: `embeddings` float32 `(n, d)`, `pixels` those of the baseline, float32 `(n, 1024)`.

    `views` are those of the model, through which the images are read again.
    """

    data: LabelledData
    names: tuple[str, ...]
    embeddings: NDArray[np.float32]
    pixels: NDArray[np.float32]
    left_out: tuple[LeftOut, ...]
    views: ViewsSection = DEFAULT_VIEWS

    @property
    def groups(self) -> Codes:
        """A code for each image, the same for those of one patient."""
        return group_codes([image.group for image in self.data.images])


def ask(
    engine: "Engine", manifest: ModelManifest, data: LabelledData, *, maximum_megapixels: float, progress: Callable[[], None]
) -> Answers:
    """Show every image to the model. `progress` is called once a row. Rows that cannot be shown are left out with the reason.

    Raises:
        ModelLoadError, ModelOutputError, DeviceMemoryError: as the engine does.
    """
    showing = _Showing(data=data, manifest=manifest, maximum_megapixels=maximum_megapixels, progress=progress)
    embeddings = engine.embed(manifest.name, showing.frames())
    return Answers(
        data=data.of(np.array(showing.shown, dtype=np.intp)),
        names=tuple(showing.names),
        embeddings=embeddings,
        pixels=np.array(showing.pixels, dtype=np.float32).reshape(len(showing.pixels), SIDE * SIDE),
        left_out=tuple(showing.left_out),
        views=manifest.views,
    )


def scores_of(engine: "Engine", model: str, prompt_set: str, embeddings: NDArray[np.float32]) -> Floats:
    """Return the scores of each embedding, `(n, labels)`, in the order of the prompt set.

    Raises:
        ModelLoadError: the prompts give no vectors.
    """
    scored = engine.score(model, prompt_set, embeddings, [NOWHERE] * len(embeddings))
    return np.array([[score.value for score in row] for row in scored], dtype=np.float64)


@dataclass(slots=True, kw_only=True)
class _Showing:
    """Grows while `frames` is consumed."""

    data: LabelledData
    manifest: ModelManifest
    maximum_megapixels: float
    progress: Callable[[], None]
    shown: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    pixels: list[NDArray[np.float32]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def frames(self) -> Iterator[Frame]:
        for row, image in enumerate(self.data.images):
            self.progress()
            try:
                picture = read_picture(image, maximum_megapixels=self.maximum_megapixels, views=self.manifest.views)
                refuse_colour(picture, self.manifest)
            except UnusableImageError as exc:
                self.left_out.append(LeftOut(line=image.line, name=exc.name, reason=str(exc)))
                continue
            self.shown.append(row)
            self.names.append(picture.name)
            self.pixels.append(grey_pixels(picture.frame))
            yield picture.frame


def refuse_colour(picture: Picture, manifest: ModelManifest) -> None:
    """Return if the node, too, would show the frame to the model.

    Raises:
        UnusableImageError: the model was made for grey images and this one has colour, or the other way round.
    """
    is_grey = picture.frame.pixels.ndim == 2  # noqa: PLR2004 - rows and columns
    if manifest.colour != "any" and is_grey != (manifest.colour == "grey"):
        kind = "grey" if is_grey else "colour"
        raise UnusableImageError(f"{kind} image; model {manifest.name} was made for {manifest.colour} images", picture.name)

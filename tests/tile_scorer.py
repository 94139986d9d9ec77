"""A model that reads tiles by their colour: the darker a tile, the higher its score. For tests of whole slides."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from config import Catalogue
from config.heads import ANY_IMAGE
from inference.findings import ImageRef, Score
from inference.frames import Frame


class TileScorer:
    """Takes every tile for histology; a label that is not a kind of image scores how dark the tile is, in [0, 1]."""

    device = "none"
    precision = "float32"

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.seen: list[Frame] = []

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]:
        """One number a tile, its darkness."""
        taken = list(frames)
        self.seen += taken
        return np.array([[1 - frame.pixels.mean()] for frame in taken], dtype=np.float32)

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]:
        """The darkness, or the kind."""
        assert views == ANY_IMAGE, "this model sees whole images"
        asked = self._catalogue.prompt_set(prompt_set)
        is_kind = asked.recipe == "multi-class-softmax"

        def value(label: str, row: int) -> float:
            return float(label == "histology") if is_kind else float(embeddings[row, 0])

        return tuple(
            tuple(Score(label=label.name, value=value(label.name, row), image=image) for label in asked.labels)
            for row, image in enumerate(images)
        )

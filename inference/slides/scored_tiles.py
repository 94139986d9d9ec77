"""A scorer that remembers what it answered to one prompt set: the scores of single tiles, beside the one of the slide."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from config.heads import ANY_IMAGE
from inference.findings import ImageRef, Score
from inference.frames import Frame
from inference.questions import Scorer


class ScoredTiles:
    """Another scorer, with the last scores of `model` on `prompt_set` in `tiles`: one tuple a tile, in the order of the tiles."""

    def __init__(self, scorer: Scorer, *, model: str, prompt_set: str) -> None:
        self._scorer, self._model, self._prompt_set = scorer, model, prompt_set
        self.device = scorer.device
        self.tiles: tuple[tuple[Score, ...], ...] = ()

    @property
    def precision(self) -> str:
        """That of the other scorer."""
        return self._scorer.precision

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]:
        """As the other scorer does."""
        return self._scorer.embed(model, frames)

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]:
        """As the other scorer does."""
        scores = self._scorer.score(model, prompt_set, embeddings, images, views=views)
        if (model, prompt_set) == (self._model, self._prompt_set):
            self.tiles = scores
        return scores

"""A model with the additions of its manifest: contrast steps before, and several looks at each frame."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from config.looks import LooksSection
from inference.adapters import Head, ModelAdapter
from inference.contrast import contrasted
from inference.crops import count, crops
from inference.frames import Frame
from inference.tokenizers import Tokens


class Looks:
    """A `ModelAdapter` around another one. With several looks it has each head once a look; a recipe averages their scores."""

    def __init__(self, published: ModelAdapter, section: LooksSection) -> None:
        """`published` is the model as its publisher has it, which reference outputs belong to."""
        self.manifest = published.manifest
        self.published = published
        self._section = section
        self._count = count(section.crops)
        looks = [self._look(head, number) for head in published.heads for number in range(self._count)]
        self.heads = published.heads if self._count == 1 else tuple(looks)

    @property
    def logit_scale(self) -> float:
        """The factor on cosines of the first head."""
        return self.published.logit_scale

    def preprocess(self, frame: Frame) -> torch.Tensor:
        """Return `(3, side, side)`, or `(looks, 3, side, side)` if there are several."""
        pixels = contrasted(frame.pixels, self._section.contrast)
        shown = [self.published.preprocess(replace(frame, pixels=crop)) for crop in crops(pixels, self._section.crops)]
        return shown[0] if self._count == 1 else torch.stack(shown)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """As the published model does."""
        return self.published.tokenize(texts)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, looks * f)` for a batch of what `preprocess` returns: the rows of all looks side by side."""
        if self._count == 1:
            return self.published.encode_images(batch)
        return torch.cat([self.published.encode_images(batch[:, number]) for number in range(self._count)], dim=1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """As the published model does."""
        return self.published.encode_texts(texts)

    def _look(self, head: Head, number: int) -> Head:
        def images(*views: torch.Tensor) -> torch.Tensor:
            parts = (view.chunk(self._count, dim=1)[number] for view in views)
            return head.images(*parts)

        return replace(head, images=images)


def published(adapter: ModelAdapter) -> ModelAdapter:
    """Return the model without the additions of its manifest, which is what reference outputs belong to."""
    return adapter.published if isinstance(adapter, Looks) else adapter

"""Several checkpoints of one architecture as one adapter: every image and text goes through all of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from inference.adapters import Head, ModelAdapter
from inference.frames import Frame
from inference.tokenizers import Tokens


class Ensemble:
    """A `ModelAdapter` with one head a checkpoint, in their order. A recipe averages the heads' scores, not their vectors."""

    def __init__(self, members: Sequence[ModelAdapter]) -> None:
        """`members` have one head each and differ in nothing but their weights."""
        self.manifest = members[0].manifest
        self._members = tuple(members)
        self.heads = tuple(self._head(number, member.heads[0]) for number, member in enumerate(members))

    @property
    def logit_scale(self) -> float:
        """The factor on cosines of the first checkpoint."""
        return self.heads[0].logit_scale

    def preprocess(self, frame: Frame) -> torch.Tensor:
        """As each of them does."""
        return self._members[0].preprocess(frame)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """As each of them does."""
        return self._members[0].tokenize(texts)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return `(n, checkpoints * d)`: the vectors of all checkpoints side by side."""
        return torch.cat([member.encode_images(batch) for member in self._members], dim=1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return `(n, checkpoints * d)`: the vectors of all checkpoints side by side."""
        return torch.cat([member.encode_texts(texts) for member in self._members], dim=1)

    def _head(self, number: int, head: Head) -> Head:
        part = self._part(number)
        return replace(head, name=f"checkpoint-{number + 1}", images=part, texts=part)

    def _part(self, number: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda rows: rows.chunk(len(self._members), dim=1)[number]

"""A `ModelAdapter` of our own that needs no weights, and a catalogue with models of this kind."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from config import Catalogue, load
from config.manifests import ModelManifest
from inference.adapters import Head, ModelAdapter
from inference.frames import Frame
from inference.tokenizers import Tokens
from tests.embedded import MODEL


@dataclass(kw_only=True)
class FakeModel:
    """Answers with a unit vector that tells the mean of a picture, or the length of a text.

    `most`: rows that the device has memory for; more raise `no_memory`. `before` is called with each batch that is to be computed.
    """

    manifest: ModelManifest
    most: int | None = None
    no_memory: Callable[[int], object] = lambda rows: (_ for _ in ()).throw(torch.OutOfMemoryError(f"no memory for {rows}"))
    before: Callable[[torch.Tensor], object] = lambda batch: None
    tried: list[int] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)

    @property
    def heads(self) -> tuple[Head, ...]:
        def same(rows: torch.Tensor) -> torch.Tensor:
            return rows

        return (Head(name="image", logit_scale=1.0, logit_bias=0.0, views=("image",), images=same, texts=same),)

    @property
    def logit_scale(self) -> float:
        return 1.0

    def preprocess(self, frame: Frame) -> torch.Tensor:
        return torch.full((3, 2, 2), float(frame.pixels.mean()))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        raise NotImplementedError

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        self.before(batch)
        return self._rows(batch[:, 0, 0, 0])

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self._rows(torch.tensor([len(text) / 100 for text in texts]))

    def _rows(self, angles: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(angles))
        if self.most is not None and len(angles) > self.most:
            self.no_memory(len(angles))
        self.passes.append(len(angles))
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def catalogue_of(*names: str) -> Catalogue:
    """The shipped catalogue with models of these names, which have the shipped model's facts."""
    shipped = load(None)[1]
    manifest = shipped.manifest(MODEL).model_copy(update={"golden": None})
    return replace(shipped, routes=(), manifests=tuple(manifest.model_copy(update={"name": name}) for name in names))


def loading(*models: FakeModel) -> Callable[[ModelManifest, Path, str], ModelAdapter]:
    """What loads these instead of weights."""
    by_name = {model.manifest.name: model for model in models}
    return lambda manifest, folder, device: by_name[manifest.name]


class Gate:
    """Holds the first batch that is computed until it is opened, and tells when that one is there."""

    def __init__(self) -> None:
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self, batch: torch.Tensor) -> None:
        self.reached.set()
        assert self._open.wait(timeout=30)

    def open(self) -> None:
        self._open.set()

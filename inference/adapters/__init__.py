"""The model families that this node can load: one Protocol, one registry, one file per family.

Values of the registry are import paths, so that listing models does not import torch. To add a family: a section of facts in
`config.architecture`, its file and its line here, and its importer in `inference.importing`; the tests over the registry find it.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from config.manifests import ModelManifest

if TYPE_CHECKING:
    import torch

    from inference.adapters.checkpoint import Checkpoint
    from inference.frames import Frame
    from inference.tokenizers import Tokens


class ModelLoadError(Exception):
    """A model cannot be loaded as its manifest describes it. The message says which, why and what to do."""


class ModelOutputError(Exception):
    """A model answered with something that is no embedding (NaN or infinity). The same input would do it again."""


class DeviceMemoryError(Exception):
    """The device ran out of memory for a batch. Another attempt, or a smaller work.batch_size, may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One space in which images and texts meet, and its logits: `logit_scale` * cosine + `logit_bias`.

    `images` makes unit vectors, float32 `(n, d)`, from the rows `(n, f)` that `encode_images` gave: one argument for each of
    `views`, in that order. `texts` makes them from the rows that `encode_texts` gave.
    """

    name: str
    logit_scale: float
    logit_bias: float
    views: tuple[str, ...]
    images: "Callable[..., torch.Tensor]"
    texts: "Callable[[torch.Tensor], torch.Tensor]"


class ModelAdapter(Protocol):
    """A dual encoder: frames and texts in, vectors of one space out.

    Most models have one head, whose vectors are what `encode_images` and `encode_texts` return. Several heads are the
    checkpoints of an ensemble, or spaces of their own (a patient and each eye), which a recipe picks by name.
    """

    manifest: ModelManifest
    heads: tuple[Head, ...]

    @property
    def logit_scale(self) -> float:
        """The factor on cosines of the first head."""
        ...

    def preprocess(self, frame: "Frame") -> "torch.Tensor":
        """Return what the image tower reads: float32 `(3, image_size, image_size)` on the CPU, as the manifest says.

        A model that takes several looks at a frame has them along a new first axis, and takes batches of such.

        Raises:
            ValueError: the frame's pixels are not float32 display values in [0, 1].
        """
        ...

    def tokenize(self, texts: Sequence[str]) -> "Tokens":
        """Return the tokens of texts that are one group: padded together, if the model pads to the longest."""
        ...

    def encode_images(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Return float32 rows `(n, f)` on the CPU for a batch `(n, 3, image_size, image_size)`; with one head, L2-normalised."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """Return float32 rows `(n, f)` on the CPU for texts that are one group; with one head, L2-normalised."""
        ...


class _Load(Protocol):
    def __call__(self, checkpoint: "Checkpoint", device: str) -> ModelAdapter: ...


ADAPTERS: Mapping[str, str] = {
    "flair": "inference.adapters.flair:load",
    "hf_clip": "inference.adapters.hf_clip:load",
    "keep": "inference.adapters.keep:load",
    "medclip": "inference.adapters.medclip:load",
    "open_clip": "inference.adapters.open_clip:load",
    "openai_clip": "inference.adapters.openai_clip:load",
    "ret_clip": "inference.adapters.ret_clip:load",
    "siglip": "inference.adapters.siglip:load",
    "unimed_clip": "inference.adapters.unimed_clip:load",
}


def load_adapter(manifest: ModelManifest, weights_folder: Path, device: str) -> ModelAdapter:
    """Return the loaded model, after its files were found to have the SHA-256 of the manifest.

    `device` is a torch device such as "cpu" or "cuda".

    Raises:
        ModelLoadError: a file is missing, has another digest, or contradicts the manifest; or no such family is built in.
    """
    if manifest.family not in ADAPTERS:
        raise ModelLoadError(f"model {manifest.name}: no family {manifest.family} is built in; known are: {', '.join(ADAPTERS)}")
    verify_weights(manifest, weights_folder)
    from inference.adapters.checkpoint import checkpoints  # noqa: PLC0415 - torch
    from inference.adapters.ensemble import Ensemble  # noqa: PLC0415
    from inference.adapters.looks import Looks  # noqa: PLC0415

    module, _, attribute = ADAPTERS[manifest.family].partition(":")
    load = cast("_Load", getattr(importlib.import_module(module), attribute))
    members = [load(checkpoint, device) for checkpoint in checkpoints(manifest, weights_folder)]
    adapter = members[0] if len(members) == 1 else Ensemble(members)
    return adapter if manifest.looks is None else Looks(adapter, manifest.looks)


def verify_weights(manifest: ModelManifest, weights_folder: Path) -> None:
    """Return if the weights file and all files beside it are there and have the SHA-256 of the manifest.

    Raises:
        ModelLoadError: one is missing, cannot be read or is another file.
    """
    _verify(manifest, weights_folder / manifest.weights.file, manifest.weights.sha256, "weights file")
    for name, digest in manifest.weights.files.items():
        _verify(manifest, weights_folder / name, digest, "file")


def _verify(manifest: ModelManifest, path: Path, expected: str, kind: str) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelLoadError(
            f"model {manifest.name}: {kind} {path} cannot be read ({exc.strerror}); put it there or correct weights.folder"
        ) from exc
    if digest != expected:
        raise ModelLoadError(
            f"model {manifest.name}: {kind} {path} has SHA-256 {digest}, the manifest says {expected};"
            " fetch the file again from its publisher, or write a new manifest for the new weights"
        )

"""The model families that this node can load: one Protocol, one registry, one file per family.

Values of the registry are import paths, so that listing models does not import torch. To add a family: write its file,
add its line here and its name to `config.schema.ModelManifest.family`; the conformance test finds it by itself.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from config.schema import ModelManifest

if TYPE_CHECKING:
    import torch

    from inference.frames import Frame


class ModelLoadError(Exception):
    """A model cannot be loaded as its manifest describes it. The message says which, why and what to do."""


class ModelOutputError(Exception):
    """A model answered with something that is no embedding (NaN or infinity). The same input would do it again."""


class DeviceMemoryError(Exception):
    """The device ran out of memory for a batch. Another attempt, or a smaller work.batch_size, may succeed."""


class ModelAdapter(Protocol):
    """A dual encoder: frames and texts in, unit vectors of one space out.

    `logit_scale` is the factor that the model's own softmax puts on cosines (exp of the stored logarithm where the
    family stores that).
    """

    manifest: ModelManifest
    logit_scale: float

    def preprocess(self, frame: "Frame") -> "torch.Tensor":
        """Return what the image tower reads: float32 `(3, image_size, image_size)` on the CPU, as the manifest says.

        Raises:
            ValueError: the frame's pixels are not float32 display values in [0, 1].
        """
        ...

    def encode_images(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Return L2-normalised float32 `(n, d)` on the CPU for a batch `(n, 3, image_size, image_size)`."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """Return L2-normalised float32 `(n, d)` on the CPU, one row a text."""
        ...


class _Load(Protocol):
    def __call__(self, manifest: ModelManifest, weights_folder: Path, device: str) -> ModelAdapter: ...


ADAPTERS: Mapping[str, str] = {
    "open_clip": "inference.adapters.open_clip:OpenClipAdapter",
}


def load_adapter(manifest: ModelManifest, weights_folder: Path, device: str) -> ModelAdapter:
    """Return the loaded model, after its weights file was found to have the SHA-256 of the manifest.

    `device` is a torch device such as "cpu" or "cuda".

    Raises:
        ModelLoadError: a file is missing, has another digest, or contradicts the manifest.
    """
    verify_weights(manifest, weights_folder)
    module, _, attribute = ADAPTERS[manifest.family].partition(":")
    load = cast("_Load", getattr(importlib.import_module(module), attribute))
    return load(manifest, weights_folder, device)


def verify_weights(manifest: ModelManifest, weights_folder: Path) -> None:
    """Return if the weights file is there and has the SHA-256 of the manifest.

    Raises:
        ModelLoadError: it is missing, cannot be read or is another file.
    """
    path = weights_folder / manifest.weights.file
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelLoadError(
            f"model {manifest.name}: weights file {path} cannot be read ({exc.strerror}); put it there or correct weights.folder"
        ) from exc
    if digest != manifest.weights.sha256:
        raise ModelLoadError(
            f"model {manifest.name}: weights file {path} has SHA-256 {digest}, the manifest says {manifest.weights.sha256};"
            " fetch the file again from its publisher, or write a new manifest for the new weights"
        )

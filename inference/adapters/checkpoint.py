"""The verified files of one installed model, as an adapter reads them: pinned safetensors and pinned files beside them, no other."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before open_clip and transformers read it: nothing ever comes from a hub
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch
from safetensors import SafetensorError, safe_open

from config.manifests import ModelManifest
from inference.adapters import ModelLoadError

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint of a model; `prefix` begins the names of its tensors in a file that holds several."""

    manifest: ModelManifest
    folder: Path
    prefix: str

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its tensors by name, as they are stored (half precision stays half).

        Raises:
            ModelLoadError: the file is no safetensors file, or holds none of this checkpoint.
        """
        path = self.folder / self.manifest.weights.file
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(self.prefix)]  # noqa: SIM118 - safe_open is no mapping
                found = {name.removeprefix(self.prefix): file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as exc:
            raise self.error(f"{path} is no safetensors file ({exc}); import the model again") from exc
        if not found:
            raise self.error(f"{path} has no checkpoint {self.prefix!r}; correct weights.checkpoints")
        return found

    def file(self, name: str) -> Path:
        """Return the path of a file beside the weights.

        Raises:
            ModelLoadError: the manifest does not pin it.
        """
        if name not in self.manifest.weights.files:
            raise self.error(f"its family needs {name}, which weights.files does not name; put it there with its SHA-256")
        return self.folder / name

    def error(self, message: str) -> ModelLoadError:
        """Return the error to raise, with the model's name before the message."""
        return ModelLoadError(f"model {self.manifest.name}: {message}")

    def agree(self, field: str, said: object, found: object, where: str) -> None:
        """Return if the manifest and the files say the same.

        Raises:
            ModelLoadError: they do not.
        """
        if said != found:
            raise self.error(
                f"{field} is {said} in the manifest and {found} in {where}; correct the manifest, or take all files of one release"
            )


def checkpoints(manifest: ModelManifest, folder: Path) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a model: one, or those of an ensemble in their order."""
    number = manifest.weights.checkpoints
    for index in range(number):
        yield Checkpoint(manifest=manifest, folder=folder, prefix=f"{index}/" if number > 1 else "")


def load_strictly(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], checkpoint: Checkpoint, device: str) -> None:
    """Put the tensors into the network, every one of them into its place and none missing; then to `device`, for inference.

    Raises:
        ModelLoadError: a tensor is missing, left over or of another shape.
    """
    places = network.state_dict()
    tensors = {name: _scalar(tensor) if places.get(name, tensor).shape == () else tensor for name, tensor in tensors.items()}
    problems = [
        *_named("lacks", sorted(places.keys() - tensors.keys())),
        *_named("has unknown", sorted(tensors.keys() - places.keys())),
        *_named(
            "has another shape of",
            [
                f"{name} {tuple(tensors[name].shape)} instead of {tuple(places[name].shape)}"
                for name in sorted(places.keys() & tensors.keys())
                if tensors[name].shape != places[name].shape
            ],
        ),
    ]
    if problems:
        raise checkpoint.error(
            f"{checkpoint.manifest.weights.file} {'; '.join(problems)}. It is no {checkpoint.manifest.family} checkpoint of this"
            " architecture: check family and architecture, and import all files of one release"
        )
    network.load_state_dict(tensors, strict=True)
    network.eval().requires_grad_(requires_grad=False).to(device)


def _scalar(tensor: torch.Tensor) -> torch.Tensor:
    """Some writers store one number as a list of one."""
    return tensor.reshape(()) if tensor.shape == (1,) else tensor


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what} {', '.join(names[:_SHOWN])}{more}"]

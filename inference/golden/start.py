"""The proof before a model serves: its reference outputs on the device in use, in full precision and in that of the service."""

from collections.abc import Callable
from pathlib import Path

from inference.adapters import ModelAdapter, ModelLoadError
from inference.adapters.looks import published
from inference.device.precision import Precision, full_precision, precision_on, serving
from inference.golden.check import require_match
from inference.golden.folder import Golden, GoldenError, read_golden


def prove(adapter: ModelAdapter, folder: Path, device: str, *, precision: Precision = "float16") -> None:
    """Return if the model reproduces the reference outputs in `folder`.

    Full precision has the tolerances of golden.json; where the engine serves in half precision, that is compared too.

    What a manifest adds to the published recipe (`looks`) is left out of the comparison.

    Raises:
        ModelLoadError: it does not, or the folder cannot be used.
    """
    model = published(adapter)

    def compare(golden: Golden) -> None:
        with full_precision():
            require_match(golden, model)

    _with(folder, model, compare)
    if precision_on(device, precision) != "float32":
        prove_as_served(model, folder, device, precision=precision)


def prove_as_served(adapter: ModelAdapter, folder: Path, device: str, *, precision: Precision) -> None:
    """Return if the model, in the precision in which it serves, reproduces the reference outputs in `folder`.

    Raises:
        ModelLoadError: it does not, or the folder cannot be used.
    """

    def compare(golden: Golden) -> None:
        with serving(device, precision):
            require_match(golden, adapter, precision=precision_on(device, precision))

    _with(folder, adapter, compare)


def _with(folder: Path, adapter: ModelAdapter, compare: Callable[[Golden], None]) -> None:
    try:
        compare(read_golden(folder))
    except GoldenError as exc:
        raise ModelLoadError(
            f"model {adapter.manifest.name}: its reference outputs cannot be used ({exc}); import it again, or take golden out of"
            " its manifest"
        ) from exc

"""Compiled models: faster for full batches, never other numbers, and never a reason not to serve."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog
import torch

from inference.adapters import ModelAdapter, ModelLoadError
from inference.device.compiled import compiled
from inference.device.precision import precision_on, serving
from tests.fake_model import FakeModel, catalogue_of

MANIFEST = catalogue_of("one").manifest("one")
Encode = Callable[[torch.Tensor], torch.Tensor]


class Compiler:
    """Leaves everything as it is, but what it adds to each row, and counts the batches that run compiled."""

    def __init__(self, shift: float = 0.0) -> None:
        self.batches: list[int] = []
        self._shift = shift

    def __call__(self, encode: Encode) -> Encode:
        def run(batch: torch.Tensor) -> torch.Tensor:
            self.batches.append(len(batch))
            return encode(batch) + self._shift

        return run


def served(model: FakeModel, compiler: Callable[[Encode], Encode], prove: Callable[[ModelAdapter], None] | None = None) -> ModelAdapter:
    return compiled(model, batch_size=4, device="cpu", precision="float32", compiler=compiler, prove=prove or nothing)


def pictures(number: int) -> torch.Tensor:
    return torch.arange(number).div(100)[:, None, None, None].expand(number, 3, 2, 2)


def test_full_batches_run_compiled_and_others_as_before() -> None:
    model, compiler = FakeModel(manifest=MANIFEST), Compiler()
    fast = served(model, compiler)
    compiler.batches.clear()
    for number in (4, 1, 3, 4):
        assert torch.equal(fast.encode_images(pictures(number)), model.encode_images(pictures(number)))
    assert compiler.batches == [4, 4]
    assert torch.equal(fast.encode_texts(["fluid"]), model.encode_texts(["fluid"]))


def warnings_of(act: Callable[[], object]) -> list[Any]:
    with structlog.testing.capture_logs() as logs:
        act()
    return [entry for entry in logs if entry["log_level"] == "warning"]


def broken(encode: Encode) -> Encode:
    raise RuntimeError("no C++ compiler found")


def nothing(adapter: ModelAdapter) -> None:
    """A model without reference outputs."""


def wrong_outputs(adapter: ModelAdapter) -> None:
    raise ModelLoadError("image_embeddings differs by 0.01")


@pytest.mark.parametrize(
    ("compiler", "prove", "reason"),
    [
        (broken, nothing, "RuntimeError"),
        (Compiler(shift=2e-5), nothing, "rows of a drawn batch differ by 2e-05, more than 1e-05"),
        (Compiler(shift=float("nan")), nothing, "answered with NaN"),
        (Compiler(), wrong_outputs, "image_embeddings differs by 0.01"),
    ],
)
def test_a_model_that_cannot_be_compiled_faithfully_serves_as_it_is_and_says_so(
    compiler: Callable[[Encode], Encode], prove: Callable[[ModelAdapter], None], reason: str
) -> None:
    model = FakeModel(manifest=MANIFEST)
    found: list[ModelAdapter] = []
    (warning,) = warnings_of(lambda: found.append(served(model, compiler, prove)))
    assert found == [model]
    assert warning["event"] == "model_not_compiled"
    assert reason in warning["reason"]


@pytest.mark.parametrize("number", [1, 4, 9])
def test_the_proof_sees_the_compiled_model_whatever_the_number_of_its_pictures(number: int) -> None:
    model, compiler = FakeModel(manifest=MANIFEST), Compiler()
    seen: list[torch.Tensor] = []
    served(model, compiler, lambda adapter: seen.append(adapter.encode_images(pictures(number))))
    assert torch.equal(seen[0], model.encode_images(pictures(number)))
    assert set(compiler.batches) == {4}


def test_the_cpu_computes_in_float32_whatever_the_settings_say() -> None:
    assert precision_on("cpu", "bfloat16") == "float32"
    layer, row = torch.nn.Linear(8, 8), torch.ones(1, 8)
    with serving("cpu", "float16"):
        served_as = layer(row)
    assert torch.equal(served_as, layer(row))
    assert served_as.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("precision", "dtype"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_cuda_computes_in_the_half_precision_of_the_settings(precision: Any, dtype: torch.dtype) -> None:
    assert precision_on("cuda", precision) == precision
    context = serving("cuda", precision)
    assert isinstance(context, torch.autocast)
    assert context.fast_dtype == dtype
    assert not isinstance(serving("cuda", "float32"), torch.autocast)


def test_the_drawn_batch_is_compared_in_units_of_a_row() -> None:
    class Long(FakeModel):
        """Gives rows that are not of unit length, as a model with several heads does."""

        def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
            return 1000 * super().encode_images(batch)

    long, short = (warnings_of(lambda kind=kind: served(kind(manifest=MANIFEST), Compiler(shift=5e-5))) for kind in (Long, FakeModel))
    assert long == []
    assert len(short) == 1

"""Too little memory on the device: batches are halved, models leave, and nobody's frames are lost or mixed up."""

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from config.schema import WorkSection
from inference.adapters import DeviceMemoryError, ModelAdapter, ModelLoadError, ModelOutputError
from inference.device.loaded_models import LoadedModels, memory_of
from inference.engine import Engine, EngineOptions
from inference.frames import Frame
from tests.embedded import FINDINGS
from tests.fake_model import FakeModel, catalogue_of, loading
from tests.phantoms import as_frame

CATALOGUE = catalogue_of("one", "two", "three")


def model(name: str = "one", **about: object) -> FakeModel:
    return FakeModel(manifest=CATALOGUE.manifest(name), **about)  # type: ignore[arg-type]


def engine(*models: FakeModel, batch_size: int = 8, memory: int | None = None) -> Engine:
    options = EngineOptions(model_memory=memory)
    return Engine(CATALOGUE, device="cpu", batch_size=batch_size, cache_folder=None, options=options, load=loading(*models))


def frames(number: int) -> list[Frame]:
    return [as_frame(np.full((4, 4), (1 + row) / 100, dtype=np.float32)) for row in range(number)]


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    small, large = model(most=3), model()
    assert np.array_equal(engine(small).embed("one", frames(10)), engine(large).embed("one", frames(10)))
    assert small.tried == [8, 4, 2, 2, 2, 2, 2]
    assert large.passes == [8, 2]


def test_the_size_that_worked_is_remembered() -> None:
    small = model(most=5)
    served = engine(small)
    served.embed("one", frames(8))
    small.tried.clear()
    served.embed("one", frames(8))
    assert small.tried == [4, 4]


def test_a_frame_that_does_not_fit_alone_is_an_error_of_the_device_and_halves_nobody_else() -> None:
    hungry = model(most=0)
    served = engine(hungry)
    with pytest.raises(DeviceMemoryError, match="one frame"):
        served.embed("one", frames(4))
    hungry.most, hungry.passes = None, []
    assert len(served.embed("one", frames(4))) == 4
    assert hungry.passes == [4]


def allocated(rows: int) -> object:
    return torch.empty(1 << 52)


def refused(words: str) -> Callable[[int], object]:
    def by_library(rows: int) -> object:
        raise RuntimeError(words)

    return by_library


@pytest.mark.parametrize(
    "no_memory",
    [
        allocated,
        refused("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        refused("CUDA error: out of memory"),
    ],
)
def test_every_way_in_which_memory_is_refused_halves_the_batch(no_memory: Callable[[int], object]) -> None:
    small = model(most=2, no_memory=no_memory)
    assert len(engine(small).embed("one", frames(4))) == 4
    assert small.passes == [2, 2]


def test_another_fault_of_the_model_is_not_taken_for_lack_of_memory() -> None:
    broken = model(most=2, no_memory=refused("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        engine(broken).embed("one", frames(4))
    assert broken.tried == [4]


def test_texts_are_halved_too() -> None:
    small, large = model(most=2), model()
    halved, whole = (engine(one).prompt_embeddings("one", FINDINGS).positive.vectors for one in (small, large))
    np.testing.assert_array_equal(halved, whole)
    assert max(small.passes) == 2
    assert max(large.passes) > 2


def test_no_memory_for_a_text_is_an_error_of_the_device() -> None:
    with pytest.raises(DeviceMemoryError, match=f"texts of {FINDINGS}"):
        engine(model(most=0)).prompt_embeddings("one", FINDINGS)


def test_a_fault_in_the_first_batch_is_told_whatever_became_of_the_next() -> None:
    def spoilt(batch: torch.Tensor) -> None:
        if batch.min() < 0.015:
            batch.fill_(float("nan"))

    with pytest.raises(ModelOutputError, match="NaN"):
        engine(model(before=spoilt), batch_size=2).embed("one", frames(9))


# The weights of a fake model are those that ship: as large as this in memory.
ONE_MODEL = memory_of(Path(CATALOGUE.weights_path(CATALOGUE.manifest("one"))) / CATALOGUE.manifest("one").weights.file)


def test_the_least_recently_used_model_leaves_for_another() -> None:
    served = engine(model("one"), model("two"), model("three"), memory=2 * ONE_MODEL)
    for name in ("one", "two", "one", "three"):
        served.embed(name, frames(1))
    assert served.loaded_models == ("one", "three")
    assert len(served.embed("two", frames(1))) == 1
    assert served.loaded_models == ("three", "two")


def test_the_settings_say_how_models_run() -> None:
    work = WorkSection(precision="bfloat16", compile_models=True, model_memory_mb=900, batch_wait_ms=20)
    assert EngineOptions.of(work) == EngineOptions(precision="bfloat16", compile_models=True, model_memory=900_000_000, batch_wait_s=0.02)
    assert EngineOptions.of(WorkSection()).model_memory is None


def test_without_a_budget_all_models_stay() -> None:
    served = engine(model("one"), model("two"), model("three"))
    for name in ("one", "two", "three"):
        served.embed(name, frames(1))
    assert served.loaded_models == ("one", "two", "three")


def test_a_model_that_exceeds_the_budget_alone_is_refused_by_name_and_setting() -> None:
    with pytest.raises(ModelLoadError, match=r"model one: its weights take .* work\.model_memory_mb"):
        engine(model("one"), memory=ONE_MODEL - 1).embed("one", frames(1))


def test_memory_is_counted_in_float32_whatever_is_stored(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(10, 3, dtype=torch.float16), "b": torch.zeros(5), "ids": torch.zeros(2, dtype=torch.int64)}, tmp_path / "w")
    assert memory_of(tmp_path / "w") == 30 * 4 + 5 * 4 + 2 * 8
    (tmp_path / "w").write_bytes(b"not weights")
    assert memory_of(tmp_path / "w") == memory_of(tmp_path / "none") == 0


class Shelf:
    """Models of one byte each, for `LoadedModels`: what was loaded in which order, and who asked for room."""

    def __init__(self, *, budget: int | None, refuse: int = 0) -> None:
        self.loaded: list[str] = []
        self.asked = {name: Event() for name in ("one", "two", "three")}
        self._refuse = refuse
        self.models = LoadedModels(self._load, self._size, budget=budget)

    def _load(self, name: str) -> ModelAdapter:
        if self._refuse:
            self._refuse -= 1
            raise torch.OutOfMemoryError
        self.loaded.append(name)
        return model(name)

    def _size(self, name: str) -> int:
        self.asked[name].set()
        return 1

    def use(self, name: str) -> str:
        with self.models.in_use(name) as adapter:
            return adapter.manifest.name


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def test_a_model_in_use_never_leaves(threads: ThreadPoolExecutor) -> None:
    shelf = Shelf(budget=1)
    with shelf.models.in_use("one"):
        other = threads.submit(shelf.use, "two")
        assert shelf.asked["two"].wait(timeout=30)
        with pytest.raises(NotYetError):
            other.result(timeout=0.2)
        assert shelf.models.names == ("one",)
        assert shelf.use("one") == "one", "who has it in use may use it again"
    assert other.result(timeout=30) == "two"
    assert shelf.models.names == ("two",)


def test_a_busy_model_does_not_keep_another_out(threads: ThreadPoolExecutor) -> None:
    shelf = Shelf(budget=1)
    with shelf.models.in_use("one"):
        other = threads.submit(shelf.use, "two")
        assert shelf.asked["two"].wait(timeout=30)
        late = threads.submit(shelf.use, "one")
        with pytest.raises(NotYetError):
            late.result(timeout=0.2)
    assert [other.result(timeout=30), late.result(timeout=30)] == ["two", "one"]
    assert shelf.loaded == ["one", "two", "one"]


def test_a_model_that_fails_to_load_takes_no_room() -> None:
    def load(name: str) -> ModelAdapter:
        if name == "one":
            raise ModelLoadError("no such weights")
        return model(name)

    models = LoadedModels(load, lambda name: 1, budget=1)
    with pytest.raises(ModelLoadError, match="no such weights"), models.in_use("one"):
        pass
    with models.in_use("two") as adapter:
        assert adapter.manifest.name == "two"


def test_models_that_nobody_uses_leave_when_the_device_has_no_memory_for_another() -> None:
    shelf = Shelf(budget=None)
    shelf.use("one")
    shelf.use("two")
    shelf._refuse = 1
    assert shelf.use("three") == "three"
    assert shelf.models.names == ("two", "three")
    with pytest.raises(DeviceMemoryError, match=r"model one: .* its weights"):
        Shelf(budget=None, refuse=9).use("one")


def test_the_memory_of_a_model_that_left_is_free() -> None:
    shelf = Shelf(budget=1)
    with shelf.models.in_use("one") as adapter:
        left = weakref.ref(adapter)
    del adapter
    shelf.use("two")
    gc.collect()
    assert left() is None

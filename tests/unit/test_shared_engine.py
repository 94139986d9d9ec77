"""One engine for several threads: the same numbers, urgent studies first, and a neighbour's fault stays the neighbour's."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from config import load
from inference.adapters import ModelOutputError
from inference.device.shared_engine import SharedEngine
from inference.engine import Engine, EngineOptions
from inference.frames import Frame
from tests.embedded import MODEL
from tests.fake_model import FakeModel, Gate, catalogue_of, loading
from tests.phantoms import as_frame, chest_radiograph, head_ct
from tests.waiting import eventually

CATALOGUE = catalogue_of("one", "two")
AT_ONCE, LONG = EngineOptions(), EngineOptions(batch_wait_s=3600)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield pool


def model(name: str = "one", **about: Any) -> FakeModel:
    return FakeModel(manifest=CATALOGUE.manifest(name), **about)


def sharing(*models: FakeModel, batch_size: int = 4, options: EngineOptions = AT_ONCE, share: bool = True) -> SharedEngine:
    """An engine that shares batches between studies as on CUDA."""
    return SharedEngine(
        CATALOGUE, device="cpu", batch_size=batch_size, cache_folder=None, options=options, load=loading(*models), share=share
    )


def frames(*values: float) -> list[Frame]:
    return [as_frame(np.full((4, 4), value, dtype=np.float32)) for value in values]


def rows(*values: float) -> NDArray[np.float32]:
    angles = torch.tensor(values)
    return torch.stack([angles.cos(), angles.sin()], dim=1).numpy()


def asked(threads: ThreadPoolExecutor, engine: SharedEngine, name: str, *values: float, urgent: bool = False) -> "Future[Any]":
    """A study that was asked about and waits for the device, or for others."""

    def embed() -> NDArray[np.float32]:
        with engine.priority(urgent=urgent):
            return engine.embed(name, frames(*values))

    before = engine.batches_waiting
    answer = threads.submit(embed)
    eventually(lambda: engine.batches_waiting > before or answer.done() or urgent, "its frames wait for the device")
    return answer


def behind(gate: Gate, threads: ThreadPoolExecutor, engine: SharedEngine) -> "Future[Any]":
    """A study of one frame that keeps the device busy until the gate opens."""
    first = threads.submit(engine.embed, "one", frames(0.99))
    assert gate.reached.wait(timeout=30)
    return first


def test_many_threads_get_the_numbers_that_one_gets(threads: ThreadPoolExecutor) -> None:
    catalogue = load(None)[1]
    shared = SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    alone = Engine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    studies = [[as_frame(chest_radiograph())], [as_frame(head_ct()), as_frame(chest_radiograph())], [as_frame(chest_radiograph())] * 5] * 4
    together = list(threads.map(lambda study: shared.embed(MODEL, study), studies))
    for study, vectors in zip(studies, together, strict=True):
        assert np.array_equal(vectors, alone.embed(MODEL, study))


def test_on_the_cpu_a_batch_holds_one_study_and_waits_for_nobody(threads: ThreadPoolExecutor) -> None:
    gate = Gate()
    one = model(before=gate)
    engine = sharing(one, options=LONG, share=False)
    studies = [behind(gate, threads, engine), *(asked(threads, engine, "one", 0.1, 0.2) for _ in range(2))]
    gate.open()
    assert [len(study.result(timeout=30)) for study in studies] == [1, 2, 2]
    assert one.passes == [1, 2, 2]


def test_studies_share_a_full_batch_and_each_gets_its_own_rows(threads: ThreadPoolExecutor) -> None:
    one = model()
    engine = sharing(one, options=LONG)
    first = asked(threads, engine, "one", 0.1, 0.2)
    second = asked(threads, engine, "one", 0.3, 0.4)
    np.testing.assert_array_equal(first.result(timeout=30), rows(0.1, 0.2))
    np.testing.assert_array_equal(second.result(timeout=30), rows(0.3, 0.4))
    assert one.passes == [4]


def test_a_batch_that_nobody_joins_runs_when_the_wait_is_over() -> None:
    one = model()
    assert len(sharing(one, options=EngineOptions(batch_wait_s=0.05)).embed("one", frames(0.1))) == 1
    assert one.passes == [1]


def test_an_urgent_study_does_not_wait_for_a_batch_to_fill_and_takes_along_who_waits(threads: ThreadPoolExecutor) -> None:
    one = model()
    engine = sharing(one, options=LONG)
    routine = asked(threads, engine, "one", 0.1)
    urgent = asked(threads, engine, "one", 0.2, urgent=True)
    np.testing.assert_array_equal(urgent.result(timeout=30), rows(0.2))
    np.testing.assert_array_equal(routine.result(timeout=30), rows(0.1))
    assert one.passes == [2]


def test_an_urgent_study_with_another_model_goes_before_a_batch_that_still_fills(threads: ThreadPoolExecutor) -> None:
    one, two = model("one"), model("two")
    engine = sharing(one, two, options=LONG)
    routine = asked(threads, engine, "one", 0.1, 0.2)
    assert len(asked(threads, engine, "two", 0.5, urgent=True).result(timeout=30)) == 1
    assert one.passes == []
    asked(threads, engine, "one", 0.3, 0.4).result(timeout=30)
    assert len(routine.result(timeout=30)) == 2
    assert (one.passes, two.passes) == ([4], [1])


@pytest.mark.parametrize(("share", "passes"), [(False, [1, 1, 2, 2, 2]), (True, [1, 3, 4])])
def test_an_urgent_study_overtakes_what_waits(threads: ThreadPoolExecutor, share: bool, passes: Sequence[int]) -> None:
    gate = Gate()
    one = model(before=gate)
    engine = sharing(one, share=share)
    studies = [behind(gate, threads, engine), *(asked(threads, engine, "one", 0.1, 0.2) for _ in range(3))]
    waiting = engine.batches_waiting
    urgent = asked(threads, engine, "one", 0.3, urgent=True)
    eventually(lambda: engine.batches_waiting == waiting + 1, "the urgent study waits too")
    gate.open()
    np.testing.assert_array_equal(urgent.result(timeout=30), rows(0.3))
    assert [len(study.result(timeout=30)) for study in studies] == [1, 2, 2, 2]
    assert one.passes == passes


def test_no_batch_is_larger_than_the_limit(threads: ThreadPoolExecutor) -> None:
    gate = Gate()
    one = model(before=gate)
    engine = sharing(one)
    studies = [behind(gate, threads, engine), *(asked(threads, engine, "one", 0.1, 0.2, 0.3) for _ in range(2))]
    gate.open()
    assert [len(study.result(timeout=30)) for study in studies] == [1, 3, 3]
    assert one.passes == [1, 3, 3]


def test_a_shared_batch_that_does_not_fit_is_halved(threads: ThreadPoolExecutor) -> None:
    one = model(most=3)
    engine = sharing(one, options=LONG)
    first, second = asked(threads, engine, "one", 0.1, 0.2, 0.3), asked(threads, engine, "one", 0.4)
    np.testing.assert_array_equal(first.result(timeout=30), rows(0.1, 0.2, 0.3))
    np.testing.assert_array_equal(second.result(timeout=30), rows(0.4))
    assert one.passes == [2, 2]


def test_a_study_that_the_model_cannot_answer_does_not_harm_its_neighbours(threads: ThreadPoolExecutor) -> None:
    def brittle(batch: torch.Tensor) -> None:
        if (batch == 0.5).any():
            raise ModelOutputError("spoilt")

    engine = sharing(model(before=brittle), options=LONG)
    answers = [asked(threads, engine, "one", value) for value in (0.1, 0.5, 0.2, 0.5)]
    faults = [type(answer.exception(timeout=30)) for answer in answers]
    assert faults == [type(None), ModelOutputError, type(None), ModelOutputError]


def test_a_study_longer_than_a_batch_keeps_its_order(threads: ThreadPoolExecutor) -> None:
    values = [row / 100 for row in range(11)]
    engine = sharing(model())
    for study in [threads.submit(engine.embed, "one", frames(*values)) for _ in range(6)]:
        np.testing.assert_array_equal(study.result(timeout=30), rows(*values))

"""One engine for several threads: the same numbers, and a neighbour's fault stays the neighbour's."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from config import load
from inference.adapters import ModelOutputError
from inference.engine import Engine
from inference.shared_engine import SharedEngine
from tests.embedded import MODEL
from tests.phantoms import as_frame, chest_radiograph, head_ct
from tests.waiting import eventually


@pytest.fixture(scope="module")
def catalogue():
    return load(None)[1]


@pytest.fixture(scope="module")
def shared(catalogue):
    return SharedEngine(catalogue, device="cpu", batch_size=4, cache_folder=None)


def test_many_threads_get_the_numbers_that_one_gets(catalogue, shared):
    alone = Engine(catalogue, device="cpu", batch_size=4, cache_folder=None)
    studies = [[as_frame(chest_radiograph())], [as_frame(head_ct()), as_frame(chest_radiograph())], [as_frame(chest_radiograph())] * 5] * 4
    with ThreadPoolExecutor(max_workers=6) as pool:
        together = list(pool.map(lambda frames: shared.embed(MODEL, frames), studies))
    for frames, vectors in zip(studies, together, strict=True):
        assert np.array_equal(vectors, alone.embed(MODEL, frames))


def test_a_study_that_the_model_cannot_answer_does_not_harm_its_neighbours(catalogue):
    class Brittle(SharedEngine):
        """Answers as a device that shares batches between studies would, with one study that spoils a batch."""

        def _has_room_beside(self, requests):
            return len(requests) < 4

        def _run(self, adapter, batch):
            if (batch.flatten(1).std(dim=1) < 1e-6).any():
                raise ModelOutputError("spoilt")
            return super()._run(adapter, batch)

    engine = Brittle(catalogue, device="cpu", batch_size=4, cache_folder=None)
    good, bad = as_frame(chest_radiograph()), flat_frame()
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = [pool.submit(engine.embed, MODEL, [frame]) for frame in (good, bad, good, bad)]
    assert [type(answer.exception()) for answer in answers] == [type(None), ModelOutputError, type(None), ModelOutputError]


def flat_frame():
    return as_frame(np.full((64, 64), 0.5, dtype=np.float32))


def test_an_urgent_study_overtakes_what_waits(catalogue):
    order, device_free = [], threading.Event()

    class Busy(SharedEngine):
        """Holds the first batch until everything else waits."""

        def _run(self, adapter, batch):
            device_free.wait()
            order.append(len(batch))
            return super()._run(adapter, batch)

    engine = Busy(catalogue, device="cpu", batch_size=8, cache_folder=None)
    engine.warm_up()

    def urgent():
        with engine.priority(urgent=True):
            engine.embed(MODEL, [as_frame(chest_radiograph())])

    with ThreadPoolExecutor(max_workers=5) as pool:
        for _ in range(4):
            pool.submit(engine.embed, MODEL, [as_frame(chest_radiograph())] * 2)
        eventually(lambda: engine._waiting.qsize() == 3, "three routine studies wait behind the first")
        pool.submit(urgent)
        eventually(lambda: engine._waiting.qsize() == 4, "the urgent study waits too")
        device_free.set()
    assert order == [2, 1, 2, 2, 2]

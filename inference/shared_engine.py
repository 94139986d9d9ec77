"""One engine for several threads: studies that are analysed at the same time share the batches, urgent ones first."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from queue import PriorityQueue
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from config.catalogue import Catalogue
from inference.adapters import ModelAdapter
from inference.engine import Engine
from inference.prompts import PromptEmbeddings

_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)


@dataclass(frozen=True, slots=True, order=True)
class _Request:
    """Preprocessed frames `(n, 3, size, size)` of one study that wait for the device."""

    order: tuple[bool, int]
    adapter: ModelAdapter = field(compare=False)
    tensors: torch.Tensor = field(compare=False)
    answer: "Future[NDArray[np.float32]]" = field(compare=False)


class SharedEngine(Engine):
    """An `Engine` that any number of threads may use at once; one thread of its own drives the device.

    What waits is put into one batch, urgent studies first, then in the order in which it came. Nothing waits for a batch
    to fill: an idle device takes what there is. On the CPU, where a larger batch changes the last bits of its rows, a batch
    holds one study only: the same study gives the same numbers whatever else is in work.
    """

    def __init__(self, catalogue: Catalogue, *, device: Literal["auto", "cpu", "cuda"], batch_size: int, cache_folder: Path | None) -> None:
        super().__init__(catalogue, device=device, batch_size=batch_size, cache_folder=cache_folder)
        self._lock = threading.RLock()
        self._waiting: PriorityQueue[_Request] = PriorityQueue()
        self._count = itertools.count()
        threading.Thread(target=self._drive, name="engine", daemon=True).start()

    @staticmethod
    @contextmanager
    def priority(*, urgent: bool) -> Iterator[None]:
        """Say for this thread whether what it asks meanwhile is urgent."""
        token = _URGENT.set(urgent)
        try:
            yield
        finally:
            _URGENT.reset(token)

    def adapter(self, model: str) -> ModelAdapter:
        with self._lock:
            return super().adapter(model)

    def prompt_embeddings(self, model: str, prompt_set: str, head: str | None = None) -> PromptEmbeddings:
        with self._lock:
            return super().prompt_embeddings(model, prompt_set, head)

    def _encode(self, adapter: ModelAdapter, batch: torch.Tensor) -> NDArray[np.float32]:
        answer: Future[NDArray[np.float32]] = Future()
        self._waiting.put(_Request((not _URGENT.get(), next(self._count)), adapter, batch, answer))
        return answer.result()

    def _drive(self) -> None:
        while True:
            requests = [self._waiting.get()]
            while (
                self.device != "cpu" and sum(len(request.tensors) for request in requests) < self._batch_size and not self._waiting.empty()
            ):
                following = self._waiting.get()
                if following.adapter is not requests[0].adapter:
                    self._waiting.put(following)
                    break
                requests.append(following)
            self._answer(requests)

    def _run(self, adapter: ModelAdapter, batch: torch.Tensor) -> NDArray[np.float32]:
        return super()._encode(adapter, batch)

    def _has_room_beside(self, requests: list[_Request]) -> bool:
        return self.device != "cpu" and sum(len(request.tensors) for request in requests) < self._batch_size

    def _answer(self, requests: list[_Request]) -> None:
        try:
            vectors = self._run(requests[0].adapter, torch.cat([request.tensors for request in requests]))
        except Exception as exc:  # noqa: BLE001 - whoever asked gets to see it; the device thread goes on
            if len(requests) > 1:  # one study's fault is not its neighbours'
                for request in requests:
                    self._answer([request])
            else:
                requests[0].answer.set_exception(exc)
            return
        rows = 0
        for request in requests:
            request.answer.set_result(vectors[rows : rows + len(request.tensors)])
            rows += len(request.tensors)

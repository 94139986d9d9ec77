"""One engine for several threads: studies that are analysed at the same time share the batches, urgent ones first."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from config.catalogue import Catalogue
from inference.adapters import ModelAdapter, load_adapter
from inference.engine import Engine, EngineOptions, LoadAdapter

_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)


@dataclass(frozen=True, slots=True, order=True)
class _Request:
    """Preprocessed frames `(n, 3, size, size)` of one study that wait for the device since `at` (monotonic seconds)."""

    order: tuple[bool, int]
    at: float = field(compare=False)
    adapter: ModelAdapter = field(compare=False)
    tensors: torch.Tensor = field(compare=False)
    answer: "Future[NDArray[np.float32]]" = field(compare=False)

    @property
    def urgent(self) -> bool:
        return not self.order[0]


class SharedEngine(Engine):
    """An `Engine` whose device takes what several studies ask at once together: urgent ones first, then as they came.

    A batch that is not full waits for others at most `options.batch_wait_s`, and not at all with urgent frames in it: these run
    as soon as the pass that is under way ends. On the CPU, where a larger batch changes the last bits of its rows, a batch holds
    one study only (unless `share` says otherwise) and nothing waits: a study gives the same numbers whatever else is in work.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        device: Literal["auto", "cpu", "cuda"],
        batch_size: int,
        cache_folder: Path | None,
        options: EngineOptions = EngineOptions(),  # noqa: B008 - frozen
        load: LoadAdapter = load_adapter,
        share: bool | None = None,
    ) -> None:
        """See `Engine`. `share` None: studies share batches on every device but the CPU."""
        super().__init__(catalogue, device=device, batch_size=batch_size, cache_folder=cache_folder, options=options, load=load)
        self._share = self.device != "cpu" if share is None else share
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
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

    @property
    def batches_waiting(self) -> int:
        """How many batches of studies wait for the device."""
        with self._changed:
            return len(self._waiting)

    def _submit(self, adapter: ModelAdapter, batch: torch.Tensor) -> "Future[NDArray[np.float32]]":
        answer: Future[NDArray[np.float32]] = Future()
        with self._changed:
            self._waiting.append(_Request((not _URGENT.get(), next(self._count)), time.monotonic(), adapter, batch, answer))
            self._changed.notify()
        return answer

    def _drive(self) -> None:
        while True:
            asked = [request for request in self._taken() if request.answer.set_running_or_notify_cancel()]
            if asked:
                self._answer(asked)

    def _taken(self) -> list[_Request]:
        """What the device computes next, as soon as it is due."""
        with self._changed:
            while True:
                together = self._together()
                patience = self._patience(together)
                if patience is not None and patience <= 0:
                    for request in together:
                        self._waiting.remove(request)
                    return together
                self._changed.wait(patience)

    def _together(self) -> list[_Request]:
        """The first of those that wait, and with it the next of the same model that there is room for."""
        together: list[_Request] = []
        frames = 0
        for request in sorted(self._waiting):
            if together and request.adapter is not together[0].adapter:
                continue
            frames += len(request.tensors)
            if together and (not self._share or frames > self._batch_size):
                break
            together.append(request)
        return together

    def _patience(self, together: Sequence[_Request]) -> float | None:
        """The seconds for which these may wait for more; None if there are none."""
        if not together:
            return None
        full = sum(len(request.tensors) for request in together) >= self._batch_size
        if not self._share or full or any(request.urgent for request in together):
            return 0
        return min(request.at for request in together) + self._options.batch_wait_s - time.monotonic()

    def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            frames = requests[0].tensors if len(requests) == 1 else torch.cat([request.tensors for request in requests])
            rows = self._forward.encode(requests[0].adapter, frames)
        except Exception as exc:  # noqa: BLE001 - whoever asked gets to see it; the device thread goes on
            if len(requests) > 1:  # one study's fault is not its neighbours'
                for request in requests:
                    self._answer([request])
            else:
                requests[0].answer.set_exception(exc)
            return
        start = 0
        for request in requests:
            request.answer.set_result(rows[start : start + len(request.tensors)])
            start += len(request.tensors)

"""Back-pressure: when the node has no room for more, it says so before a sender begins, not in the middle of a study."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Protocol

import structlog

from config.retention import PressureSection

log = structlog.get_logger()


class Space(Protocol):
    """What is asked of the object store."""

    def free_bytes(self) -> int: ...


class Queue(Protocol):
    """What is asked of the ledger."""

    def waiting_studies(self, at_most: int) -> int: ...


class Pressure:
    """Says why a new association should be rejected for now, if it should.

    An answer is used again for a moment, so that many associations cost no more than a few. What is open goes on: it is held
    back by 0xA700 below the reserve only. A ledger that does not answer is no reason: C-STORE says that itself.
    """

    def __init__(self, settings: PressureSection, *, store: Space, ledger: Queue, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._store, self._ledger, self._monotonic = settings, store, ledger, monotonic
        self._lock = Lock()
        self._answer, self._good_until = "", float("-inf")

    def why_wait(self) -> str:
        """Return in words why there is no room for another association now, or "". Never raises."""
        with self._lock:
            now = self._monotonic()
            if now >= self._good_until:
                answer = self.look()
                if answer != self._answer:
                    log.warning("associations_held_back" if answer else "associations_welcome_again", reason=answer)
                self._answer, self._good_until = answer, now + self._settings.look_every_s
            return self._answer

    def look(self) -> str:
        """Return the answer as of now."""
        limit_mb, limit = self._settings.below_free_mb, self._settings.maximum_waiting_studies
        try:
            if self._store.free_bytes() < limit_mb * 1_000_000:
                return f"less than {limit_mb} MB are free"
            if self._ledger.waiting_studies(limit + 1) > limit:
                return f"more than {limit} studies wait for their analysis"
        except Exception as exc:  # noqa: BLE001 - see the class: an association is taken, and its C-STORE answered
            log.error("pressure_unknown", error=type(exc).__name__)  # noqa: TRY400 - a traceback may quote values
        return ""

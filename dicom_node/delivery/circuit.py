"""The circuit breaker of one destination, as a value: what a failure and a success make of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.lifecycle import CIRCUIT, CircuitEvent, CircuitState, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """How a destination does. `failures` counts those in a row; nothing is sent before `not_before`; `reason` is the last failure."""

    state: CircuitState
    failures: int
    not_before: datetime
    reason: str
    changed_at: datetime

    def is_waiting(self, now: datetime) -> bool:
        """Say whether nothing may be sent yet."""
        return now < self.not_before

    def failed(self, *, reason: str, wait_s: float, failures_to_open: int, now: datetime) -> "Circuit":
        """Return the circuit after one more failure of the destination; `wait_s` is the pause until the next attempt."""
        failures = self.failures + 1
        opens = self.state is CircuitState.HALF_OPEN or (self.state is CircuitState.CLOSED and failures >= failures_to_open)
        state = after(CIRCUIT, self.state, CircuitEvent.TOO_MANY_FAILURES) if opens else self.state
        return Circuit(
            state=state,
            failures=failures,
            not_before=now + timedelta(seconds=wait_s),
            reason=reason,
            changed_at=now if state is not self.state else self.changed_at,
        )


def unbroken(now: datetime) -> Circuit:
    """Return the circuit of a destination of which nothing bad is known."""
    return Circuit(state=CircuitState.CLOSED, failures=0, not_before=now, reason="", changed_at=now)

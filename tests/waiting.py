"""Waiting for a condition, never for time."""

import time


def eventually(condition, what, *, timeout_s=30.0):
    """Return the first true answer of `condition`; fail with `what` did not happen."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"within {timeout_s:g} s not true: {what}"
        time.sleep(0.05)
    return answer

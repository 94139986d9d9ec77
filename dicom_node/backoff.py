"""How long to wait before trying again. No clock, no sleep."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential back-off with full jitter: up to `first_s` seconds after the first failure, doubled each time up to `maximum_s`.

    Full jitter (uniform from 0 to the ceiling) spreads the many who wait for the same thing
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    first_s: float
    maximum_s: float

    def __post_init__(self) -> None:
        if self.first_s < 0 or self.maximum_s < 0:
            raise ValueError("a wait cannot be negative")

    def ceiling_s(self, failures: int) -> float:
        """Return the longest wait, in seconds, after `failures` failures in a row (counted from 1).

        Raises:
            ValueError: `failures` is not positive.
        """
        if failures < 1:
            raise ValueError("there is nothing to wait for before the first failure")
        doublings = min(failures - 1, 64)  # 2**64 seconds is beyond any maximum, and larger floats overflow
        return min(self.first_s * 2.0**doublings, self.maximum_s)

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Return the wait, in seconds, after `failures` failures in a row: uniform in [0, ceiling]."""
        return rng.uniform(0, self.ceiling_s(failures))

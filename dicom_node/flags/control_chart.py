"""A control chart for a stream of yes and no: the Bernoulli CUSUM, designed by its rate of false alarms.

Source: Reynolds and Stoumbos, "A CUSUM chart for monitoring a proportion when inspecting continuously", Journal of Quality
Technology 31(1), 1999. The reference value is made 1/m with a whole m, as they do, so that the statistic moves in whole points;
then the average number of observations to a signal follows exactly from a Markov chain (Brook and Evans, Biometrika 59(3), 1972).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_LARGEST_LIMIT = 1 << 16
_SMALLEST_STEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Counts points: an observation of the watched kind adds `gain`, any other takes `loss` away, never below 0.

    At `limit` points the rate has left its limits. A chart for a rising rate watches the yes, one for a falling rate the no.
    """

    gain: int
    loss: int
    limit: int

    def after(self, points: int, *, watched: bool) -> int:
        """Return the points after one more observation."""
        return points + self.gain if watched else max(0, points - self.loss)

    def signals(self, points: int) -> bool:
        """Say whether so many points mean that the rate left its limits."""
        return points >= self.limit


@lru_cache
def rising(*, expected: float, noticed: float, false_alarm_every: int) -> Chart:
    """Return the chart that notices when a rate rises from `expected` to `noticed`, both in (0, 1).

    At the expected rate it signals once in `false_alarm_every` observations or more, on average.
    """
    step = _step(expected, noticed)
    limit = _least_limit(lambda h: studies_to_signal_rising(step, h, expected), false_alarm_every)
    return Chart(gain=step - 1, loss=1, limit=limit)


@lru_cache
def falling(*, expected: float, noticed: float, false_alarm_every: int) -> Chart:
    """Return the chart that notices when a rate falls from `expected` to `noticed`, as `rising`."""
    step = _step(expected, noticed)
    limit = _least_limit(lambda h: studies_to_signal_falling(step, h, expected), false_alarm_every)
    return Chart(gain=1, loss=step - 1, limit=limit)


def _step(expected: float, noticed: float) -> int:
    """Return m = 1 / reference value, whole: the reference value of the sequential probability ratio test of the two rates."""
    numerator = math.log((1 - expected) / (1 - noticed))
    denominator = math.log(noticed * (1 - expected) / (expected * (1 - noticed)))
    return max(_SMALLEST_STEP, round(denominator / numerator))


def studies_to_signal_rising(step: int, limit: int, rate: float) -> float:
    """Return the average number of observations to a signal of a rising chart that starts at 0 points."""
    # E(i) = 1 + q E(i - 1) + p E(i + step - 1), and 0 from `limit` on. Written as a + b u with u = E(limit - 1), from the top down.
    q = 1 - rate
    a, b = [0.0] * (limit + step), [0.0] * (limit + step)
    b[limit - 1] = 1.0
    for i in range(limit - 1, 0, -1):
        a[i - 1] = (a[i] - 1 - rate * a[i + step - 1]) / q
        b[i - 1] = (b[i] - rate * b[i + step - 1]) / q
    # At the floor: E(0) = 1 + q E(0) + p E(step - 1).
    unknown = (1 + rate * a[step - 1] - rate * a[0]) / (rate * b[0] - rate * b[step - 1])
    return a[0] + b[0] * unknown


def studies_to_signal_falling(step: int, limit: int, rate: float) -> float:
    """Return the average number of observations to a signal of a falling chart that starts at 0 points."""
    # E(i) = 1 + q E(i + 1) + p E(max(0, i - step + 1)), and E(limit) = 0. Written as a + b u with u = E(0), from the floor up.
    q = 1 - rate
    a, b = [0.0] * (limit + 1), [0.0] * (limit + 1)
    b[0] = 1.0
    for i in range(limit):
        floor = max(0, i - step + 1)
        a[i + 1] = (a[i] - 1 - rate * a[floor]) / q
        b[i + 1] = (b[i] - rate * b[floor]) / q
    return -a[limit] / b[limit]


def _least_limit(studies_to_signal: Callable[[int], float], wanted: int) -> int:
    above = 1
    while studies_to_signal(above) < wanted:
        above *= 2
        if above > _LARGEST_LIMIT:
            raise ValueError("no such control chart: bring the rates further apart, or allow more false alarms")
    below = above // 2
    while above - below > 1:
        middle = (above + below) // 2
        if studies_to_signal(middle) < wanted:
            below = middle
        else:
            above = middle
    return above

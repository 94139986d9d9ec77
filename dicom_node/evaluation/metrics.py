"""How well scores tell two classes apart, and how sure that is. Pure numpy; nothing here knows images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.intp]
Statistic = Callable[[Floats], Floats]

RESAMPLES = 1000
OPERATING_POINT = 0.5
_INTERVAL = (2.5, 97.5)
_FEWEST_GROUPS = 2  # on each side: one patient drawn again and again has no spread
_USABLE_RESAMPLES = 0.5
_BLOCK_ELEMENTS = 1 << 22
_CORNERS = 200  # of a drawn curve: more than a page has pixels for


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where 95 % of the bootstrap's resamples lie."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and how sure it is. `value` None: it cannot be given, and `note` says why; `interval` None: that cannot be given."""

    value: float | None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """Resampling of `groups` (one code from 0 for each image: the same code, drawn together), with replacement; the same for the same seed.

    Source: the cluster bootstrap (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8) with percentile limits.
    """

    groups: Codes
    seed: int

    def distribution(self, statistic: Statistic) -> Floats:
        """Return the statistic of each resample, `(RESAMPLES, ...)`; it gets weights `(b, images)` and answers `(b, ...)`."""
        if len(self.groups) * RESAMPLES <= _BLOCK_ELEMENTS:
            return statistic(_all_weights(self.groups.tobytes(), self.seed))
        return np.concatenate([statistic(block) for block in _weights(self.groups, self.seed)])

    def interval(self, statistic: Statistic) -> Interval | None:
        """Return the limits of a statistic `(b,)`; None if most resamples have none (NaN)."""
        return limits(self.distribution(statistic))


def _weights(groups: Codes, seed: int) -> Iterator[Floats]:
    """Yield blocks of resamples, `(b, images)`: how often each image was drawn."""
    rng = np.random.default_rng(seed)
    count = int(groups.max(initial=-1)) + 1
    rows = max(1, min(RESAMPLES, _BLOCK_ELEMENTS // max(1, len(groups))))
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        drawn = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times.astype(np.float64)[:, groups]


@lru_cache(maxsize=1)  # one case asks for several figures of the same resamples
def _all_weights(groups: bytes, seed: int) -> Floats:
    return np.concatenate(list(_weights(np.frombuffer(groups, dtype=np.intp), seed)))


def limits(distribution: Floats) -> Interval | None:
    """Return the middle 95 % of one figure's resamples; None if most are NaN."""
    known = distribution[np.isfinite(distribution)]
    if len(known) < _USABLE_RESAMPLES * len(distribution):
        return None
    low, high = np.percentile(known, _INTERVAL)
    return Interval(low=float(low), high=float(high))


def group_codes(names: Sequence[object]) -> Codes:
    """Return a code from 0 for each different name, in the order of their first occurrence."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.intp)


def auroc(scores: Floats, positive: Flags) -> float:
    """Return the chance that a positive image has a higher score than a negative one, ties counted half; NaN without one of the two.

    Source: Hanley and McNeil, Radiology 1982;143:29.
    """
    return float(weighted_auroc(scores, positive, np.ones((1, len(scores))))[0])


def weighted_auroc(scores: Floats, positive: Flags, weights: Floats) -> Floats:
    """Return `auroc` for each row of `weights` `(b, n)`: how often an image counts. NaN where one class has no weight."""
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    lost = np.cumsum(np.pad(weights[:, order], ((0, 0), (1, 0))), axis=1)
    at = scores[positive]
    below = (lost[:, np.searchsorted(scores[order], at, "left")] + lost[:, np.searchsorted(scores[order], at, "right")]) / 2
    counts = weights[:, positive]
    return _ratio((counts * below).sum(axis=1), counts.sum(axis=1) * lost[:, -1])


def roc_curve(scores: Floats, positive: Flags) -> tuple[tuple[float, float], ...]:
    """Return (1 - specificity, sensitivity) from (0, 0) to (1, 1) at the scores where the curve turns; empty without one of the classes.

    Of more than 200 turns an even sample is kept.
    """
    if not positive.any() or positive.all():
        return ()
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    sensitivity = np.r_[0, np.cumsum(positive[order])[last] / positive.sum()]
    fall_out = np.r_[0, np.cumsum(~positive[order])[last] / (~positive).sum()]
    up, right = np.diff(sensitivity), np.diff(fall_out)
    turns = np.flatnonzero(np.r_[True, up[:-1] * right[1:] != right[:-1] * up[1:], True])
    kept = turns[np.unique(np.linspace(0, len(turns) - 1, min(len(turns), _CORNERS)).round().astype(np.intp))]
    return tuple(zip(fall_out[kept].tolist(), sensitivity[kept].tolist(), strict=True))


def weighted_recalls(correct: Flags, truth: Codes, classes: int, weights: Floats) -> Floats:
    """Return, for each row of weights and each class, the share of its images that are correct, `(b, classes)`; NaN without any."""
    member = np.zeros((len(truth), classes))
    known = truth >= 0
    member[known, truth[known]] = 1
    return _ratio(weights @ (member * correct[:, None]), weights @ member)


def mean_of_known(values: Floats) -> Floats:
    """Return the mean over the last axis, NaN left out; NaN if nothing else is there."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def spearman(x: Floats, y: Floats) -> float:
    """Return the rank correlation, ties with their mean rank; NaN if one side does not vary.

    Source: Spearman, Am J Psychol 1904;15:72, as Pearson's correlation of ranks.
    """
    first, second = (_ranks(side) - (len(side) - 1) / 2 for side in (x, y))
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / spread if spread else float("nan")


def discrimination(scores: Floats, positive: Flags, groups: Codes, *, seed: int) -> Estimate:
    """Return the AUROC with its interval; without one where one class has images of fewer than two groups."""
    if not positive.any() or positive.all():
        return Estimate(value=None, note="no positive images" if not positive.any() else "no negative images")
    value = auroc(scores, positive)
    if not enough_groups(positive, groups):
        return Estimate(value=value, note="no interval: one class is a single patient or image")
    bootstrap = Bootstrap(groups=groups, seed=seed)
    return Estimate(value=value, interval=bootstrap.interval(lambda weights: weighted_auroc(scores, positive, weights)))


def enough_groups(positive: Flags, groups: Codes, fewest: int = _FEWEST_GROUPS) -> bool:
    """True if both classes have images of so many groups."""
    return min(len(np.unique(groups[positive])), len(np.unique(groups[~positive]))) >= fewest


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], dtype=np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan), dtype=np.float64)

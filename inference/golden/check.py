"""Compares recomputed arrays with the reference outputs, and says what a difference looks like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from inference.adapters import ModelAdapter, ModelLoadError
from inference.device.precision import Precision
from inference.golden.arrays import Recomputation, in_order
from inference.golden.folder import Array, Golden, GoldenError, TypicalMistake

_EXACT = ("token_ids", "attention_mask")
_LIMITS = (
    ("preprocessed", "preprocessed_max_abs"),
    ("probabilities", "probabilities_max_abs"),
    ("logits", "logits_max_abs"),
    ("embeddings", "embeddings_max_abs"),
    ("features", "embeddings_max_abs"),
    ("cosine", "embeddings_max_abs"),
)

# Three times the largest difference that autocast made on a CPU (torch 2.15) over thirteen small models of six families: embeddings
# 0.002 of their length (float16) and 0.016 (bfloat16), cosines behind the logits 0.0017 and 0.01, probabilities 0.0044 and 0.037.
_HALF: Mapping[Precision, Mapping[str, float]] = {
    "float32": {},
    "float16": {"embeddings_max_abs": 0.006, "logits_max_abs": 0.005, "probabilities_max_abs": 0.014},
    "bfloat16": {"embeddings_max_abs": 0.05, "logits_max_abs": 0.03, "probabilities_max_abs": 0.12},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayCheck:
    """One array: the largest absolute difference (None if shapes differ or nothing was computed) against its tolerance."""

    array: str
    difference: float | None
    tolerance: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is within the tolerance."""
        return not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """All arrays of one folder, in the order of computation. `looks_like` is the closest typical mistake, "" if all is well."""

    name: str
    family: str
    arrays: tuple[ArrayCheck, ...]
    looks_like: str

    @property
    def ok(self) -> bool:
        """Whether all arrays are within their tolerances."""
        return all(array.ok for array in self.arrays)


def check(golden: Golden, adapter: ModelAdapter, *, precision: Precision = "float32") -> GoldenReport:
    """Return how the model on its device compares with the reference outputs; `precision` is what it computes in.

    Raises:
        GoldenError: the folder has no tolerance for an array, or an input image is missing.
    """
    own = Recomputation(golden, adapter)
    checks = tuple(_checked(name, golden, own, precision) for name in in_order(tuple(golden.expected)))
    return GoldenReport(name=golden.name, family=adapter.manifest.family, arrays=checks, looks_like=_closest(checks, golden.mistakes))


def require_match(golden: Golden, adapter: ModelAdapter, *, precision: Precision = "float32") -> GoldenReport:
    """Return the report of a model that matches.

    Raises:
        ModelLoadError: it does not; the message names the first array that differs and what it looks like.
        GoldenError: see `check`.
    """
    report = check(golden, adapter, precision=precision)
    wrong = [array for array in report.arrays if not array.ok]
    if wrong:
        like = f"; that looks like {report.looks_like!r}" if report.looks_like else ""
        raise ModelLoadError(
            f"model {adapter.manifest.name} does not reproduce the reference outputs in {golden.folder}:"
            f" {wrong[0].array} {wrong[0].problem}{like}"
            ". It does not serve: compare the manifest with the publisher's code, or undo the update of a driver or library"
        )
    return report


def _checked(name: str, golden: Golden, own: Recomputation, precision: Precision) -> ArrayCheck:
    expected, tolerance = golden.expected[name], _tolerance(name, golden, precision, own.largest_scale)
    found = own.array(name)
    if found is None:
        return ArrayCheck(array=name, difference=None, tolerance=tolerance, problem="is an array that this node cannot compute")
    if found.shape != expected.shape:
        return ArrayCheck(array=name, difference=None, tolerance=tolerance, problem=f"has shape {found.shape} instead of {expected.shape}")
    difference = _difference(found, expected)
    wrong = not difference <= tolerance
    return ArrayCheck(
        array=name,
        difference=difference,
        tolerance=tolerance,
        problem=f"differs by {difference:.3g}, more than {tolerance:g}" if wrong else "",
    )


def _difference(found: Array, expected: Array) -> float:
    if not found.size:
        return 0.0
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())


def _tolerance(name: str, golden: Golden, precision: Precision, largest_scale: float) -> float:
    if name in _EXACT:
        return 0.0
    limit = next((limit for part, limit in _LIMITS if part in name), None)
    found = golden.tolerances.get(limit) if limit else None
    if not isinstance(found, int | float):
        raise GoldenError(f"{golden.folder}: golden.json gives no tolerance for {name}; add {limit or 'one'} under tolerance")
    half = _HALF[precision].get(str(limit), 0.0)
    return max(float(found), half * _magnitude(name, str(limit), golden.expected[name], largest_scale))


def _magnitude(name: str, limit: str, expected: Array, largest_scale: float) -> float:
    """By what a rounding of unit vectors grows: the factor on cosines; the length of vectors that are no unit vectors (raw features)."""
    if limit == "logits_max_abs":
        return largest_scale
    if limit == "embeddings_max_abs" and "cosine" not in name and expected.size:
        return max(1.0, float(np.linalg.norm(expected, axis=-1).max()))
    return 1.0


def _closest(checks: tuple[ArrayCheck, ...], mistakes: tuple[TypicalMistake, ...]) -> str:
    """The mistake that moves the same arrays by about as much; "" if no array differs or nothing known moves those that do."""
    differing = {check.array: check.difference for check in checks if not check.ok}
    known: dict[str, list[TypicalMistake]] = {}
    for mistake in mistakes:
        known.setdefault(mistake.mistake, []).append(mistake)
    distances = {name: max(_distance(differing, one) for one in moved) for name, moved in known.items()}
    closest = min(distances, key=lambda name: distances[name], default="")
    return closest if closest and math.isfinite(distances[closest]) else ""


def _distance(differing: Mapping[str, float | None], mistake: TypicalMistake) -> float:
    """How many times larger or smaller, as a logarithm; a changed shape is like a changed shape only."""
    if mistake.array not in differing:
        return math.inf
    found, known = differing[mistake.array], mistake.difference
    if found is None or known is None:
        return 0.0 if found is known else math.inf
    return abs(math.log(max(found, 1e-12) / max(known, 1e-12)))

"""Reference outputs of a model ("golden" outputs): read, recomputed on the device in use, compared.

A folder holds `golden.json`, `expected.npz`, the input images and, for a whole fixture, the published checkpoint. Nothing is
taken for granted but the fields of that file: shapes, sizes and arrays are whatever it names.
"""

from inference.golden.check import ArrayCheck, GoldenReport, check, require_match
from inference.golden.folder import Golden, GoldenError, read_golden
from inference.golden.start import prove, prove_as_served

__all__ = ["ArrayCheck", "Golden", "GoldenError", "GoldenReport", "check", "prove", "prove_as_served", "read_golden", "require_match"]

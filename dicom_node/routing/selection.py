"""What a work item is about: which files of the store were selected, which instances were left out and why."""

import hashlib
from dataclasses import dataclass

import msgspec

from inference.findings import Exclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedFile:
    """One instance that a route selected; `path` is relative to the object store."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The inputs of a work item, in the order in which they arrived.

    `purged` were inputs of an earlier revision, and their files are gone: they are inputs still when it is asked whether
    anything changed. Each is also in `excluded`.
    """

    files: tuple[SelectedFile, ...]
    excluded: tuple[Exclusion, ...]
    purged: tuple[SelectedFile, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) over the UIDs and data sets of the inputs, whatever their order."""
        lines = sorted(f"{file.sop_instance_uid} {file.digest}" for file in (*self.files, *self.purged))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def encode_selection(selection: Selection) -> bytes:
    """Return `selection` as the ledger keeps it."""
    return msgspec.json.encode(selection)


def decode_selection(data: bytes) -> Selection:
    """Return what `encode_selection` was given.

    Raises:
        msgspec.ValidationError: `data` is something else.
    """
    return msgspec.json.decode(data, type=Selection)

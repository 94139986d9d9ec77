"""The values that the shell passes around: what arrived, what a study is, where it goes. No I/O."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One SOP Instance as it lies in the object store, byte for byte as the peer sent it.

    `digest` is the BLAKE3 (hexadecimal) of the encoded data set without preamble and File Meta Information; `version`
    counts different data sets that arrived under one SOP Instance UID, from 1; `path` is relative to the object store.
    `expected_instances` is Number of Study Related Instances (0020,1208) where the sender says it.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    calling_ae_title: str
    received_at: datetime
    digest: str
    size_bytes: int
    path: Path
    version: int = 1
    expected_instances: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An instance that has just arrived, and whether its study is in a hurry for it."""

    instance: ReceivedInstance
    urgent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One revision of a study: the newest version of each instance that had arrived when it settled.

    `purged` are those of them whose files were purged after an earlier revision was reported.
    """

    study_instance_uid: str
    revision: int
    urgent: bool
    instances: tuple[ReceivedInstance, ...]
    first_arrival: datetime
    last_arrival: datetime
    purged: tuple[ReceivedInstance, ...] = ()

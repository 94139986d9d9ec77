"""What was received, in the audit trail: a message for each sender and revision of a study, when its revision is fixed.

The ledger knows what arrived and what was told of it, so that a crash of any process leaves nothing out, and the receiver, which has
to answer a modality, has nothing to do with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dicom_node.audit import record
from dicom_node.audit.events import InstancesReceived
from dicom_node.audit.message import SopClassCount


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What one sender sent of one study since the revision that was told before. `path` is that of one of the instances."""

    calling_ae_title: str
    sop_classes: tuple[SopClassCount, ...]
    last_arrival: datetime
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UntoldStudy:
    """A study with arrivals, up to `revision`, that are not in the audit trail."""

    study_instance_uid: str
    revision: int
    arrivals: tuple[Arrival, ...]


class ArrivalLedger(Protocol):
    """What the ledger knows of it."""

    def untold_studies(self, limit: int = 100) -> tuple[UntoldStudy, ...]: ...

    def record_told(self, study: UntoldStudy) -> None: ...


def tell_arrivals(ledger: ArrivalLedger, absolute: Callable[[Path], Path]) -> int:
    """Record what arrived and is not told yet; return of how many studies. What cannot be written now is told in the next round."""
    told = 0
    for study in ledger.untold_studies():
        if not all(record(_event(study, arrival, absolute)) for arrival in study.arrivals):
            break
        ledger.record_told(study)
        told += 1
    return told


def _event(study: UntoldStudy, arrival: Arrival, absolute: Callable[[Path], Path]) -> InstancesReceived:
    # Not above: pydicom takes 40 MB, and the receivers load the ledger, but tell nothing of this.
    from dicom_node.audit.subjects import patient_id_in  # noqa: PLC0415

    return InstancesReceived(
        study_instance_uid=study.study_instance_uid,
        patient_id=patient_id_in(absolute(arrival.path)),
        calling_ae_title=arrival.calling_ae_title,
        address="",
        sop_classes=arrival.sop_classes,
        at=arrival.last_arrival,
    )

"""What is audited, each as a value that says only what its place in the code knows. `messages` makes audit messages of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dicom_node.audit.message import EventOutcome, SopClassCount

_UID = re.compile(r"[0-2]((\.0)|(\.[1-9][0-9]*))*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationStarted:
    """A process of the node started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationStopped:
    """A process of the node stopped in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRefused:
    """A peer was not let in. `address` is its IP address."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged:
    """The node was started with other settings than before; digests are SHA-256 in hexadecimal."""

    path: str
    before: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorActed:
    """Somebody used a command that changes what becomes of results. `subject`: a Study Instance UID, or what else it was about."""

    user: str
    action: str
    subject: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogUsed:
    """Somebody read the audit trail."""

    user: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecordsLost:
    """Records were removed before the repository had them, because there was no room for more."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesReceived:
    """Instances of one study came from one sender. Without `sop_classes` nothing could be kept of them."""

    study_instance_uid: str
    patient_id: str
    calling_ae_title: str
    address: str
    sop_classes: tuple[SopClassCount, ...]
    at: datetime
    outcome: EventOutcome = EventOutcome.SUCCESS
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesRefused:
    """Instances came on one association and were not taken. Of which study they are was not looked at."""

    calling_ae_title: str
    address: str
    sop_classes: tuple[SopClassCount, ...]
    statuses: tuple[int, ...]

    @classmethod
    def of(cls, calling_ae_title: str, address: str, refused: Mapping[tuple[str, int], int]) -> "InstancesRefused":
        """Return the event for so many refusals by SOP class and status."""
        classes: dict[str, int] = {}
        for (sop_class_uid, _), number in sorted(refused.items()):
            known = sop_class_uid if _UID.fullmatch(sop_class_uid) else ""
            classes[known] = classes.get(known, 0) + number
        return cls(
            calling_ae_title=calling_ae_title,
            address=address,
            sop_classes=tuple(SopClassCount(sop_class_uid=uid, instances=number) for uid, number in classes.items()),
            statuses=tuple(sorted({status for _, status in refused})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesAccessed:
    """The images of a study were analysed."""

    study_instance_uid: str
    patient_id: str
    sop_classes: tuple[SopClassCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferBegun:
    """A result is about to be sent to an archive. `peer` is what it is called: an AE title, or a URL."""

    study_instance_uid: str
    patient_id: str
    peer: str
    address: str
    sop_classes: tuple[SopClassCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesSent:
    """A result was sent to an archive, or was not."""

    study_instance_uid: str
    patient_id: str
    peer: str
    address: str
    sop_classes: tuple[SopClassCount, ...]
    outcome: EventOutcome = EventOutcome.SUCCESS
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultExported:
    """A result left DICOM: as a message to another system or as a file. `target` is its URI."""

    study_instance_uid: str
    patient_id: str
    target: str
    outcome: EventOutcome = EventOutcome.SUCCESS
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDeleted:
    """The files of a study were removed. `user` is empty if the node did so by itself."""

    study_instance_uid: str
    patient_id: str
    why: str
    user: str = ""


AuditEvent = (
    ApplicationStarted
    | ApplicationStopped
    | AssociationRefused
    | SettingsChanged
    | OperatorActed
    | AuditLogUsed
    | AuditRecordsLost
    | InstancesReceived
    | InstancesRefused
    | InstancesAccessed
    | TransferBegun
    | InstancesSent
    | ResultExported
    | StudyDeleted
)

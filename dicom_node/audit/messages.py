"""From events to audit messages: the tables of PS3.15 A.5.3, one function a table."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import singledispatch
from typing import Any

from config import Code
from dicom_node.audit import codes, events
from dicom_node.audit.message import (
    Action,
    AuditMessage,
    AuditSource,
    EventOutcome,
    ObjectRole,
    ObjectType,
    Participant,
    ParticipantObject,
    SopClassCount,
    aetitles,
)

_ALERT = "Alert Description"
_UID = re.compile(r"[0-9.]{1,64}")

NO_PATIENT_ID = "(none)"
"""What stands where a Patient ID must and there is none."""
UNKNOWN_STUDY = "(unknown)"
"""What stands where a Study Instance UID must and nobody looked."""


def message_of(event: events.AuditEvent, source: AuditSource, at: datetime) -> AuditMessage:
    """Return the audit message for an event that happened at `at`, unless it says itself when."""
    make: Callable[[Any, AuditSource, datetime], AuditMessage] = _message
    return make(event, source, at)


@singledispatch
def _message(event: object, _source: AuditSource, _at: datetime) -> AuditMessage:
    raise TypeError(f"{type(event).__name__} is no event that is audited")


@_message.register
def _started(_event: events.ApplicationStarted, source: AuditSource, at: datetime) -> AuditMessage:
    return _activity(codes.APPLICATION_START, source, at)


@_message.register
def _stopped(_event: events.ApplicationStopped, source: AuditSource, at: datetime) -> AuditMessage:
    return _activity(codes.APPLICATION_STOP, source, at)


def _activity(kind: Code, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.1."""
    return AuditMessage(
        event=codes.APPLICATION_ACTIVITY,
        action=Action.EXECUTE,
        at=at,
        outcome=EventOutcome.SUCCESS,
        event_types=(kind,),
        participants=(_node(source, codes.APPLICATION),),
    )


@_message.register
def _log_used(event: events.AuditLogUsed, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.2."""
    return AuditMessage(
        event=codes.AUDIT_LOG_USED,
        action=Action.READ,
        at=at,
        outcome=EventOutcome.SUCCESS,
        description=event.command,
        participants=(_person(event.user, source), _node(source)),
        objects=(_audit_log(source),),
    )


def _audit_log(source: AuditSource, *details: tuple[str, str]) -> ParticipantObject:
    return ParticipantObject(
        object_id=f"urn:dicom-node:{source.host}:audit",
        id_type=codes.URI,
        type=ObjectType.SYSTEM,
        role=ObjectRole.SECURITY_RESOURCE,
        name="Security Audit Log",
        details=details,
    )


@_message.register
def _begun(event: events.TransferBegun, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.3."""
    return AuditMessage(
        event=codes.BEGIN_TRANSFERRING,
        action=Action.EXECUTE,
        at=at,
        outcome=EventOutcome.SUCCESS,
        participants=(_node(source, codes.SOURCE, is_requestor=True), _archive(event.peer, event.address)),
        objects=(_study(event.study_instance_uid, event.sop_classes), _patient(event.patient_id)),
    )


@_message.register
def _exported(event: events.ResultExported, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.4."""
    media = Participant(
        user_id=event.target,
        is_requestor=False,
        roles=(codes.DESTINATION_MEDIA,),
        network_access_point=event.target,
        media=codes.URI_MEDIA,
    )
    return AuditMessage(
        event=codes.EXPORT,
        action=Action.READ,
        at=at,
        outcome=event.outcome,
        description=event.description,
        participants=(_node(source, codes.SOURCE, is_requestor=True), media),
        objects=(_study(event.study_instance_uid), _patient(event.patient_id)),
    )


@_message.register
def _accessed(event: events.InstancesAccessed, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.6."""
    return AuditMessage(
        event=codes.INSTANCES_ACCESSED,
        action=Action.READ,
        at=at,
        outcome=EventOutcome.SUCCESS,
        participants=(_node(source, is_requestor=True),),
        objects=(_study(event.study_instance_uid, event.sop_classes), _patient(event.patient_id)),
    )


@_message.register
def _received(event: events.InstancesReceived, source: AuditSource, _at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.7, by the receiver."""
    sender = _sender(event.calling_ae_title, event.address)
    return AuditMessage(
        event=codes.INSTANCES_TRANSFERRED,
        action=Action.CREATE,
        at=event.at,
        outcome=event.outcome,
        description=event.description,
        participants=(sender, _node(source, codes.DESTINATION)),
        objects=(_study(event.study_instance_uid, event.sop_classes), _patient(event.patient_id)),
    )


@_message.register
def _not_taken(event: events.InstancesRefused, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.7, where nothing was transferred."""
    statuses = ", ".join(f"0x{status:04X}" for status in event.statuses)
    return AuditMessage(
        event=codes.INSTANCES_TRANSFERRED,
        action=Action.CREATE,
        at=at,
        outcome=EventOutcome.SERIOUS_FAILURE,
        description=f"refused with {statuses}",
        participants=(_sender(event.calling_ae_title, event.address), _node(source, codes.DESTINATION)),
        objects=(_study(UNKNOWN_STUDY, event.sop_classes), _patient("")),
    )


def _sender(calling_ae_title: str, address: str) -> Participant:
    return Participant(
        user_id=calling_ae_title,
        alternative_user_id=aetitles(calling_ae_title),
        is_requestor=True,
        roles=(codes.SOURCE,),
        network_access_point=address,
    )


@_message.register
def _sent(event: events.InstancesSent, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.7, by the sender."""
    return AuditMessage(
        event=codes.INSTANCES_TRANSFERRED,
        action=Action.CREATE,
        at=at,
        outcome=event.outcome,
        description=event.description,
        participants=(_node(source, codes.SOURCE, is_requestor=True), _archive(event.peer, event.address)),
        objects=(_study(event.study_instance_uid, event.sop_classes), _patient(event.patient_id)),
    )


@_message.register
def _deleted(event: events.StudyDeleted, source: AuditSource, at: datetime) -> AuditMessage:
    """PS3.15 A.5.3.8."""
    people = (_person(event.user, source),) if event.user else ()
    return AuditMessage(
        event=codes.STUDY_DELETED,
        action=Action.DELETE,
        at=at,
        outcome=EventOutcome.SUCCESS,
        description=event.why,
        participants=(*people, _node(source, is_requestor=not people)),
        objects=(_study(event.study_instance_uid), _patient(event.patient_id)),
    )


@_message.register
def _refused(event: events.AssociationRefused, source: AuditSource, at: datetime) -> AuditMessage:
    peer = Participant(
        user_id=event.calling_ae_title or event.address,
        alternative_user_id=aetitles(event.calling_ae_title),
        is_requestor=False,
        network_access_point=event.address,
    )
    subject = ParticipantObject(
        object_id=event.address,
        id_type=codes.NODE_ID,
        type=ObjectType.SYSTEM,
        role=ObjectRole.SECURITY_RESOURCE,
        name=event.calling_ae_title or event.address,
        details=((_ALERT, f"association refused: {event.reason}; called AE title {event.called_ae_title or 'unknown'}"),),
    )
    return _alert(codes.NODE_AUTHENTICATION, source, at, EventOutcome.SERIOUS_FAILURE, others=(peer,), subject=subject)


@_message.register
def _settings_changed(event: events.SettingsChanged, source: AuditSource, at: datetime) -> AuditMessage:
    subject = ParticipantObject(
        object_id=event.path,
        id_type=codes.URI,
        type=ObjectType.SYSTEM,
        role=ObjectRole.MASTER_FILE,
        name="Settings",
        details=((_ALERT, f"settings changed: SHA-256 {event.before or '(first start)'} before, {event.now} now"),),
    )
    return _alert(codes.SOFTWARE_CONFIGURATION, source, at, EventOutcome.SUCCESS, subject=subject)


@_message.register
def _acted(event: events.OperatorActed, source: AuditSource, at: datetime) -> AuditMessage:
    subject = ParticipantObject(
        object_id=f"urn:oid:{event.subject}" if _UID.fullmatch(event.subject) else f"urn:dicom-node:{event.subject}",
        id_type=codes.URI,
        type=ObjectType.SYSTEM,
        role=ObjectRole.SECURITY_RESOURCE,
        name=event.action,
        details=((_ALERT, f"{event.action}: {event.why}"),),
    )
    user = _person(event.user, source, is_requestor=False)
    return _alert(codes.USE_OF_RESTRICTED_FUNCTION, source, at, EventOutcome.SUCCESS, others=(user,), subject=subject)


@_message.register
def _lost(event: events.AuditRecordsLost, source: AuditSource, at: datetime) -> AuditMessage:
    words = f"records {event.first} to {event.last} were removed before the repository had them: there was no room for more"
    return _alert(codes.AUDIT_RECORDING_STOPPED, source, at, EventOutcome.MAJOR_FAILURE, subject=_audit_log(source, (_ALERT, words)))


def _alert(
    kind: Code,
    source: AuditSource,
    at: datetime,
    severity: EventOutcome,
    *,
    subject: ParticipantObject,
    others: tuple[Participant, ...] = (),
) -> AuditMessage:
    """PS3.15 A.5.3.11. The reporting process is the requestor, the performing one shall not be."""
    return AuditMessage(
        event=codes.SECURITY_ALERT,
        action=Action.EXECUTE,
        at=at,
        outcome=severity,
        event_types=(kind,),
        participants=(_node(source, is_requestor=True), *others),
        objects=(subject,),
    )


def _node(source: AuditSource, *roles: Code, is_requestor: bool = False) -> Participant:
    """This node: UserID is the process as its logs name it, UserName what it is called (PS3.15 A.5.2.1 and A.5.2.3)."""
    return Participant(
        user_id=source.process,
        alternative_user_id=aetitles(source.ae_title),
        user_name="dicom-node",
        is_requestor=is_requestor,
        roles=roles,
        network_access_point=source.host,
    )


def _person(user: str, source: AuditSource, *, is_requestor: bool = True) -> Participant:
    return Participant(user_id=f"{user}@{source.host}", is_requestor=is_requestor, network_access_point=source.host)


def _archive(peer: str, address: str) -> Participant:
    titles = "" if "/" in peer else aetitles(peer)
    return Participant(
        user_id=peer, alternative_user_id=titles, is_requestor=False, roles=(codes.DESTINATION,), network_access_point=address
    )


def _study(study_instance_uid: str, sop_classes: tuple[SopClassCount, ...] = ()) -> ParticipantObject:
    return ParticipantObject(
        object_id=study_instance_uid,
        id_type=codes.STUDY_INSTANCE_UID,
        type=ObjectType.SYSTEM,
        role=ObjectRole.REPORT,
        name=study_instance_uid,
        sop_classes=sop_classes,
    )


def _patient(patient_id: str) -> ParticipantObject:
    """The patient by Patient ID alone: the name is optional (A.5.3), so it is left where it is; the schema wants some name."""
    found = patient_id.strip() or NO_PATIENT_ID
    return ParticipantObject(object_id=found, id_type=codes.PATIENT_NUMBER, type=ObjectType.PERSON, role=ObjectRole.PATIENT, name=found)

"""An audit message as a value, and as XML by the schema of PS3.15 A.5.1."""

import base64
import enum
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as ET

from config import Code

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_MACHINE_NAME, _IP_ADDRESS, _A_URI = "1", "2", "5"


class Action(enum.StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class EventOutcome(enum.IntEnum):
    """EventOutcomeIndicator. Of a security alert it is the severity."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


class ObjectType(enum.IntEnum):
    """ParticipantObjectTypeCode."""

    PERSON = 1
    SYSTEM = 2


class ObjectRole(enum.IntEnum):
    """ParticipantObjectTypeCodeRole, as far as it is used here."""

    PATIENT = 1
    REPORT = 3
    MASTER_FILE = 5
    SECURITY_RESOURCE = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Who writes the messages: the node. `process` is the name and number that its logs use."""

    site: str
    ae_title: str
    host: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A person or process that took part. `network_access_point`: host name, IP address or URI; empty if there is none or it is unknown."""

    user_id: str
    is_requestor: bool
    alternative_user_id: str = ""
    user_name: str = ""
    roles: tuple[Code, ...] = ()
    network_access_point: str = ""
    media: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SopClassCount:
    """How many instances of one SOP class."""

    sop_class_uid: str
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantObject:
    """What it was about. `details` are pairs of a type and a text."""

    object_id: str
    id_type: Code
    type: ObjectType
    role: ObjectRole
    name: str
    details: tuple[tuple[str, str], ...] = ()
    sop_classes: tuple[SopClassCount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditMessage:
    """One audit message. `at` is aware."""

    event: Code
    action: Action
    at: datetime
    outcome: EventOutcome
    participants: tuple[Participant, ...]
    event_types: tuple[Code, ...] = ()
    description: str = ""
    objects: tuple[ParticipantObject, ...] = ()


def aetitles(*titles: str) -> str:
    """Return AE titles as PS3.15 A.5.2.2 wants them, empty without any."""
    known = [title.strip() for title in titles if title.strip()]
    return f"AETITLES={';'.join(known)}" if known else ""


def encode(message: AuditMessage, source: AuditSource) -> str:
    """Return the message as XML in one line, without declaration. Characters that XML cannot hold are replaced by U+FFFD."""
    root = ET.Element("AuditMessage")
    event = _element(
        root,
        "EventIdentification",
        EventActionCode=message.action.value,
        EventDateTime=message.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(int(message.outcome)),
    )
    _coded(event, "EventID", message.event)
    for code in message.event_types:
        _coded(event, "EventTypeCode", code)
    if message.description:
        _element(event, "EventOutcomeDescription").text = _xml(message.description)
    for participant in message.participants:
        _participant(root, participant)
    _element(root, "AuditSourceIdentification", AuditEnterpriseSiteID=source.site, AuditSourceID=f"{source.ae_title}@{source.host}")
    for found in message.objects:
        _object(root, found)
    return ET.tostring(root, encoding="unicode")


def _participant(root: ET.Element, participant: Participant) -> None:
    element = _element(
        root,
        "ActiveParticipant",
        UserID=participant.user_id,
        AlternativeUserID=participant.alternative_user_id or None,
        UserName=participant.user_name or None,
        UserIsRequestor="true" if participant.is_requestor else "false",
        NetworkAccessPointID=participant.network_access_point or None,
        NetworkAccessPointTypeCode=_access_point_type(participant.network_access_point),
    )
    for role in participant.roles:
        _coded(element, "RoleIDCode", role)
    if participant.media is not None:
        _coded(_element(element, "MediaIdentifier"), "MediaType", participant.media)


def _access_point_type(point: str) -> str | None:
    if not point:
        return None
    if "/" in point:
        return _A_URI
    try:
        ipaddress.ip_address(point)
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _object(root: ET.Element, found: ParticipantObject) -> None:
    element = _element(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=found.object_id,
        ParticipantObjectTypeCode=str(int(found.type)),
        ParticipantObjectTypeCodeRole=str(int(found.role)),
    )
    _coded(element, "ParticipantObjectIDTypeCode", found.id_type)
    _element(element, "ParticipantObjectName").text = _xml(found.name)
    for kind, value in found.details:
        _element(element, "ParticipantObjectDetail", type=kind, value=base64.b64encode(value.encode("utf-8", errors="replace")).decode())
    if found.sop_classes:
        _described(element, found.sop_classes)


def _described(element: ET.Element, sop_classes: Sequence[SopClassCount]) -> None:
    description = _element(element, "ParticipantObjectDescription")
    for count in sop_classes:
        _element(description, "SOPClass", UID=count.sop_class_uid or None, NumberOfInstances=str(count.instances))


def _coded(parent: ET.Element, name: str, code: Code) -> None:
    _element(parent, name, **{"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning})


def _element(parent: ET.Element, name: str, **attributes: str | None) -> ET.Element:
    return ET.SubElement(parent, name, {key: _xml(value) for key, value in attributes.items() if value is not None})


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)

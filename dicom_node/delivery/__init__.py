"""Sending results: what a channel is, what it answers, and which kinds there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Protocol

from config.destinations import Destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One result on its way. `path` is absolute; of a message `sop_class_uid` is empty and `sop_instance_uid` its identifier.

    `accepted_as` is the SOP class as which the destination took this kind of result last time, "" if nobody knows.
    """

    path: Path
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    accepted_as: str = ""
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the destination answered. `status` is exactly as the peer gave it ("0x0000", "202 0xB000"); a folder answers "written".

    `accepted` is True for success and for the warnings that the Standard knows; a warning also sets `warning`. The UIDs are those
    of what was sent: another variant of the report has its own. Both are empty where the result itself was sent.
    """

    destination: str
    status: str
    accepted: bool
    warning: bool
    at: datetime
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """One result that one sender holds the lease to deliver to one destination.

    `path` is relative to the object store; `attempts` counts this one too (claiming counts, so a crash does). `digest` is the
    SHA-256 (hexadecimal) of the file: one that no longer matches is not sent. "" is not compared.
    """

    id: int
    destination: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    study_instance_uid: str
    work_item_id: int
    attempts: int
    digest: str = ""
    kind: str = ""
    accepted_as: str = ""


class DeliveryChannel(Protocol):
    """A way to one destination. Delivering the same result again is harmless: a crash before the record means once more."""

    def deliver(self, result: Outgoing) -> Receipt:
        """Return the destination's receipt; it has the result now.

        Raises:
            DeliveryError: it has not, or did not say so; the subclass says why (`dicom_node.failures`).
        """
        ...

    def probe(self) -> str:
        """Return what the destination answers to the smallest question that its protocol has; nothing is stored there.

        Raises:
            DeliveryError: it cannot take results now; the message says what to do.
        """
        ...


CHANNELS: Mapping[str, str] = {
    "c-store": "dicom_node.delivery.c_store:CStoreChannel",
    "stow": "dicom_node.delivery.stow:StowChannel",
    "hl7": "dicom_node.delivery.hl7:Hl7Channel",
    "fhir": "dicom_node.delivery.fhir:FhirChannel",
    "folder": "dicom_node.delivery.folder:FolderChannel",
}
"""Kind of a destination in the settings -> import path of its channel."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_channel(destination: Destination, *, calling_ae_title: str, clock: Callable[[], datetime] = utc_now) -> DeliveryChannel:
    """Return the channel to `destination`. Nothing is connected before the first delivery.

    Raises:
        TlsFilesError: a certificate or key that it needs cannot be used.
    """
    module, _, name = CHANNELS[destination.kind].partition(":")
    factory: Callable[..., DeliveryChannel] = getattr(import_module(module), name)
    return factory(destination, calling_ae_title=calling_ae_title, clock=clock)

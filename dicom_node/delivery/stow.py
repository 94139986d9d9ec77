"""Results to an archive by DICOMweb: Store Instances (STOW-RS, PS3.18 10.5), one instance a request."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as Xml

from config.destinations import StowDestination
from dicom_node.delivery import Outgoing, Receipt
from dicom_node.delivery.c_store import DUPLICATE_SOP_INSTANCE, SOP_CLASS_NOT_SUPPORTED, failure_of
from dicom_node.delivery.http import Answer, WebService, refusal
from dicom_node.delivery.variants import Content, content_as, offers, read_content
from dicom_node.failures import EmptyAnswerError, StoreRefusedError

_OK, _ACCEPTED, _CONFLICT = 200, 202, 409
_UNSUPPORTED = 415
_REFERENCED, _FAILED = "00081199", "00081198"
_INSTANCE, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
NO_STUDY = "2.25.0"
"""A Study Instance UID that no study has."""
_ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the Store Instances Response Module (PS3.18 table I.2-1) says of one instance; `reason` is None where it says none."""

    failed: bool
    reason: int | None


class StowChannel:
    """Posts one result and believes it stored only if the answer names it."""

    def __init__(self, destination: StowDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._destination = destination
        self._clock = clock
        self._service = WebService(destination)

    def deliver(self, result: Outgoing) -> Receipt:
        """Return the archive's receipt; its status is that of HTTP with the Warning Reason, if there is one."""
        part10 = read_content(result)
        offered = offers(result, self._destination.variants)
        if result.accepted_as in offered:
            offered = (result.accepted_as, *(uid for uid in offered if uid != result.accepted_as))
        for sop_class_uid in offered[:-1]:
            try:
                return self._store(content_as(result, part10, sop_class_uid))
            except StoreRefusedError as exc:
                if not exc.status.endswith(f"0x{SOP_CLASS_NOT_SUPPORTED:04X}"):
                    raise
        return self._store(content_as(result, part10, offered[-1]))

    def _store(self, content: Content) -> Receipt:
        boundary = hashlib.sha256(content.part10).hexdigest()[:40]
        body = b"".join(
            (f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), content.part10, f"\r\n--{boundary}--\r\n".encode())
        )
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', "Accept": _ACCEPT}
        answer = self._service.ask("POST", "/studies", headers=headers, body=body)
        return self._receipt(answer, content)

    def _receipt(self, answer: Answer, content: Content) -> Receipt:
        name, uid = self._destination.name, content.sop_instance_uid
        said = next((stored for found, stored in _stored_instances(answer) if found == uid), None)
        status = str(answer.status) + ("" if said is None or said.reason is None else f" 0x{said.reason:04X}")
        if said is not None and said.failed and said.reason != DUPLICATE_SOP_INSTANCE:
            if said.reason is None:
                raise StoreRefusedError(f"{name} answered {status} for {uid}: it failed, and no reason is given", status=status)
            raise failure_of(said.reason, name, uid, status=status)
        if answer.status not in {_OK, _ACCEPTED} and said is None:
            raise refusal(answer, name, uid)
        if said is None:
            raise EmptyAnswerError(f"{name} answered {status} but does not name {uid} as stored; it will be sent again", status=status)
        return Receipt(
            destination=name,
            status=status,
            accepted=True,
            warning=said.reason is not None,
            at=self._clock(),
            sop_class_uid=content.sop_class_uid,
            sop_instance_uid=uid,
        )

    def probe(self) -> str:
        """Return the answer to OPTIONS, or to a search that finds nothing; it raises as `DeliveryChannel` says."""
        answer = self._service.ask("OPTIONS", "/studies", headers={"Accept": "*/*"})
        asked = "OPTIONS"
        if answer.status in {404, 405}:  # some services, such as Orthanc, know no OPTIONS
            asked = "GET"
            answer = self._service.ask("GET", f"/studies?StudyInstanceUID={NO_STUDY}&limit=1", headers={"Accept": _ACCEPT})
        if answer.status >= 500 or answer.status in {401, 403, 404, 410}:  # noqa: PLR2004 - HTTP's own numbers
            raise refusal(answer, self._destination.name, asked)
        return f"{asked} {answer.status}"


def _stored_instances(answer: Answer) -> Iterator[tuple[str, _Stored]]:
    """Yield each SOP Instance UID that an answer names. An answer that cannot be read names none."""
    try:
        if answer.media_type.endswith("xml"):
            yield from _of_xml(Xml.fromstring(answer.body))  # noqa: S314 - expat expands no external entities and limits amplification
        else:
            yield from _of_json(json.loads(answer.body))
    except (ValueError, Xml.ParseError, AttributeError, TypeError, KeyError, IndexError):
        return


def _of_json(found: Any) -> Iterator[tuple[str, _Stored]]:
    module = found[0] if isinstance(found, list) else found
    for sequence, reason, failed in ((_REFERENCED, _WARNING_REASON, False), (_FAILED, _FAILURE_REASON, True)):
        for item in module.get(sequence, {}).get("Value", ()):
            uid = item.get(_INSTANCE, {}).get("Value", [""])[0]
            given = item.get(reason, {}).get("Value", [])
            yield str(uid), _Stored(failed=failed, reason=int(given[0]) if given else None)


def _of_xml(root: Xml.Element) -> Iterator[tuple[str, _Stored]]:
    for sequence, reason, failed in ((_REFERENCED, _WARNING_REASON, False), (_FAILED, _FAILURE_REASON, True)):
        for item in root.findall(f"{{*}}DicomAttribute[@tag='{sequence}']/{{*}}Item"):
            uid = item.findtext(f"{{*}}DicomAttribute[@tag='{_INSTANCE}']/{{*}}Value", default="")
            given = item.findtext(f"{{*}}DicomAttribute[@tag='{reason}']/{{*}}Value")
            yield uid.strip(), _Stored(failed=failed, reason=int(given) if given else None)

"""Results to an archive by C-STORE (PS3.4 Annex B): one association a call, the SOP classes that may be sent, nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time from a table

from config.destinations import CStoreDestination
from dicom_node.delivery import Outgoing, Receipt
from dicom_node.delivery.associating import Caller
from dicom_node.delivery.variants import SOP_CLASSES, content_as, offers, read_content
from dicom_node.failures import (
    AssociationAbortedError,
    DeliveryError,
    EmptyAnswerError,
    PresentationContextRefusedError,
    ResultUnsuitableError,
    StoreFailedError,
    StoreRefusedError,
)

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111
SOP_CLASS_NOT_SUPPORTED = 0x0122

ACCEPTED_WITH_WARNING: Mapping[int, str] = {
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    DUPLICATE_SOP_INSTANCE: "it has that SOP Instance already",
}
"""PS3.4 Table B.2-1, and PS3.7 C.5.6: what some archives answer when a result is sent again, as it is after a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailureStatus:
    first: int
    last: int
    error: type[DeliveryError]
    meaning: str


FAILURES = (
    _FailureStatus(first=0x0110, last=0x0110, error=StoreFailedError, meaning="processing failure; its log says more"),
    _FailureStatus(first=0x0117, last=0x0117, error=StoreRefusedError, meaning="invalid SOP Instance"),
    _FailureStatus(first=0x0122, last=0x0122, error=StoreRefusedError, meaning="SOP class not supported; enable it there and requeue"),
    _FailureStatus(first=0x0124, last=0x0124, error=StoreFailedError, meaning="not authorised; allow this node there"),
    _FailureStatus(first=0x0210, last=0x0213, error=StoreFailedError, meaning="the operation itself was refused"),
    _FailureStatus(first=0xA700, last=0xA7FF, error=StoreFailedError, meaning="out of resources; its disk may be full"),
    _FailureStatus(first=0xA900, last=0xA9FF, error=StoreRefusedError, meaning="data set does not match SOP class; its log says why"),
    _FailureStatus(first=0xC000, last=0xCFFF, error=StoreRefusedError, meaning="cannot understand the object; its log says why"),
)
"""PS3.4 Table B.2-1 and PS3.7 9.1.1.1.9. A status that is not here is not success: it is tried again."""


class CStoreChannel:
    """Sends one result in one association and returns the archive's status.

    Of a report all SOP classes that the destination may get are proposed, and the richest that the archive accepts is sent; once
    that is known, only that one is proposed. The file is sent as it lies. Implicit VR Little Endian, which PS3.5 10.1 obliges us
    to propose, is a presentation context of its own: an archive that takes nothing else gets the same content in that encoding.
    """

    def __init__(self, destination: CStoreDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._destination = destination
        self._clock = clock
        self._caller = Caller(
            name=destination.name,
            host=destination.host,
            port=destination.port,
            ae_title=destination.ae_title,
            calling_ae_title=calling_ae_title,
            timeout_s=destination.timeout_s,
            maximum_bytes_per_s=destination.maximum_bytes_per_s,
            tls=destination.tls,
        )

    def deliver(self, result: Outgoing) -> Receipt:
        """Return the archive's receipt; see `DeliveryChannel`."""
        part10 = read_content(result)
        transfer_syntax_uid = str(_parsed(part10, result.sop_class_uid, result.sop_instance_uid).file_meta.TransferSyntaxUID)
        offered = offers(result, self._destination.variants)
        if result.accepted_as in offered and len(offered) > 1:
            try:
                return self._deliver(result, part10, (result.accepted_as,), transfer_syntax_uid)
            except PresentationContextRefusedError:  # the archive changed its mind: offer everything again
                pass
        return self._deliver(result, part10, offered, transfer_syntax_uid)

    def _deliver(self, result: Outgoing, part10: bytes, offered: tuple[str, ...], transfer_syntax_uid: str) -> Receipt:
        with self._caller.associate(offered, transfer_syntax_uid, size_bytes=len(part10)) as association:
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            candidates = [uid for uid in offered if uid in accepted]
            for sop_class_uid in candidates[:-1]:
                try:
                    return self._send(association, result, part10, sop_class_uid)
                except StoreRefusedError as exc:
                    if exc.status != f"0x{SOP_CLASS_NOT_SUPPORTED:04X}":
                        raise
            return self._send(association, result, part10, candidates[-1])

    def _send(self, association: Association, result: Outgoing, part10: bytes, sop_class_uid: str) -> Receipt:
        content = content_as(result, part10, sop_class_uid)
        parsed = _parsed(content.part10, content.sop_class_uid, content.sop_instance_uid)
        try:
            answer = association.send_c_store(parsed)
        except (RuntimeError, ValueError) as exc:
            name = self._destination.name
            raise AssociationAbortedError(f"{name} ended the association before {content.sop_instance_uid} was sent") from exc
        if "Status" not in answer:
            raise EmptyAnswerError(
                f"{self._destination.name} gave no status for {content.sop_instance_uid}: time-out or abort; it will be sent again"
            )
        code = int(answer.Status)
        warning = code in ACCEPTED_WITH_WARNING
        if code != SUCCESS and not warning:
            raise failure_of(code, self._destination.name, content.sop_instance_uid)
        return Receipt(
            destination=self._destination.name,
            status=f"0x{code:04X}",
            accepted=True,
            warning=warning,
            at=self._clock(),
            sop_class_uid=content.sop_class_uid,
            sop_instance_uid=content.sop_instance_uid,
        )

    def probe(self) -> str:
        """Return the answer to a C-ECHO, and as what the archive takes reports; it raises as `DeliveryChannel` says."""
        wanted = [SOP_CLASSES[name] for name in self._destination.variants] if "sr-findings" in self._destination.results else []
        with self._caller.associate((Verification, *wanted), "") as association:
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            if Verification not in accepted:
                raise PresentationContextRefusedError(f"{self._destination.name} does not take C-ECHO (Verification SOP Class)")
            try:
                answer = association.send_c_echo()
            except (RuntimeError, ValueError) as exc:
                raise AssociationAbortedError(f"{self._destination.name} ended the association before C-ECHO was sent") from exc
        if "Status" not in answer:
            raise EmptyAnswerError(f"{self._destination.name} gave no status for C-ECHO: time-out or abort")
        status = f"0x{int(answer.Status):04X}"
        if int(answer.Status) != SUCCESS:
            raise StoreFailedError(f"{self._destination.name} answered {status} to C-ECHO; its log says why", status=status)
        taken = [name for name in self._destination.variants if SOP_CLASSES[name] in accepted]
        if wanted and not taken:
            raise PresentationContextRefusedError(
                f"{self._destination.name} answers C-ECHO but takes reports as none of {', '.join(self._destination.variants)}; "
                "enable one of these SOP classes there",
                status=status,
            )
        return f"C-ECHO {status}" + (f", reports as {', '.join(taken)}" if taken else "")


def failure_of(code: int, name: str, sop_instance_uid: str, *, status: str = "") -> DeliveryError:
    """Return what a failure status means. `status` is the answer as it came, where it is more than the code."""
    status = status or f"0x{code:04X}"
    known = next((entry for entry in FAILURES if entry.first <= code <= entry.last), None)
    error, meaning = (known.error, known.meaning) if known else (StoreFailedError, "a status that C-STORE does not know")
    return error(f"{name} answered {status} for {sop_instance_uid}: {meaning}", status=status)


def _parsed(part10: bytes, sop_class_uid: str, sop_instance_uid: str) -> FileDataset:
    try:
        result = dcmread(BytesIO(part10))
    except (InvalidDicomError, EOFError, ValueError) as exc:
        raise ResultUnsuitableError(f"the file of result {sop_instance_uid} cannot be read; requeue the study") from exc
    if (result.get("SOPClassUID"), result.get("SOPInstanceUID")) != (
        sop_class_uid,
        sop_instance_uid,
    ) or "TransferSyntaxUID" not in result.file_meta:
        raise ResultUnsuitableError(f"the file of result {sop_instance_uid} holds another SOP Instance; requeue the study")
    return result

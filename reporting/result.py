"""What every encoder takes and gives."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from pydicom.dataset import Dataset

from inference.findings import Analysis

_LONGEST = {"ae_title": 16}
_LONGEST_STRING = 64  # VR LO, PS3.5 table 6.2-1


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """The node that makes the reports, as the reports name it. `institution` may be empty; the others may not.

    `order_message` is the HL7 v2 message that changes an order.

    Raises:
        ValueError: a value is empty, too long for its attribute, or holds a backslash or a control character.
    """

    manufacturer: str
    model_name: str
    software_version: str
    serial_number: str
    ae_title: str
    institution: str
    order_message: Literal["ORM^O01", "OMI^O23"] = "ORM^O01"

    def __post_init__(self) -> None:
        for field in fields(self):
            value: str = getattr(self, field.name)
            longest = _LONGEST.get(field.name, _LONGEST_STRING)
            if "\\" in value or not value.isprintable() or len(value) > longest:
                raise ValueError(f"{field.name} must be printable, without backslash, and at most {longest} characters")
            if not value.strip() and field.name != "institution":
                raise ValueError(f"{field.name} must not be empty")


class MediaType(enum.StrEnum):
    """What the bytes of a result are."""

    DICOM = "application/dicom"
    HL7_V2 = "application/hl7-v2+er7"
    FHIR_JSON = "application/fhir+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousReport:
    """The result of the same kind that a new one supersedes. `instance_number` is its Instance Number (0020,0013).

    Of a message, `sop_instance_uid` is its control id or identifier, `series_instance_uid` and `sop_class_uid` are empty, and
    `instance_number` counts the messages about this study and route before the new one; `data` is that message, so that what it
    said and the new one does not can be taken back, or empty if it is not kept any more.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    instance_number: int
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResult:
    """One encoded result. `digest` is the SHA-256 of `data` in hexadecimal.

    `data` is a complete Part 10 file, or a message as it goes over the wire; then `sop_class_uid` is empty and `sop_instance_uid`
    the message control id or another identifier that follows from the content. Unique among all results of a node.
    `repairs` says what of the source headers could not be copied as it was: tags and keywords, never values.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    data: bytes
    digest: str
    media_type: MediaType = MediaType.DICOM
    repairs: tuple[str, ...] = ()


class ResultEncoder(Protocol):
    """Turns an analysis into one result, or None if there is nothing to say in this kind.

    `headers` are those of `analysis.inputs`, in any order. `previous` is the result of this kind that this one supersedes: with it
    the answer is never None, because what was sent before must not stand. `companions` are the results of this analysis that were
    encoded before this one, the findings report first. The same arguments give the same bytes, on every machine.

    `analysis.withdrawn` set: the result only says that what was sent before is withdrawn, and why.
    """

    def __call__(
        self,
        analysis: Analysis,
        headers: Sequence[Dataset],
        *,
        producer: Producer,
        previous: PreviousReport | None,
        companions: Sequence[EncodedResult] = (),
    ) -> EncodedResult | None: ...

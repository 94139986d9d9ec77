"""The SOP classes that one findings report can be sent as, and the file for each of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.uid import UID, BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from config.destinations import RICHEST_FIRST, SrVariant
from dicom_node.delivery import Outgoing
from dicom_node.failures import ResultMissingError, ResultUnsuitableError
from reporting import as_variant

SOP_CLASSES: Mapping[SrVariant, str] = {
    "comprehensive-3d": str(Comprehensive3DSRStorage),
    "comprehensive": str(ComprehensiveSRStorage),
    "enhanced": str(EnhancedSRStorage),
    "basic-text": str(BasicTextSRStorage),
}
LAST_RESORT = str(BasicTextSRStorage)
"""Text without codes: a person can read it, a machine cannot."""

_VARIED_KINDS = frozenset({"sr-findings", "sr-regions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is sent: a whole Part 10 file and the UIDs in it."""

    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes


def is_varied(result: Outgoing) -> bool:
    """Say whether the result may be sent as another SOP class."""
    return result.kind in _VARIED_KINDS and result.sop_class_uid in SOP_CLASSES.values()


def offers(result: Outgoing, variants: tuple[SrVariant, ...]) -> tuple[str, ...]:
    """Return the SOP classes as which a destination may get the result, richest first."""
    if not is_varied(result):
        return (result.sop_class_uid,)
    return tuple(SOP_CLASSES[name] for name in RICHEST_FIRST if name in variants)


def read_content(result: Outgoing) -> bytes:
    """Return the file of the result.

    Raises:
        ResultMissingError: it is not there.
    """
    try:
        return result.path.read_bytes()
    except FileNotFoundError as exc:
        raise ResultMissingError(f"the file of result {result.sop_instance_uid} is not in the object store; is it mounted?") from exc


def content_as(result: Outgoing, part10: bytes, sop_class_uid: str) -> Content:
    """Return the result as one of the SOP classes that it is offered as: the stored file, or another variant of it."""
    if sop_class_uid == result.sop_class_uid:
        return Content(sop_class_uid=sop_class_uid, sop_instance_uid=result.sop_instance_uid, part10=part10)
    try:
        varied = as_variant(part10, sop_class_uid)
    except ValueError as exc:
        raise ResultUnsuitableError(
            f"result {result.sop_instance_uid} cannot be had as {UID(sop_class_uid).name}; requeue the study"
        ) from exc
    return Content(sop_class_uid=varied.sop_class_uid, sop_instance_uid=varied.sop_instance_uid, part10=varied.data)

"""UIDs that follow from what they name: the same parts give the same UID, on any machine and at any time (PS3.5 B.2)."""

import hashlib
import json
import uuid

from config.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "derived_uid", "tracking_uid"]

_NAMESPACE = uuid.UUID("48a757ba-0f87-424d-8c64-4e7dde30b510")


def derived_uid(*parts: str) -> str:
    """Return the UID of the thing that `parts` name: SHA-256 of the parts, as a version 5 UUID, under 2.25."""
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest).int}"


def tracking_uid(study_instance_uid: str, sop_instance_uid: str, frame_number: int | None, label: str) -> str:
    """Return the Tracking UID of one label on one image: the same in every revision of the report."""
    return derived_uid("tracking", study_instance_uid, sop_instance_uid, str(frame_number), label)

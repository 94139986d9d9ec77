"""This node as an application entity: the same implementation in whatever it receives and sends (PS3.7 D.3.3.2)."""

from pydicom.uid import UID
from pynetdicom import AE

from reporting.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def own_entity(ae_title: str) -> AE:
    """Return an application entity with our Implementation Class UID and Version Name."""
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity

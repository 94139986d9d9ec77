"""Which build of the node this is, and how its results name it."""

from importlib.metadata import version

from config.flags import FlagsSection
from config.schema import NodeSection
from reporting import Producer

MANUFACTURER = "dicom-node project"
MODEL_NAME = "dicom-node"


def node_version() -> str:
    """Return the version of the installed package."""
    return version("dicom-node")


def producer(settings: NodeSection, flags: FlagsSection | None = None) -> Producer:
    """Return the node as its results name it. `flags` names the message that changes an order."""
    return Producer(
        manufacturer=MANUFACTURER,
        model_name=MODEL_NAME,
        software_version=node_version(),
        serial_number=settings.serial_number,
        ae_title=settings.ae_title,
        institution=settings.institution,
        order_message=(flags or FlagsSection()).order_message,
    )

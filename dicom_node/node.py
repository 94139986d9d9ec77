"""What every part of a running node is given."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from config.catalogue import Catalogue
from config.schema import Settings
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every step needs: settings, the catalogue, the two owners of durable state, and the time."""

    settings: Settings
    catalogue: Catalogue
    ledger: Ledger
    store: ObjectStore
    clock: Callable[[], datetime]

"""The ledger: every row the node keeps, in SQLite by default or PostgreSQL. Nobody else writes to the database."""

from dicom_node.ledger.deliveries import Deliveries
from dicom_node.ledger.instances import Instances, NewWorkItem, OpenStudy, Recorded
from dicom_node.ledger.operator import Operator
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.rows import LedgerError
from dicom_node.ledger.work import LeaseLostError, NewResult, WorkItem, WorkItems

__all__ = [
    "LeaseLostError",
    "Ledger",
    "LedgerError",
    "NewResult",
    "NewWorkItem",
    "OpenStudy",
    "Recorded",
    "WorkItem",
]


class Ledger(Instances, WorkItems, Deliveries, Operator, Overview):
    """The ledger as its users see it: `Instances` until a revision is routed, then `WorkItems`, then `Deliveries`."""

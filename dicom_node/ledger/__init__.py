"""The ledger: every row the node keeps, in SQLite by default or PostgreSQL. Nobody else writes to the database."""

from dicom_node.ledger.arrivals import Arrivals
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.flags import Flags
from dicom_node.ledger.instances import Instances, Recorded, RemovedMeanwhileError
from dicom_node.ledger.operator import Operator
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.parked import Parked
from dicom_node.ledger.retention import Predecessor, PurgeableStudy, Retention, StoredResult
from dicom_node.ledger.revisions import NewWorkItem, OpenStudy, Revisions
from dicom_node.ledger.rows import LedgerError
from dicom_node.ledger.setback import Setback
from dicom_node.ledger.stock import ExpectedFile, FileKind, Lease, Stock
from dicom_node.ledger.withdrawals import Withdrawals
from dicom_node.ledger.work import LeaseLostError, Line, NewResult, SupersededResult, WorkItem, WorkItems

__all__ = [
    "ExpectedFile",
    "FileKind",
    "Lease",
    "LeaseLostError",
    "Ledger",
    "LedgerError",
    "Line",
    "NewResult",
    "NewWorkItem",
    "OpenStudy",
    "Predecessor",
    "PurgeableStudy",
    "Recorded",
    "RemovedMeanwhileError",
    "StoredResult",
    "SupersededResult",
    "WorkItem",
]


class Ledger(
    Instances, Revisions, Arrivals, WorkItems, Withdrawals, Flags, Parked, Commitments, Retention, Setback, Stock, Operator, Overview
):
    """The ledger as its users see it: `Instances`, `Revisions` until one is routed, `WorkItems`, then `Deliveries` (in `Parked`)."""

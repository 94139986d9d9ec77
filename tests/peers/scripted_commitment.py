"""An archive that stores everything and answers requests for storage commitment as a test says, on a free loopback port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_node.entity import keep_answers

SUCCESS = 0x0000


@dataclass
class CommittingArchive:
    """What it was asked, and how it answers.

    `action_status` answers N-ACTION. `reasons` has the Failure Reason of each instance that it does not keep. `reports` False: it
    says nothing. `lose` True: it answers that all is well and names nothing.
    """

    port: int = 0
    action_status: int = SUCCESS
    reasons: dict[str, int] = field(default_factory=dict)
    reports: bool = True
    lose: bool = False
    report_to: int = 0
    stored: list[str] = field(default_factory=list)
    requests: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def information(self, transaction_uid: str, instances: tuple[str, ...], classes: dict[str, str]) -> tuple[int, Dataset]:
        """Return the event type and the Event Information of a report."""
        report = Dataset()
        report.TransactionUID = transaction_uid
        kept = [] if self.lose else [uid for uid in instances if uid not in self.reasons]
        report.ReferencedSOPSequence = [_item(uid, classes.get(uid, "")) for uid in kept]
        failed = [_item(uid, classes.get(uid, ""), self.reasons[uid]) for uid in instances if uid in self.reasons]
        if failed:
            report.FailedSOPSequence = failed
        return (2 if failed else 1), report


def _item(uid: str, sop_class_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = uid
    if reason is not None:
        item.FailureReason = reason
    return item


@contextmanager
def committing_archive(archive: CommittingArchive) -> Iterator[CommittingArchive]:
    """Run it. With `report_to` it reports on an association of its own to that port, otherwise on the one of the request."""

    def store(event: evt.Event) -> int:
        archive.stored.append(str(event.request.AffectedSOPInstanceUID))
        return SUCCESS

    def action(event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        items = {str(item.ReferencedSOPInstanceUID): str(item.ReferencedSOPClassUID) for item in information.ReferencedSOPSequence}
        transaction_uid = str(information.TransactionUID)
        archive.requests.append((transaction_uid, tuple(items)))
        if archive.action_status == SUCCESS and archive.reports:
            told = archive.information(transaction_uid, tuple(items), items)
            keep_answers(event.assoc)
            target = _report_anew if archive.report_to else _report_here
            reporters.append(threading.Thread(target=target, args=(archive, event.assoc, *told)))
            reporters[-1].start()
        return archive.action_status, None

    reporters: list[threading.Thread] = []
    entity = AE(ae_title="ARCHIVE")
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax or "")
    entity.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action)]
    server = entity.start_server(("127.0.0.1", archive.port), block=False, evt_handlers=handlers)
    assert server is not None
    archive.port = server.server_address[1]
    try:
        yield archive
    finally:
        for reporter in reporters:
            reporter.join()
        server.shutdown()


def _report_here(archive: CommittingArchive, association: object, event_type: int, information: Dataset) -> None:
    status, _ = association.send_n_event_report(  # type: ignore[attr-defined]  # pynetdicom's Association
        information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    archive.answers.append(status.get("Status", -1))


def _report_anew(archive: CommittingArchive, _association: object, event_type: int, information: Dataset) -> None:
    archive.answers.append(report_to(archive.report_to, event_type, information))


def report_to(port: int, event_type: int, information: Dataset, *, says_its_role: bool = True) -> int:
    """Report on an association of the archive's own; return the status that it gets, -1 for none."""
    entity = AE(ae_title="ARCHIVE")
    entity.add_requested_context(StorageCommitmentPushModel, ImplicitVRLittleEndian)
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = StorageCommitmentPushModel
    role.scu_role, role.scp_role = False, True
    association = entity.associate("127.0.0.1", port, ae_title="DICOM-NODE", ext_neg=[role] if says_its_role else None)
    keep_answers(association)
    assert association.is_established
    status, _ = association.send_n_event_report(information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    association.release()
    return int(status.get("Status", -1))

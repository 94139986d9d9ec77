"""The deliver process over a real ledger and a folder of results: what tests of destinations send with."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from config.destinations import DeliverSection, Destination
from config.schema import NodeSection, Settings
from dicom_node.delivery.process import run_deliver
from dicom_node.ledger import Ledger, NewResult, NewWorkItem
from dicom_node.ledger.parked import DeliveryFilter, DeliveryRecord
from dicom_node.study import ReceivedInstance
from inference.analysis import encode_analysis
from tests.conformance.sr_documents import analysis
from tests.waiting import eventually

STUDY = "2.25.42"
DEADLINE_S = 20


@dataclass
class Outbox:
    """A ledger with deliveries, and their files."""

    folder: Path
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(f"sqlite:///{self.folder / 'ledger.sqlite'}")

    def absolute(self, relative: Path) -> Path:
        """As the object store has it."""
        return self.folder / relative

    def add(self, *results: NewResult, study: str = STUDY) -> None:
        """Make the results of one analysed study due at their destinations."""
        now = datetime.now(UTC)
        number = len(self.records()) + 1
        digest = hashlib.sha256(f"{study} {number}".encode()).hexdigest()
        self.ledger.record_instance(
            ReceivedInstance(
                study_instance_uid=study,
                series_instance_uid=f"{study}.1",
                sop_instance_uid=f"{study}.1.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                modality="DX",
                calling_ae_title="DX1",
                received_at=now,
                digest=digest,
                size_bytes=1,
                path=Path("received") / digest,
            ),
            urgent=False,
        )
        for open_study in self.ledger.open_studies():
            self.ledger.settle(open_study, why="quiet", now=now)
        for unrouted in self.ledger.unrouted_studies():
            self.ledger.record_routing(unrouted, [NewWorkItem(route="dx", selection=b"{}", inputs_digest=digest)], now=now)
        item = self.ledger.claim_work(owner="test", now=now, lease_s=60)
        assert item is not None
        path = self.folder / "objects" / f"{digest}.json"  # where a node with this data folder looks for it
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_analysis(analysis()))
        self.ledger.record_analysis(item, path=Path(path.name), now=now)
        item = self.ledger.claim_work(owner="test", now=now, lease_s=60)
        assert item is not None
        self.ledger.record_results(item, results, now=now)

    def keep(self, data: bytes, *, uid: str, sop_class_uid: str, destinations: tuple[str, ...], kind: str = "sr-findings") -> NewResult:
        """Write the file of a result and return its record."""
        path = Path(f"{uid}.dcm")
        self.absolute(path).write_bytes(data)
        return NewResult(
            kind=kind,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=uid,
            path=path,
            digest=hashlib.sha256(data).hexdigest(),
            destinations=destinations,
        )

    def records(self, **wanted: object) -> tuple[DeliveryRecord, ...]:
        return self.ledger.delivery_records(DeliveryFilter(**wanted))  # type: ignore[arg-type]  # the fields of the filter

    def states(self) -> dict[str, str]:
        """SOP Instance UID -> state of its delivery."""
        return {record.sop_instance_uid: record.state for record in self.records()}

    def wait_for(self, states: dict[str, str]) -> None:
        """Return once the deliveries are in these states."""
        eventually(lambda: self.states() == states, f"deliveries are {states}; they are {self.records()}", timeout_s=DEADLINE_S)

    def events(self, study: str = STUDY) -> list[str]:
        return [f"{found.event}: {found.detail}" for found in self.ledger.history(study)]


@contextmanager
def delivering(outbox: Outbox, *destinations: Destination, **deliver: object) -> Iterator[list[int]]:
    """Run the deliver process's loop in a thread; yields the port for commitment reports, once it is known."""
    quick: dict[str, object] = {"retry_s": 0.1, "maximum_retry_s": 0.3, "commitment_host": "127.0.0.1"}
    settings = Settings(
        node=NodeSection(ae_title="DICOM-NODE"), deliver=DeliverSection.model_validate(quick | deliver), destinations=destinations
    )
    stop = threading.Event()
    ports: list[int] = []
    options = {"owner": "test", "on_commitment_port": ports.append}
    thread = threading.Thread(target=run_deliver, args=(settings, outbox.ledger, outbox, stop), kwargs=options)
    thread.start()
    try:
        if settings.deliver.commitment_port is not None:
            eventually(lambda: ports, "the commitment listener says its port", timeout_s=DEADLINE_S)
        yield ports
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()

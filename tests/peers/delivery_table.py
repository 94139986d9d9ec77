"""What real and misbehaving peers did, and what the node did: run against each of them, printed as the table of dicom_node/README.md.

Run: python -m tests.peers.delivery_table
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydicom.uid import UID, BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage, CTImageStorage, EnhancedSRStorage

from config.destinations import CStoreDestination, Destination, FhirDestination, Hl7Destination, StorageCommitmentSection, StowDestination
from dicom_node.demo.archive import Archive
from dicom_node.lifecycle import DeliveryState
from reporting import ENCODERS
from tests.conformance.sr_documents import POSITIVE, PRODUCER, analysis, encode, headers_of
from tests.peers.fhir_server import FhirServer, outcome
from tests.peers.npm_hl7 import SILENCE as NO_ACKNOWLEDGEMENT
from tests.peers.npm_hl7 import SPLIT, npm_server
from tests.peers.reports import structured_report
from tests.peers.scripted import ABORT, SILENCE, cutting_relay, picky_archive, scripted_archive, silent_listener, unused_port
from tests.peers.scripted_commitment import CommittingArchive, committing_archive
from tests.peers.scripted_hl7 import Do, hl7_receiver
from tests.peers.scripted_http import Reply, web_service
from tests.peers.sending import DEADLINE_S, Outbox, delivering
from tests.peers.test_delivery_stow import module
from tests.waiting import eventually

SR = str(Comprehensive3DSRStorage)
REPORT = encode(analysis())
UID_OF_REPORT = REPORT.sop_instance_uid
Peer = Callable[[Path], AbstractContextManager[Destination]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that a peer does. `kind` is the kind of result that it gets."""

    peer: str
    open: Peer
    kind: str = "sr-findings"
    large: bool = False
    until: DeliveryState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of it."""

    peer: str
    answer: str
    node: str

    def markdown(self) -> str:
        return f"| {self.peer} | {f'`{self.answer}`' if self.answer else 'none'} | {self.node} |"


def c_store(port: int, *, ae_title: str = "ARCHIVE", **settings: object) -> Destination:
    return CStoreDestination.model_validate(
        {"name": "there", "host": "127.0.0.1", "port": port, "ae_title": ae_title, "timeout_s": 1} | settings
    )


@contextmanager
def archive_answering(folder: Path, *statuses: int) -> Iterator[Destination]:
    with scripted_archive(*statuses, sop_class_uid=SR) as (port, _):
        yield c_store(port)


def answering(*statuses: int) -> Peer:
    return lambda folder: archive_answering(folder, *statuses)


def taking(*sop_class_uids: str) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with picky_archive(dict.fromkeys(sop_class_uids, 0x0000)) as (port, _, _):
            yield c_store(port)

    return opened


@contextmanager
def rejecting(_folder: Path) -> Iterator[Destination]:
    with scripted_archive(0x0000, sop_class_uid=SR, calling_ae_titles=("SOMEBODY-ELSE",)) as (port, _):
        yield c_store(port)


@contextmanager
def absent(_folder: Path) -> Iterator[Destination]:
    yield c_store(unused_port())


@contextmanager
def mute(_folder: Path) -> Iterator[Destination]:
    with silent_listener() as port:
        yield c_store(port)


@contextmanager
def cutting(folder: Path) -> Iterator[Destination]:
    with Archive(folder / "archive") as archive, cutting_relay(archive.port, after_bytes=500_000) as port:
        yield c_store(port)


def committing(**archive: object) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with committing_archive(CommittingArchive(**archive)) as running:
            yield c_store(running.port, storage_commitment=StorageCommitmentSection(wait_s=1))

    return opened


def stow(reply: Reply) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with web_service(lambda _request: reply) as service:
            yield StowDestination(name="there", url=f"http://127.0.0.1:{service.port}", timeout_s=1)

    return opened


def stowed(status: int, **said: int) -> Peer:
    return stow(Reply(status=status, media_type="application/dicom+json", body=module(UID_OF_REPORT, **said)))


def ris(*script: Do | str) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with hl7_receiver(*script) as receiver:
            yield Hl7Destination(name="there", host="127.0.0.1", port=receiver.port, timeout_s=0.5)

    return opened


def npm_ris(*steps: str) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with npm_server(*steps) as server:
            yield Hl7Destination(name="there", host="127.0.0.1", port=server.port, timeout_s=2)

    return opened


def ehr(reply: Reply | None = None) -> Peer:
    @contextmanager
    def opened(_folder: Path) -> Iterator[Destination]:
        with web_service(FhirServer().answer if reply is None else lambda _request: reply) as service:
            yield FhirDestination(name="there", url=f"http://127.0.0.1:{service.port}", timeout_s=0.5)

    return opened


SCENARIOS: Sequence[Scenario] = (
    Scenario(peer="C-STORE: answers success", open=answering(0x0000)),
    Scenario(peer="C-STORE: coerces data elements", open=answering(0xB000)),
    Scenario(peer="C-STORE: discards elements", open=answering(0xB006)),
    Scenario(peer="C-STORE: has the instance already", open=answering(0x0111)),
    Scenario(peer="C-STORE: is out of resources", open=answering(0xA700)),
    Scenario(peer="C-STORE: says that the data set does not match the SOP class", open=answering(0xA900)),
    Scenario(peer="C-STORE: cannot understand the object", open=answering(0xC000)),
    Scenario(peer="C-STORE: does not authorise", open=answering(0x0124)),
    Scenario(peer="C-STORE: answers a status that nobody knows", open=answering(0x4711)),
    Scenario(peer="C-STORE: never answers", open=answering(SILENCE)),
    Scenario(peer="C-STORE: aborts instead of an answer", open=answering(ABORT)),
    Scenario(peer="C-STORE: ends the connection in the middle of an object", open=cutting, kind="secondary-capture", large=True),
    Scenario(peer="C-STORE: refuses Comprehensive 3D SR", open=taking(ComprehensiveSRStorage, EnhancedSRStorage)),
    Scenario(peer="C-STORE: takes Enhanced SR only", open=taking(EnhancedSRStorage)),
    Scenario(peer="C-STORE: takes Basic Text SR only", open=taking(BasicTextSRStorage)),
    Scenario(peer="C-STORE: takes no SR", open=taking(CTImageStorage)),
    Scenario(peer="C-STORE: rejects the association", open=rejecting),
    Scenario(peer="C-STORE: takes the connection and says nothing", open=mute),
    Scenario(peer="C-STORE: is not there", open=absent),
    Scenario(peer="Commitment: reports success", open=committing(), until=DeliveryState.COMMITTED),
    Scenario(
        peer="Commitment: reports a class/instance conflict",
        open=committing(reasons={UID_OF_REPORT: 0x0119}),
        until=DeliveryState.FAILED,
    ),
    Scenario(peer="STOW-RS: stores", open=stowed(200)),
    Scenario(peer="STOW-RS: stores and coerces", open=stowed(202, warning=0xB000)),
    Scenario(peer="STOW-RS: refuses, out of resources", open=stowed(409, failure=0xA700)),
    Scenario(peer="STOW-RS: refuses, cannot understand", open=stowed(409, failure=0xC000)),
    Scenario(peer="STOW-RS: answers 200 and names nothing", open=stow(Reply(status=200, media_type="application/dicom+json"))),
    Scenario(peer="STOW-RS: wants a token", open=stow(Reply(status=401))),
    Scenario(peer="STOW-RS: takes no such media type", open=stow(Reply(status=415))),
    Scenario(peer="STOW-RS: is overloaded", open=stow(Reply(status=503))),
    Scenario(peer="HL7: acknowledges", open=ris("AA"), kind="hl7-oru"),
    Scenario(peer="HL7: acknowledges byte by byte", open=ris(Do.SPLIT), kind="hl7-oru"),
    Scenario(peer="HL7: acknowledges another message, then this one", open=ris(Do.ANOTHER_FIRST), kind="hl7-oru"),
    Scenario(peer="HL7: could not process the message", open=ris("AE 204"), kind="hl7-oru"),
    Scenario(peer="HL7: rejects the message", open=ris("AR 200"), kind="hl7-oru"),
    Scenario(peer="HL7: stays silent", open=ris(Do.STAY_SILENT), kind="hl7-oru"),
    Scenario(peer="HL7: acknowledges another message only", open=ris(Do.ANOTHER_ONLY), kind="hl7-oru"),
    Scenario(peer="HL7: closes before the acknowledgement", open=ris(Do.CLOSE), kind="hl7-oru"),
    Scenario(peer="node-hl7-server: acknowledges", open=npm_ris("AA"), kind="hl7-oru"),
    Scenario(peer="node-hl7-server: acknowledges an order update", open=npm_ris("AA"), kind="hl7-order"),
    Scenario(peer="node-hl7-server: acknowledges in pieces, with pauses", open=npm_ris(SPLIT), kind="hl7-oru"),
    Scenario(peer="node-hl7-server: could not process the message", open=npm_ris("AE"), kind="hl7-oru"),
    Scenario(peer="node-hl7-server: rejects the message", open=npm_ris("AR"), kind="hl7-oru"),
    Scenario(peer="node-hl7-server: stays silent", open=npm_ris(NO_ACKNOWLEDGEMENT), kind="hl7-oru"),
    Scenario(peer="FHIR: stores each resource", open=ehr(), kind="fhir-report"),
    Scenario(peer="FHIR: finds the content invalid", open=ehr(outcome(422, "invalid")), kind="fhir-report"),
    Scenario(peer="FHIR: answers 400", open=ehr(outcome(400, "structure")), kind="fhir-report"),
    Scenario(peer="FHIR: answers 500", open=ehr(outcome(500, "exception")), kind="fhir-report"),
    Scenario(peer="FHIR: stays silent", open=ehr(Reply(silence_s=5)), kind="fhir-report"),
)


def run(scenario: Scenario, folder: Path) -> Row:
    """Send one result to the peer and say what became of it."""
    outbox = Outbox(folder / "node")
    if scenario.kind in {"hl7-oru", "hl7-order", "fhir-report"}:
        made = POSITIVE if scenario.kind == "hl7-order" else analysis()
        message = ENCODERS[scenario.kind](made, headers_of(made), producer=PRODUCER, previous=None)
        assert message is not None
        uid, data, sop_class_uid = message.sop_instance_uid, message.data, ""
    elif scenario.large:
        uid, data, sop_class_uid = "2.25.9", structured_report("2.25.9", text="long " * 400_000), SR
    else:
        uid, data, sop_class_uid = UID_OF_REPORT, REPORT.data, SR
    outbox.add(outbox.keep(data, uid=uid, sop_class_uid=sop_class_uid, destinations=("there",), kind=scenario.kind))
    with scenario.open(folder) as destination, delivering(outbox, destination, retry_s=600, maximum_retry_s=600):
        eventually(lambda: _is_over(outbox, scenario), f"{scenario.peer}: {outbox.records()}", timeout_s=DEADLINE_S)
    try:
        return Row(peer=scenario.peer, answer=outbox.records()[0].status or "", node=_done(outbox))
    finally:
        outbox.ledger.close()


def _is_over(outbox: Outbox, scenario: Scenario) -> bool:
    (record,) = outbox.records()
    if scenario.until is not None:
        return record.state == scenario.until
    return record.state != DeliveryState.PENDING or record.error is not None


def _done(outbox: Outbox) -> str:
    (record,) = outbox.records()
    if record.state == DeliveryState.COMMITTED:
        return "committed"
    if record.state == DeliveryState.ACCEPTED:
        if record.sent_sop_class_uid and record.sent_sop_class_uid != record.sop_class_uid:
            loudly = ", with an error in the log" if record.sent_sop_class_uid == BasicTextSRStorage else ""
            return f"accepted; sent as {UID(record.sent_sop_class_uid).name}{loudly}, and remembered"
        return "accepted"
    if record.state == DeliveryState.FAILED:
        return "parked: an operator retries or drops it"
    return "sent again later" + ("" if record.attempts else "; not counted as an attempt")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    return "\n".join(("| the peer | its answer, as recorded | the node |", "|---|---|---|", *(row.markdown() for row in rows))) + "\n"


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as base:
        print(table([run(scenario, Path(base) / str(number)) for number, scenario in enumerate(SCENARIOS)]), end="")

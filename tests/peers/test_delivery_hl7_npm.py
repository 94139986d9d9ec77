"""The delivery lane and an HL7 server from npm: delivered, parked, tried again, and one answer put together from its pieces."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.destinations import Hl7Destination
from config.tls import TlsSection
from dicom_node import failures
from dicom_node.delivery import open_channel
from dicom_node.ledger import NewResult
from dicom_node.ledger.parked import DeliveryRecord
from reporting import ENCODERS
from tests.certificates import Authority
from tests.conformance.sr_documents import POSITIVE, PRODUCER, headers_of
from tests.peers.npm_hl7 import SILENCE, SPLIT, NpmServer, npm_server, why_not
from tests.peers.reports import outgoing
from tests.peers.sending import DEADLINE_S, Outbox, delivering
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

TYPES = {"hl7-oru": "ORU^R01^ORU_R01", "hl7-order": "ORM^O01^ORM_O01"}


@dataclass
class Node:
    """A node with messages for a RIS, of one flagged study."""

    outbox: Outbox

    def add(self, kind: str, *, revision: int = 1) -> tuple[str, bytes]:
        """Make a message due; return its control id and its bytes."""
        flagged = replace(POSITIVE, revision=revision)
        message = ENCODERS[kind](flagged, headers_of(flagged), producer=PRODUCER, previous=None)
        assert message is not None
        uid = message.sop_instance_uid
        kept: NewResult = self.outbox.keep(message.data, uid=uid, sop_class_uid="", destinations=("ris",), kind=kind)
        self.outbox.add(kept)
        return uid, message.data

    def record(self) -> DeliveryRecord:
        (record,) = self.outbox.records()
        return record

    @property
    def parked(self) -> int:
        """As the gauge dicom_node_destination_parked says it, on which an alert stands."""
        waiting = self.outbox.ledger.waiting(now=datetime.now(UTC))
        return waiting["ris"].parked if "ris" in waiting else 0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    outbox = Outbox(tmp_path / "node")
    yield Node(outbox)
    outbox.ledger.close()


def ris(server: NpmServer, *, timeout_s: float = 10, tls: TlsSection | None = None) -> Hl7Destination:
    return Hl7Destination(name="ris", host="127.0.0.1", port=server.port, results=("hl7-oru", "hl7-order"), timeout_s=timeout_s, tls=tls)


@pytest.mark.parametrize("kind", TYPES)
def test_a_message_that_the_server_accepts_is_delivered_and_was_read_as_it_was_meant(node: Node, kind: str) -> None:
    uid, data = node.add(kind)
    with npm_server("AA") as server, delivering(node.outbox, ris(server)):
        node.outbox.wait_for({uid: "ACCEPTED"})
    assert (node.record().status, node.parked) == ("AA", 0)
    assert server.received == [(uid, TYPES[kind])]
    assert server.said("raw") == [data.decode()]
    assert server.said("error") == []


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("code", ["AE", "AR"])
def test_a_message_that_the_server_refuses_is_parked_and_counted_for_the_alert(node: Node, kind: str, code: str) -> None:
    uid, _ = node.add(kind)
    with npm_server(code, "AA") as server, delivering(node.outbox, ris(server)):
        node.outbox.wait_for({uid: "FAILED"})
    assert (node.record().status, node.parked) == (code, 1)
    assert f"ris answered {code} for {uid}" in (node.record().error or "")
    assert len(server.received) == 1, "a refusal is not sent again by itself"


def test_after_silence_the_message_is_sent_again_on_a_new_connection_until_it_is_accepted(node: Node) -> None:
    uid, _ = node.add("hl7-oru")
    with npm_server(SILENCE, SILENCE, "AA") as server, delivering(node.outbox, ris(server, timeout_s=0.5)):
        node.outbox.wait_for({uid: "ACCEPTED"})
    assert [control_id for control_id, _ in server.received] == [uid] * 3
    assert server.connections == 3
    assert (node.record().status, node.parked) == ("AA", 0)


def test_an_acknowledgement_in_many_pieces_is_one_answer(node: Node) -> None:
    uid, _ = node.add("hl7-oru")
    with npm_server(SPLIT) as server, delivering(node.outbox, ris(server)):
        node.outbox.wait_for({uid: "ACCEPTED"})
    assert (node.record().status, len(server.received), server.connections) == ("AA", 1, 1)


def test_of_several_answers_on_one_connection_the_one_that_names_the_message_counts(node: Node) -> None:
    """This server takes what comes later on a connection for a batch with all that came before, and acknowledges each again."""
    uids = [node.add("hl7-oru", revision=revision)[0] for revision in range(1, 5)]
    with npm_server("AA", "AA", "AE") as server, delivering(node.outbox, ris(server)):
        node.outbox.wait_for({uids[0]: "ACCEPTED", **dict.fromkeys(uids[1:], "FAILED")})
    assert server.connections == 1
    assert [control_id for control_id, _ in server.received] == [uid for last in range(1, 5) for uid in uids[:last]]
    assert [record.attempts for record in node.outbox.records()] == [1] * 4


def test_over_tls_both_sides_show_certificates(node: Node, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    own, theirs = authority.issue("node"), authority.issue("ris")
    mutual = TlsSection(certificate=own.certificate, key=own.key, trusted_certificates=authority.certificate)
    uid, data = node.add("hl7-oru")
    with npm_server(SPLIT, identity=theirs, authority=authority) as server:
        with delivering(node.outbox, ris(server, tls=mutual)):
            node.outbox.wait_for({uid: "ACCEPTED"})
        stranger = open_channel(
            ris(server, timeout_s=2, tls=TlsSection(trusted_certificates=authority.certificate)), calling_ae_title="NODE"
        )
        with pytest.raises(failures.DeliveryError) as info:
            stranger.deliver(outgoing(node.outbox.absolute(Path(f"{uid}.dcm")), "", uid, kind="hl7-oru"))
    assert failures.judge(info.value) is failures.Verdict.RETRY
    assert server.said("raw") == [data.decode()]


def test_a_server_that_was_started_again_gets_what_waited(node: Node) -> None:
    with npm_server("AA") as server:
        gone = ris(server)
    uid, _ = node.add("hl7-order")
    with delivering(node.outbox, gone):
        eventually(lambda: node.record().error is not None, "the first try failed", timeout_s=DEADLINE_S)
    assert node.record().state == "PENDING"
    with npm_server("AA") as server, delivering(node.outbox, ris(server)):
        node.outbox.wait_for({uid: "ACCEPTED"})
    assert [control_id for control_id, _ in server.received] == [uid]

"""HL7 v2 messages over MLLP: to a server of hl7apy, and to receivers that misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

from config.destinations import Hl7Destination
from config.tls import ListenerTlsSection, TlsSection
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, Outgoing, open_channel
from dicom_node.tls.contexts import server_context
from reporting import ENCODERS
from tests.certificates import Authority
from tests.conformance.sr_documents import PRODUCER, analysis, headers_of
from tests.peers.reports import outgoing
from tests.peers.scripted import silent_listener, unused_port
from tests.peers.scripted_hl7 import Do, acknowledgement, hl7_receiver


def kept(folder: Path, **changes: object) -> Outgoing:
    """Keep a result message as the store does."""
    made = analysis(**changes)
    message = ENCODERS["hl7-oru"](made, headers_of(made), producer=PRODUCER, previous=None)
    assert message is not None
    path = folder / f"{message.sop_instance_uid}.hl7"
    path.write_bytes(message.data)
    return outgoing(path, "", message.sop_instance_uid, kind="hl7-oru")


@pytest.fixture
def message(tmp_path: Path) -> Outgoing:
    return kept(tmp_path)


def channel_to(port: int, *, timeout_s: float = 5, tls: TlsSection | None = None) -> DeliveryChannel:
    return open_channel(Hl7Destination(name="ris", host="127.0.0.1", port=port, timeout_s=timeout_s, tls=tls), calling_ae_title="NODE")


class _Ris(AbstractHandler):
    """Parses what comes with hl7apy and acknowledges it as a RIS does."""

    def __init__(self, message: str, received: list[Message]) -> None:
        super().__init__(message)
        self._received = received

    def reply(self) -> str:
        parsed = parse_message(self.incoming_message, find_groups=False)
        self._received.append(parsed)
        return "\x0b" + acknowledgement(parsed.msh.msh_10.value, "AA").decode() + "\x1c\r"


@contextmanager
def hl7apy_server() -> Iterator[tuple[int, list[Message]]]:
    """An MLLP server that is not ours; it closes the connection after each message."""
    received: list[Message] = []
    with MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Ris, received)}, timeout=5) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], received
        finally:
            server.shutdown()
            thread.join()


def test_a_server_of_another_make_reads_every_message(tmp_path: Path) -> None:
    messages = [kept(tmp_path), kept(tmp_path, revision=2)]
    with hl7apy_server() as (port, received):
        channel = channel_to(port)
        receipts = [channel.deliver(message) for message in (*messages, *messages)]
    assert [(receipt.status, receipt.accepted) for receipt in receipts] == [("AA", True)] * 4
    assert [found.msh.msh_10.value for found in received] == [message.sop_instance_uid for message in (*messages, *messages)]


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_accepted_message_arrives_byte_for_byte(message: Outgoing, code: str) -> None:
    with hl7_receiver(code) as receiver:
        receipt = channel_to(receiver.port).deliver(message)
    assert (receipt.destination, receipt.status, receipt.accepted, receipt.warning) == ("ris", code, True, False)
    assert receiver.messages == [message.path.read_bytes()]


def test_several_messages_share_one_connection(message: Outgoing) -> None:
    with hl7_receiver("AA") as receiver:
        channel = channel_to(receiver.port)
        assert [channel.deliver(message).status for _ in range(5)] == ["AA"] * 5
    assert (len(receiver.messages), receiver.connections) == (5, 1)


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_refusal_waits_for_an_operator_with_its_code_and_without_its_words(message: Outgoing, code: str) -> None:
    with hl7_receiver(f"{code} 204") as receiver, pytest.raises(failures.StoreRefusedError, match=f"ris answered {code} 204") as info:
        channel_to(receiver.port).deliver(message)
    assert info.value.status == f"{code} 204"
    assert failures.judge(info.value) is failures.Verdict.GIVE_UP
    assert "CANARY" not in str(info.value)


@pytest.mark.parametrize("step", [Do.SPLIT, Do.ANOTHER_FIRST, Do.TWO_IN_ONE, Do.NO_CARRIAGE_RETURN])
def test_the_acknowledgement_is_found_however_it_comes(message: Outgoing, step: Do) -> None:
    with hl7_receiver(step) as receiver:
        assert channel_to(receiver.port).deliver(message).status == "AA"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Do.STAY_SILENT, "in time .silence."),
        (Do.ANOTHER_ONLY, "in time .1 answers about something else."),
        (Do.NONSENSE, "in time .1 answers about something else."),
        (Do.CLOSE, "closed the connection"),
        (Do.WITHOUT_END, "broke the connection"),
    ],
)
def test_without_its_acknowledgement_a_message_is_sent_again(message: Outgoing, step: Do, words: str) -> None:
    with hl7_receiver(step, "AA") as receiver:
        channel = channel_to(receiver.port, timeout_s=0.3)
        with pytest.raises(failures.EmptyAnswerError, match=words) as info:
            channel.deliver(message)
        assert channel.deliver(message).status == "AA"
    assert failures.judge(info.value) is failures.Verdict.RETRY
    assert receiver.connections == 2, "a connection without acknowledgement is not used again"


def test_a_connection_that_was_closed_meanwhile_is_made_anew(message: Outgoing) -> None:
    with hl7_receiver(Do.CLOSE_AFTERWARDS) as receiver:
        channel = channel_to(receiver.port)
        assert [channel.deliver(message).status for _ in range(20)] == ["AA"] * 20
    assert receiver.connections == 20


def test_nobody_at_the_port_is_unreachable(message: Outgoing) -> None:
    with pytest.raises(failures.DestinationUnreachableError, match="ris is not reachable"):
        channel_to(unused_port()).deliver(message)


def test_a_file_that_is_no_message_of_that_control_id_never_leaves_the_node(tmp_path: Path, message: Outgoing) -> None:
    other = tmp_path / "other.hl7"
    with hl7_receiver("AA") as receiver:
        for content in (b"", b"MSH", message.path.read_bytes() + b"\x1c\r", b"MSH|^~\\&|a|b|c|d|e||ORU^R01|ANOTHER|P|2.5.1\r"):
            other.write_bytes(content)
            with pytest.raises(failures.ResultUnsuitableError, match=message.sop_instance_uid):
                channel_to(receiver.port).deliver(outgoing(other, "", message.sop_instance_uid, kind="hl7-oru"))
    assert not receiver.messages


def test_over_tls_both_sides_show_certificates(tmp_path: Path, message: Outgoing) -> None:
    authority = Authority(tmp_path / "authority")
    own, theirs = authority.issue("node"), authority.issue("ris")
    trusted = authority.certificate
    listening = ListenerTlsSection(certificate=theirs.certificate, key=theirs.key, trusted_certificates=trusted)
    with hl7_receiver("AA", context=server_context(listening)) as receiver:
        mutual = TlsSection(certificate=own.certificate, key=own.key, trusted_certificates=trusted)
        channel = channel_to(receiver.port, tls=mutual)
        assert channel.probe() == "connected, with TLS"
        assert [channel.deliver(message).status for _ in range(2)] == ["AA", "AA"]
        with pytest.raises(failures.DeliveryError) as info:
            channel_to(receiver.port, tls=TlsSection(trusted_certificates=trusted)).deliver(message)
        assert failures.judge(info.value) is failures.Verdict.RETRY
        stranger = Authority(tmp_path / "stranger", name="Stranger").certificate
        with pytest.raises(failures.TlsFailedError, match=r"certificate of ris is not trusted.*trusted_certificates"):
            channel_to(receiver.port, tls=TlsSection(trusted_certificates=stranger)).deliver(message)
        assert len(receiver.messages) == 2


def test_a_receiver_without_tls_is_named(message: Outgoing, tmp_path: Path) -> None:
    trusted = Authority(tmp_path / "authority").certificate
    with silent_listener() as port, pytest.raises(failures.DeliveryError) as info:
        channel_to(port, timeout_s=0.3, tls=TlsSection(trusted_certificates=trusted)).deliver(message)
    assert failures.judge(info.value) is failures.Verdict.RETRY

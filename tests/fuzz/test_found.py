"""What fuzzing and reading found once, each as its smallest input."""

import socket
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from config.receiving import ReceiveSection
from config.source import SourceError, read_source
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.receiving.instance_header import UnreadableHeaderError, peek_received
from dicom_node.receiving.scp import StorageScp, listen
from tests.certificates import Authority
from tests.fakes import FakeInstanceRecorder
from tests.fuzz.scp import SocketTarget
from tests.fuzz.targets import conversations
from tests.receiving import CALLED, CALLING, receiving
from tests.waiting import eventually

FOREVER = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 250_000  # empty items


@pytest.mark.parametrize("text", ["site: \x00", "[" * 3000, "- " * 3000 + "x", "{a: " * 2000], ids=["NUL", "lists", "dashes", "mappings"])
def test_a_file_that_yaml_cannot_take_is_a_mistake_in_the_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(text)
    with pytest.raises(SourceError):
        read_source(path)


def test_a_header_without_end_is_given_up_so_that_others_need_not_wait(tmp_path: Path) -> None:
    uids = b"".join(struct.pack("<HH2sH", 8, element, b"UI", 8) + b"2.25.99\0" for element in (0x16, 0x18))
    data = uids + struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + FOREVER + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    file = ObjectStore(tmp_path).incoming(b"prefix")
    try:
        file.write(data)
        with pytest.raises(UnreadableHeaderError):
            peek_received(file, transfer_syntax_uid=ExplicitVRLittleEndian)
    finally:
        file.discard()


def test_connections_that_are_reset_before_they_are_accepted_end_nobody_elses(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    identity = authority.issue("node")
    tls = {"certificate": identity.certificate, "key": identity.key, "trusted_certificates": authority.certificate}
    settings = ReceiveSection(host="127.0.0.1", port=0, calling_ae_titles=(CALLING,), reserve_mb=0, tls=tls)
    listening = listen(settings)
    address = listening.getsockname()
    for said in (b"", b"x", b"\x16\x03\x01"):
        with socket.create_connection(address) as connection:
            connection.sendall(said)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    scp = StorageScp(
        ae_title=CALLED,
        settings=settings,
        store=ObjectStore(tmp_path / "node"),
        recorder=FakeInstanceRecorder(),
        clock=lambda: datetime.now(UTC),
        listening=listening,
    )
    scp.start()
    try:
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(b"no TLS at all")
            assert eventually(lambda: hung_up(connection), "the listener still answers")
    finally:
        scp.stop()


def hung_up(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1 << 16)
    except ConnectionResetError:
        return True


def test_a_peer_that_sends_ahead_and_breaks_off_is_let_go_at_once(tmp_path: Path) -> None:
    (whole,) = [one for one in conversations() if len(one) > 1000 and one.count(b"2.25.2") > 1]
    store = whole[whole.index(b"\x04\x00") :]
    with SocketTarget(tmp_path, maximum_associations=5) as target:
        assert target.say(whole[: -len(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")] + store + store + b"\x63")


def test_two_associations_in_one_connection_are_refused(tmp_path: Path) -> None:
    (echo,) = [one for one in conversations() if len(one) == min(len(other) for other in conversations() if b"STRANGER" not in other)]
    with receiving(tmp_path) as node, socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        connection.sendall(echo[: 6 + int.from_bytes(echo[2:6], "big")] * 2)
        heard = b""
        while piece := connection.recv(1 << 16):
            heard += piece
            if heard[-10:-8] == b"\x07\x00":
                break
    assert heard[0] == 2
    assert heard[-10:] == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02", "A-ABORT, provider, unexpected PDU"

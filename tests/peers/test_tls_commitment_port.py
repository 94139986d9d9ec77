"""The port for storage commitment reports, over TLS: silent and odd peers keep nobody out."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from config.destinations import DeliverSection
from dicom_node.delivery.commitment import CommitmentReports
from dicom_node.delivery.commitment_listener import CommitmentListener
from tests.certificates import Authority, Identity
from tests.fuzz.campaign import settled
from tests.fuzz.scp import open_descriptors, threads
from tests.peers.test_storescu import run
from tests.receiving import CALLED


class NobodyAsked:
    """A ledger in which no report belongs to anything."""

    def commitment_destination(self, _transaction_uid: str) -> None:
        return None

    def record_commitment_report(self, *_: object, **__: object) -> int:
        return 0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def archive(authority: Authority) -> Identity:
    return authority.issue("archive", key=("rsa:2048",))


@pytest.fixture
def port(authority: Authority) -> Iterator[int]:
    own = authority.issue("node", key=("rsa:2048",))
    tls = {"certificate": own.certificate, "key": own.key, "trusted_certificates": authority.certificate}
    settings = DeliverSection(commitment_host="127.0.0.1", commitment_port=0, commitment_tls=tls)
    reports = CommitmentReports(NobodyAsked(), clock=lambda: datetime.now(UTC), ask_again_s=60)
    listener = CommitmentListener(settings, ae_title=CALLED, reports=reports)
    yield listener.start()
    listener.stop()


def echo(port: int, *options: str) -> int:
    return run("echoscu", *options, "-aet", "ARCHIVE", "-aec", CALLED, "127.0.0.1", str(port)).returncode


def test_a_peer_that_says_nothing_in_its_handshake_keeps_out_nobody(port: int, authority: Authority, archive: Identity) -> None:
    trusted = ("+tls", str(archive.key), str(archive.certificate), "+cf", str(authority.certificate))
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert echo(port, *trusted) == 0
    assert echo(port) != 0, "without TLS"
    assert echo(port, "+tla", "+cf", str(authority.certificate)) != 0, "without a certificate"


def test_connections_that_are_nothing_leave_nothing_open(port: int, authority: Authority, archive: Identity) -> None:
    trusted = ("+tls", str(archive.key), str(archive.certificate), "+cf", str(authority.certificate))
    assert echo(port, *trusted) == 0
    before = open_descriptors() + threads()
    for number in range(40):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert settled(before) == 0
    assert echo(port, *trusted) == 0

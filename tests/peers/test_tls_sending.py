"""`dicom-node send` and the C-STORE channel over TLS to DCMTK's storescp: what arrives, and what both sides refuse."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage
from typer.testing import CliRunner

from config.destinations import CStoreDestination
from config.tls import TlsSection
from dicom_node import failures
from dicom_node.commands import app
from dicom_node.delivery import DeliveryChannel, Outgoing, Receipt, open_channel
from tests.certificates import Authority, Identity
from tests.peers.reports import structured_report
from tests.peers.scripted import unused_port
from tests.peers.test_storescu import dcmtk
from tests.receiving import ct_slice, encoded, write_file
from tests.waiting import eventually

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def archive_identity(authority: Authority) -> Identity:
    return authority.issue("archive", key=("rsa:2048",))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Identity:
    return authority.issue("node", key=("rsa:2048",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Storescp:
    port: int
    folder: Path

    def stored(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


@contextmanager
def storescp(folder: Path, authority: Authority, identity: Identity, *options: str) -> Iterator[Storescp]:
    """DCMTK's storescp over TLS; it wants a certificate of the authority unless told otherwise."""
    folder.mkdir()
    port = unused_port()
    secured = ("+tls", str(identity.key), str(identity.certificate), "+cf", str(authority.certificate))
    process = subprocess.Popen(
        [dcmtk("storescp"), *secured, *options, "+B", "-od", str(folder), "-aet", "ARCHIVE", "--fork", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port), "storescp listens")
        assert process.poll() is None, "somebody else listens on the port"
        yield Storescp(port=port, folder=folder)
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def channel(port: int, tls: TlsSection) -> DeliveryChannel:
    destination = CStoreDestination(name="pacs", host="127.0.0.1", port=port, ae_title="ARCHIVE", timeout_s=10, tls=tls)
    return open_channel(destination, calling_ae_title="DICOM-NODE")


def deliver(path: Path, port: int, tls: TlsSection) -> Receipt:
    return channel(port, tls).deliver(Outgoing(path=path, kind="sr-findings", sop_class_uid=SR, sop_instance_uid=UID))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report(UID))
    return path


def trusting(authority: Authority, own: Identity | None, **more: bool) -> TlsSection:
    files = {} if own is None else {"certificate": own.certificate, "key": own.key}
    return TlsSection(trusted_certificates=authority.certificate, **files, **more)


@pytest.mark.parametrize("profile", ["+py", "+pz"], ids=["non-downgrading", "extended"])
def test_a_report_reaches_storescp_over_mutual_tls(
    report: Path, authority: Authority, archive_identity: Identity, own: Identity, profile: str
) -> None:
    with storescp(report.parent / "archive", authority, archive_identity, profile) as archive:
        receipt = deliver(report, archive.port, trusting(authority, own))
        (stored,) = archive.stored()
        assert (receipt.status, receipt.accepted) == ("0x0000", True)
        assert dcmread(stored) == dcmread(report)


def test_a_report_is_not_sent_to_an_archive_of_another_authority(
    tmp_path: Path, archive_identity: Identity, authority: Authority, own: Identity, report: Path
) -> None:
    other = Authority(tmp_path / "other", name="Somebody")
    with storescp(tmp_path / "archive", authority, archive_identity) as archive:
        with pytest.raises(failures.DeliveryError, match="not trusted"):
            deliver(report, archive.port, trusting(other, own))
        assert archive.stored() == []


def test_a_report_is_not_sent_to_an_archive_with_the_certificate_of_another_host(
    tmp_path: Path, authority: Authority, own: Identity, report: Path
) -> None:
    elsewhere = authority.issue("elsewhere", key=("rsa:2048",), names="DNS:elsewhere.example.org")
    with storescp(tmp_path / "archive", authority, elsewhere) as archive:
        with pytest.raises(failures.DeliveryError, match=r"(?i)mismatch"):
            deliver(report, archive.port, trusting(authority, own))
        assert archive.stored() == []
        assert deliver(report, archive.port, trusting(authority, own, verify_host_name=False)).accepted


def test_an_archive_that_wants_a_certificate_gets_nothing_without_one(
    tmp_path: Path, authority: Authority, archive_identity: Identity, report: Path
) -> None:
    with storescp(tmp_path / "archive", authority, archive_identity) as archive:
        with pytest.raises(failures.DeliveryError):
            deliver(report, archive.port, trusting(authority, None))
        assert archive.stored() == []


def test_an_archive_that_speaks_only_a_retired_profile_gets_nothing(
    tmp_path: Path, authority: Authority, archive_identity: Identity, own: Identity, report: Path
) -> None:
    with storescp(tmp_path / "archive", authority, archive_identity, "+pa") as archive:
        with pytest.raises(failures.DeliveryError):
            deliver(report, archive.port, trusting(authority, own))
        assert archive.stored() == []


def test_the_send_command_stores_over_mutual_tls_and_says_what_is_wrong(
    tmp_path: Path, authority: Authority, archive_identity: Identity, own: Identity
) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    mutual = ["--tls-trusted", str(authority.certificate), "--tls-certificate", str(own.certificate), "--tls-key", str(own.key)]
    with storescp(tmp_path / "archive", authority, archive_identity) as archive:
        command = ["send", str(path), "--to", f"127.0.0.1:{archive.port}", "--called", "ARCHIVE", "--json"]
        stored = CliRunner().invoke(app, [*command, *mutual])
        assert stored.exit_code == 0, stored.output
        assert encoded(ct_slice()) in archive.stored()[0].read_bytes()
        plain = CliRunner().invoke(app, command)
        without = CliRunner().invoke(app, [*command, *mutual[:2]])
        assert (plain.exit_code, without.exit_code) == (1, 1)
        (told,) = json.loads(without.stdout)["files"]
        assert "did not agree on TLS" in told["reason"]
        half = CliRunner().invoke(app, [*command, *mutual[:4]])
        assert half.exit_code == 2
        own.key.chmod(0o644)
        if os.geteuid() == 0:
            os.chown(own.key, 12345, 12345)
        refused = CliRunner().invoke(app, [*command, *mutual])
        own.key.chmod(0o600)
        assert refused.exit_code == 2
        assert "holds a secret and has mode 0644" in refused.output
        assert len(archive.stored()) == 1

"""DCMTK's storescu and echoscu over TLS to our listener: who gets in with which certificate, version and suite."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.certificates import Authority, Identity
from tests.peers.test_storescu import run
from tests.receiving import CALLED, CALLING, Node, association, ct_slice, receiving, wait_until, write_file

NAMES = {"certificate_subject": "CN=scanner,O=Test"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node_identity(authority: Authority) -> Identity:
    return authority.issue("node", key=("rsa:2048",))


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Identity:
    return authority.issue("scanner", key=("rsa:2048",))


@pytest.fixture(scope="module")
def tls(authority: Authority, node_identity: Identity) -> dict[str, Path]:
    return {"certificate": node_identity.certificate, "key": node_identity.key, "trusted_certificates": authority.certificate}


def secured(authority: Authority, identity: Identity | None) -> tuple[str, ...]:
    own = ("+tla",) if identity is None else ("+tls", str(identity.key), str(identity.certificate))
    return (*own, "+cf", str(authority.certificate))


def send(node: Node, path: Path, *options: str, calling: str = CALLING) -> subprocess.CompletedProcess[str]:
    return run("storescu", "-v", *options, "-aet", calling, "-aec", CALLED, "127.0.0.1", str(node.port), str(path))


@pytest.mark.parametrize("profile", ["+py", "+pz"], ids=["non-downgrading", "extended"])
def test_storescu_stores_over_mutual_tls(
    tmp_path: Path, authority: Authority, scanner: Identity, tls: dict[str, Path], profile: str
) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice(rows=256))
    with receiving(tmp_path / "node", tls=tls, calling_ae_titles=(), peers=({"name": "ct", "ae_titles": (CALLING,), **NAMES},)) as node:
        answer = send(node, path, *secured(authority, scanner), profile)
        assert answer.returncode == 0, answer.stderr
        (kept,) = node.kept_data_sets().values()
    assert kept in path.read_bytes()


def test_a_certificate_bound_to_another_ae_title_is_rejected_with_the_reason(
    tmp_path: Path, authority: Authority, scanner: Identity, tls: dict[str, Path]
) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    bound = {"name": "ct", "ae_titles": ("CT-2",), "certificate_sha256": (scanner.sha256,)}
    with structlog.testing.capture_logs() as logs, receiving(tmp_path / "node", tls=tls, peers=(bound,)) as node:
        answer = send(node, path, *secured(authority, scanner))
        right = send(node, path, *secured(authority, scanner), calling="CT-2")
        assert len(node.recorder.instances) == 1
    assert "Calling AE Title Not Recognized" in answer.stderr
    assert right.returncode == 0, right.stderr
    (rejected,) = [entry for entry in logs if entry["event"] == "association_rejected"]
    assert (rejected["calling_ae_title"], rejected["reason"]) == (CALLING, "certificate of somebody else")
    assert "CANARY" not in str(logs)


def refused(node: Node, answer: subprocess.CompletedProcess[str]) -> None:
    assert answer.returncode != 0
    assert "Association Accepted" not in answer.stdout + answer.stderr
    assert node.recorder.instances == []


def test_no_certificate_a_strangers_certificate_and_no_tls_get_nowhere(tmp_path: Path, authority: Authority, tls: dict[str, Path]) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    stranger = Authority(tmp_path / "somebody", name="Somebody").issue("scanner", key=("rsa:2048",))
    with receiving(tmp_path / "node", tls=tls) as node:
        refused(node, send(node, path, *secured(authority, None)))
        refused(node, send(node, path, *secured(authority, stranger)))
        refused(node, send(node, path))
        wait_until(lambda: node.files("incoming") == [])


def test_without_mutual_tls_a_peer_needs_no_certificate(tmp_path: Path, authority: Authority, tls: dict[str, Path]) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    with receiving(tmp_path / "node", tls={**tls, "require_client_certificate": False}) as node:
        assert send(node, path, *secured(authority, None)).returncode == 0


def openssl_says(node: Node, authority: Authority, *options: str) -> str:
    """Return what `openssl s_client`, at its least picky, says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", "-CAfile", str(authority.certificate), *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1",),
        ("-tls1_1",),
        ("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"),
    ],
    ids=["TLS 1.0", "TLS 1.1", "static RSA with SHA-1", "finite-field Diffie-Hellman", "no encryption"],
)
def test_old_versions_and_weak_suites_are_refused(
    tmp_path: Path, authority: Authority, tls: dict[str, Path], options: tuple[str, ...]
) -> None:
    cipher = options if "-cipher" in options else (*options, "-cipher", "ALL:@SECLEVEL=0")
    with receiving(tmp_path, tls={**tls, "require_client_certificate": False}) as node:
        answer = openssl_says(node, authority, *cipher)
        good = openssl_says(node, authority, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "Cipher is (NONE)" in answer, answer
    assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in good, good
    assert "Secure Renegotiation IS supported" in good
    assert "Compression: NONE" in good


def test_a_peer_that_says_nothing_in_its_handshake_keeps_out_nobody_and_is_cut_off(
    tmp_path: Path, authority: Authority, scanner: Identity, tls: dict[str, Path]
) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    with receiving(tmp_path / "node", tls=tls, network_timeout_s=2) as node:
        silent = [socket.create_connection(("127.0.0.1", node.port), timeout=20) for _ in range(5)]
        half = silent[0]
        half.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
        started = time.monotonic()
        answer = send(node, path, *secured(authority, scanner))
        assert answer.returncode == 0, answer.stderr
        for connection in silent:
            with connection:
                assert closed(connection)
        assert time.monotonic() - started < 15


def closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"addresses": ("192.0.2.0/24",)}, "Calling AE Title Not Recognized"),
        ({"sop_classes": ("1.2.840.10008.5.1.4.1.1.4",)}, "No presentation context for"),
        ({"maximum_object_mb": 1}, "OutOfResources"),
    ],
    ids=["address", "SOP class", "size"],
)
def test_the_limits_of_a_peer_hold_for_it_and_for_nobody_else(tmp_path: Path, limit: dict[str, Any], told: str) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice(rows=1024))
    with receiving(tmp_path / "node", calling_ae_titles=("MR-1",), peers=({"name": "ct", "ae_titles": (CALLING,), **limit},)) as node:
        answer = send(node, path)
        assert told in answer.stdout + answer.stderr
        assert node.recorder.instances == []
        assert node.files("") == []
        assert send(node, path, calling="MR-1").returncode == 0


def test_a_peer_with_all_its_associations_open_is_told_to_come_again(tmp_path: Path) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    peer = {"name": "ct", "ae_titles": (CALLING,), "maximum_associations": 1}
    with receiving(tmp_path / "node", calling_ae_titles=("MR-1",), peers=(peer,)) as node:
        with association(node) as opened:
            assert opened.is_established
            answer = send(node, path)
            assert "Rejected Transient" in answer.stderr
            assert "Local Limit Exceeded" in answer.stderr
            assert send(node, path, calling="MR-1").returncode == 0
        wait_until(lambda: send(node, path).returncode == 0)

"""TLS as this node speaks it, against the openssl command and itself: versions, suites, certificates, secrets, renewal."""

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from config.tls import ListenerTlsSection, TlsSection
from dicom_node.tls.contexts import (
    DICOM,
    PeerCertificate,
    TlsFilesError,
    client_context,
    dated_files,
    following_server_context,
    peer_certificate,
    server_context,
)
from tests.certificates import Authority, Identity


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Identity:
    return authority.issue("node", key=("rsa:2048",))


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Identity:
    return authority.issue("scanner", subject="/O=North Hospital/OU=Radiology/CN=CT 1", names="DNS:ct1.example.org,DNS:ct1")


def listener(authority: Authority, identity: Identity, **more: Any) -> ListenerTlsSection:
    files = {"certificate": identity.certificate, "key": identity.key, "trusted_certificates": authority.certificate}
    return ListenerTlsSection(**{**files, **more})


def caller(authority: Authority, identity: Identity | None = None, **more: Any) -> TlsSection:
    own = {} if identity is None else {"certificate": identity.certificate, "key": identity.key}
    return TlsSection(**{"trusted_certificates": authority.certificate, **own, **more})


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[tuple[int, list[Any]]]:
    """Answer each connection with one byte; collect the peer's certificate or the error."""
    seen: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    try:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            seen.append(peer_certificate(secured))
                            secured.sendall(b"!")
                            secured.recv(1)
                    except OSError as exc:
                        seen.append(exc)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], seen
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(10)


def call(context: ssl.SSLContext, port: int, *, host: str = "localhost") -> tuple[str, str]:
    """Shake hands and read the byte, so that a refusal by the server (in TLS 1.3 after our end of it) is noticed too."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        assert secured.recv(1) == b"!", "the server closed"
        cipher = secured.cipher()
        assert cipher is not None
        return str(secured.version()), cipher[0]


def test_both_directions_speak_tls_1_3_where_they_can(authority: Authority, node: Identity, scanner: Identity) -> None:
    with serving(server_context(listener(authority, node), protocol=DICOM)) as (port, seen):
        version, cipher = call(client_context(caller(authority, scanner), protocol=DICOM), port)
    assert (version, cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert seen == [
        PeerCertificate(
            sha256=scanner.sha256,
            subject=(("organizationName", "North Hospital"), ("organizationalUnitName", "Radiology"), ("commonName", "CT 1")),
            dns_names=("ct1.example.org", "ct1"),
        )
    ]


def foreign(authority: Authority, *, ciphers: str = "DEFAULT:@SECLEVEL=0", least: int = 0, most: int = 0) -> ssl.SSLContext:
    """A client of somebody else: less picky than ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    context.set_ciphers(ciphers)
    context.minimum_version = least or ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = most or ssl.TLSVersion.MAXIMUM_SUPPORTED
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(authority: Authority, node: Identity, version: int) -> None:
    section = listener(authority, node, require_client_certificate=False)
    with serving(server_context(section)) as (port, _), pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        call(foreign(authority, least=version, most=version), port)


@pytest.mark.parametrize(
    "cipher",
    [
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-SHA384",
        "DHE-RSA-AES256-GCM-SHA384",
        "NULL-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ],
)
def test_suites_that_the_profile_does_not_name_are_refused(authority: Authority, node: Identity, cipher: str) -> None:
    section = listener(authority, node, require_client_certificate=False)
    client = foreign(authority, ciphers=f"{cipher}:@SECLEVEL=0", least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_2)
    with serving(server_context(section)) as (port, _), pytest.raises(ssl.SSLError, match=r"(?i)handshake"):
        call(client, port)


@pytest.mark.parametrize("cipher", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"])
def test_the_suites_of_the_profile_are_spoken_over_tls_1_2(authority: Authority, node: Identity, cipher: str) -> None:
    section = listener(authority, node, require_client_certificate=False)
    with serving(server_context(section)) as (port, _):
        assert call(foreign(authority, ciphers=cipher, most=ssl.TLSVersion.TLSv1_2), port) == ("TLSv1.2", cipher)


def test_a_certificate_on_an_elliptic_curve_serves_too(authority: Authority) -> None:
    identity = authority.issue("curve", key=("ec", "-pkeyopt", "ec_paramgen_curve:P-384"))
    section = listener(authority, identity, require_client_certificate=False)
    with serving(server_context(section)) as (port, _):
        assert call(foreign(authority, most=ssl.TLSVersion.TLSv1_2), port) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")


def test_a_site_may_ask_for_tls_1_3_only(authority: Authority, node: Identity) -> None:
    section = listener(authority, node, require_client_certificate=False, minimum_version="1.3")
    with serving(server_context(section)) as (port, _):
        assert call(foreign(authority), port)[0] == "TLSv1.3"
        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            call(foreign(authority, most=ssl.TLSVersion.TLSv1_2), port)


def test_a_client_without_a_certificate_is_refused(authority: Authority, node: Identity) -> None:
    with (
        serving(server_context(listener(authority, node))) as (port, seen),
        pytest.raises(ssl.SSLError, match=r"(?i)certificate required"),
    ):
        call(client_context(caller(authority)), port)
    assert "did not return a certificate" in str(seen[0])


def test_a_client_with_a_certificate_of_another_authority_is_refused(authority: Authority, node: Identity, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, name="Somebody").issue("stranger")
    with serving(server_context(listener(authority, node))) as (port, _), pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
        call(client_context(caller(authority, stranger)), port)


def test_an_expired_certificate_is_refused(authority: Authority, node: Identity) -> None:
    expired = authority.issue("expired", days=-1)
    with serving(server_context(listener(authority, node))) as (port, _), pytest.raises(ssl.SSLError, match=r"(?i)expired"):
        call(client_context(caller(authority, expired)), port)


def test_a_revoked_certificate_is_refused(authority: Authority, node: Identity, scanner: Identity) -> None:
    stolen = authority.issue("stolen")
    section = listener(authority, node, revocation_list=authority.revocation_list(stolen))
    with serving(server_context(section)) as (port, _):
        call(client_context(caller(authority, scanner)), port)
        with pytest.raises(ssl.SSLError, match=r"(?i)revoked"):
            call(client_context(caller(authority, stolen)), port)


def test_a_weak_key_and_a_weak_signature_are_refused(authority: Authority, node: Identity) -> None:
    short = authority.issue("short", key=("rsa:1024",))
    with pytest.raises(TlsFilesError, match="EE_KEY_TOO_SMALL"):
        server_context(listener(authority, short))
    old = authority.issue("old", digest="sha1")
    with pytest.raises(TlsFilesError, match=r"CA_MD_TOO_WEAK|EE_MD_TOO_WEAK"):
        server_context(listener(authority, old))


def test_a_server_for_another_host_is_not_believed(authority: Authority, scanner: Identity) -> None:
    section = listener(authority, scanner, require_client_certificate=False)
    with serving(server_context(section)) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname mismatch"):
            call(client_context(caller(authority)), port)
        assert call(client_context(caller(authority, verify_host_name=False)), port)[0] == "TLSv1.3"
        assert call(client_context(caller(authority)), port, host="ct1.example.org")[0] == "TLSv1.3"


def test_a_single_certificate_can_be_trusted_without_its_authority(authority: Authority, node: Identity, scanner: Identity) -> None:
    section = listener(authority, node, trusted_certificates=scanner.certificate)
    with serving(server_context(section)) as (port, _):
        call(client_context(caller(authority, scanner)), port)
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
            call(client_context(caller(authority, node)), port)


def test_there_is_no_renegotiation_no_compression_and_no_resumption(authority: Authority, node: Identity) -> None:
    context = server_context(listener(authority, node))
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET):
        assert context.options & option
    assert context.num_tickets == 0


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o601])
def test_a_key_that_others_may_use_is_refused(authority: Authority, tmp_path: Path, mode: int) -> None:
    identity = authority.issue(f"open-{mode:o}")
    identity.key.chmod(mode)
    if os.geteuid() == 0:
        os.chown(identity.key, 12345, 12345)  # a key of root's may be read by its group
    with pytest.raises(TlsFilesError, match=f"has mode {mode:04o}, so that others may use it; chmod 600"):
        server_context(listener(authority, identity))


def test_a_key_with_a_password_needs_the_file_with_the_password(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue("locked", password="correct horse")
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    server_context(listener(authority, identity, key_password_file=password))
    with pytest.raises(TlsFilesError, match="cannot be used"):
        server_context(listener(authority, identity))
    password.write_text("wrong")
    with pytest.raises(TlsFilesError, match="cannot be used") as wrong:
        server_context(listener(authority, identity, key_password_file=password))
    assert "correct" not in str(wrong.value)
    password.chmod(0o644)
    with pytest.raises(TlsFilesError, match="has mode 0644"):
        server_context(listener(authority, identity, key_password_file=password))


def test_a_file_that_is_missing_or_of_another_kind_is_named(
    authority: Authority, node: Identity, scanner: Identity, tmp_path: Path
) -> None:
    with pytest.raises(TlsFilesError, match=r"nowhere\.pem cannot be read: No such file"):
        server_context(listener(authority, node, certificate=tmp_path / "nowhere.pem"))
    with pytest.raises(TlsFilesError, match="are they a pair"):
        server_context(listener(authority, node, key=scanner.key))
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(TlsFilesError, match=r"text\.pem holds no certificates in PEM"):
        client_context(caller(authority, trusted_certificates=tmp_path / "text.pem"))


def test_a_renewed_certificate_is_used_from_the_next_connection_on(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.issue("first"), authority.issue("second")
    used = Identity(certificate=tmp_path / "own.pem", key=tmp_path / "own-key.pem")

    def install(identity: Identity) -> None:
        for source, target in ((identity.certificate, used.certificate), (identity.key, used.key)):
            target.unlink(missing_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)

    install(first)
    followed = following_server_context(listener(authority, used))
    assert followed.current() is followed.current()
    before = followed.current()
    with structlog.testing.capture_logs() as logs:
        used.certificate.write_bytes(second.certificate.read_bytes())  # the new key is not there yet
        assert followed.current() is before
        assert followed.current() is before
        install(second)
        assert followed.current() is not before
    assert [entry["event"] for entry in logs] == ["tls_files_not_renewed", "tls_files_renewed"]


def test_a_connection_over_which_nothing_was_shown_has_no_peer_certificate(authority: Authority, node: Identity) -> None:
    with serving(server_context(listener(authority, node, require_client_certificate=False))) as (port, seen):
        call(client_context(caller(authority)), port)
    assert seen == [None]


def test_when_certificates_and_lists_run_out_is_known(authority: Authority) -> None:
    soon = authority.issue("soon", days=10)
    section = listener(authority, soon, revocation_list=authority.revocation_list())
    now = datetime.now(UTC)
    left = {file.field: file.expiry().days_left(now) for file in dated_files("receive.tls", section)}
    assert left == {
        "receive.tls.certificate": pytest.approx(10, abs=0.1),
        "receive.tls.trusted_certificates": pytest.approx(2, abs=0.1),
        "receive.tls.revocation_list": pytest.approx(2, abs=0.1),
    }
    (expired,) = dated_files("tls", TlsSection(trusted_certificates=authority.issue("gone", days=-1).certificate))
    assert expired.expiry().at < now - timedelta(hours=23)


def test_a_file_without_dates_is_named(authority: Authority, node: Identity, tmp_path: Path) -> None:
    for content in (b"no PEM", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", node.key.read_bytes()):
        (tmp_path / "odd.pem").write_bytes(content)
        with pytest.raises(TlsFilesError, match=r"odd\.pem"):
            next(dated_files("tls", TlsSection(trusted_certificates=tmp_path / "odd.pem"))).expiry()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (TlsSection, {"certificate": "a.pem"}, "certificate and key belong together"),
        (TlsSection, {"key_password_file": "a"}, "key_password_file without key"),
        (TlsSection, {"revocation_list": "a"}, "revocation_list without trusted_certificates"),
        (TlsSection, {"minimum_version": "1.1"}, "1.2"),
        (ListenerTlsSection, {}, "a listener needs both"),
        (ListenerTlsSection, {"certificate": "a", "key": "b"}, "name the authority of the peers' certificates"),
    ],
)
def test_settings_that_cannot_be_meant_are_mistakes(section: Any, values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section(**values)

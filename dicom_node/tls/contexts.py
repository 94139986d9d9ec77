"""TLS as this node speaks it, in both directions: the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12).

That profile never goes below TLS 1.2. It took the place of the Non-Downgrading BCP 195 profile (B.10), with which this node
still connects: the suites of both for ECDHE are the same.
"""

import hashlib
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog

from config.tls import ListenerTlsSection, TlsSection
from dicom_node.tls.expiry import UnreadableCertificateError, expires_at, next_update_at

DICOM = "dicom"
"""Application protocol (RFC 7301) of an association, as registered with IANA."""

# RFC 9325 section 4.2, for TLS 1.2; level 2 refuses RSA below 2048 bits, curves below 224 bits and SHA-1 in certificates.
CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "@SECLEVEL=2",
    )
)
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_OTHERS_MAY_READ = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH
_GROUP_MAY = stat.S_IRWXG

_Section = TlsSection | ListenerTlsSection
_log = structlog.get_logger(__name__)


class TlsFilesError(Exception):
    """A file of a TLS section cannot be used. The message names the file and says what to do; it holds nothing of its content."""


def server_context(section: ListenerTlsSection, *, protocol: str = "") -> ssl.SSLContext:
    """Return what a listener wraps its connections in. `protocol` is the application protocol (`DICOM`), if it has a name.

    Raises:
        TlsFilesError: a file is missing, does not fit the others, or is a secret that others may read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # A resumed session would skip the look at the certificate, and at the list of those that were revoked meanwhile.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _prepare(context, section, protocol)
    if section.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    else:
        context.verify_mode = ssl.CERT_OPTIONAL if section.trusted_certificates else ssl.CERT_NONE
    return context


def client_context(section: TlsSection, *, protocol: str = "") -> ssl.SSLContext:
    """Return what a connection to a peer is wrapped in, with `server_hostname` set to the host that is connected to.

    Raises:
        TlsFilesError: as `server_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = section.verify_host_name
    _prepare(context, section, protocol)
    if section.trusted_certificates is None:
        context.load_default_certs()
    return context


def _prepare(context: ssl.SSLContext, section: _Section, protocol: str) -> None:
    context.minimum_version = _VERSIONS[section.minimum_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    if protocol:
        context.set_alpn_protocols([protocol])
    if section.certificate is not None and section.key is not None:
        _load_own(context, section.certificate, section.key, section.key_password_file)
    if section.trusted_certificates is not None:
        # A single certificate may be trusted by itself, without the authority that made it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load_trusted(context, section.trusted_certificates, "certificates")
    if section.revocation_list is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        _load_trusted(context, section.revocation_list, "revocation lists")


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, password_file: Path | None) -> None:
    _check_secret(key)
    password = None
    if password_file is not None:
        _check_secret(password_file)
        password = _read(password_file).rstrip(b"\r\n")
    _read(certificate)
    try:
        # Without a password OpenSSL would ask for one on the terminal; an empty one makes it fail instead.
        context.load_cert_chain(certificate, key, password=password or b"")
    except ssl.SSLError as exc:
        problem = f"{certificate} and {key} cannot be used ({exc.reason or 'not PEM, or a wrong password'}); are they a pair, in PEM?"
        raise TlsFilesError(problem) from exc


def _load_trusted(context: ssl.SSLContext, path: Path, what: str) -> None:
    _read(path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as exc:
        raise TlsFilesError(f"{path} holds no {what} in PEM ({exc.reason})") from exc


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise TlsFilesError(f"{path} cannot be read: {exc.strerror}") from exc


def _check_secret(path: Path) -> None:
    """Raise TlsFilesError if others may read a secret. The group may if root owns it, which is how container platforms hand it over."""
    try:
        found = path.stat()
    except OSError as exc:
        raise TlsFilesError(f"{path} cannot be read: {exc.strerror}") from exc
    mode = stat.S_IMODE(found.st_mode)
    group = mode & _GROUP_MAY
    if mode & _OTHERS_MAY_READ or (group and (found.st_uid != 0 or group & ~stat.S_IRGRP)):
        raise TlsFilesError(f"{path} holds a secret and has mode {mode:04o}, so that others may use it; chmod 600 {path}")


class FollowedContext:
    """A context that follows its files: a renewed certificate or revocation list is used from the next connection on.

    If the new files cannot be used, the old ones stay in use and the reason is logged once.
    """

    def __init__(self, section: _Section, build: Callable[[], ssl.SSLContext]) -> None:
        self._files = section.files
        self._build = build
        self._lock = Lock()
        self._seen = self._stamps()
        self._context = build()

    def current(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._renew()
            return self._context

    def _renew(self) -> None:
        try:
            self._context = self._build()
        except TlsFilesError as exc:
            _log.error("tls_files_not_renewed", reason=str(exc), consequence="the old ones stay in use")
        else:
            _log.info("tls_files_renewed", files=[path.name for path in self._files])

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def following_server_context(section: ListenerTlsSection, *, protocol: str = "") -> FollowedContext:
    """Return the context of a listener that runs for months. Raises as `server_context`."""
    return FollowedContext(section, lambda: server_context(section, protocol=protocol))


def following_client_context(section: TlsSection, *, protocol: str = "") -> FollowedContext:
    """Return the context for a peer that is connected to again and again. Raises as `client_context`."""
    return FollowedContext(section, lambda: client_context(section, protocol=protocol))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """The certificate that a peer has shown and that was found trusted.

    `subject` is a tuple of (attribute as OpenSSL names it, value) in the order of the certificate; `sha256` is hexadecimal, of the DER.
    """

    sha256: str
    subject: tuple[tuple[str, str], ...]
    dns_names: tuple[str, ...] = ()


def peer_certificate(connection: ssl.SSLSocket | ssl.SSLObject) -> PeerCertificate | None:
    """Return the peer's certificate after the handshake; None if it showed none or none was asked for."""
    encoded = connection.getpeercert(binary_form=True)
    told = connection.getpeercert()
    if not encoded or not told:
        return None
    subject = told.get("subject", ())
    names = told.get("subjectAltName", ())
    return PeerCertificate(
        sha256=hashlib.sha256(encoded).hexdigest(),
        subject=tuple((str(pair[0]), str(pair[1])) for rdn in subject for pair in rdn),
        dns_names=tuple(str(name[1]) for name in names if name[0] == "DNS"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """When a file of a TLS section stops working: `field` as in the settings, such as `receive.tls.certificate`."""

    field: str
    path: Path
    at: datetime

    def days_left(self, now: datetime) -> float:
        """Days until then; negative afterwards."""
        return (self.at - now).total_seconds() / 86400


def dated_files(field: str, section: _Section) -> Iterator["DatedFile"]:
    """Yield each file of the section that runs out: certificates (own and trusted) and revocation lists."""
    for name, path, read in (
        ("certificate", section.certificate, expires_at),
        ("trusted_certificates", section.trusted_certificates, expires_at),
        ("revocation_list", section.revocation_list, next_update_at),
    ):
        if path is not None:
            yield DatedFile(field=f"{field}.{name}", path=path, read=read)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedFile:
    """A file with dates in it; `read` returns the first at which something in it runs out."""

    field: str
    path: Path
    read: Callable[[bytes], datetime]

    def expiry(self) -> Expiry:
        """Return when it runs out.

        Raises:
            TlsFilesError: it cannot be read, or holds nothing of the kind.
        """
        try:
            return Expiry(field=self.field, path=self.path, at=self.read(_read(self.path)).astimezone(UTC))
        except UnreadableCertificateError as exc:
            raise TlsFilesError(f"{self.path}: {exc}") from exc

"""An authority for tests, made anew in a folder by the openssl command: certificates, keys and revocation lists."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """The fingerprint, as the settings write it."""
        told = _openssl("x509", "-in", str(self.certificate), "-noout", "-fingerprint", "-sha256")
        return told.partition("=")[2].strip().replace(":", "").lower()


class Authority:
    """Signs certificates for localhost and 127.0.0.1, valid for two days unless told otherwise."""

    def __init__(self, folder: Path, *, name: str = "Test Authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = folder / "authority.pem"
        self._key = folder / "authority-key.pem"
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(self._key))
        _openssl("req", "-x509", *new_key, "-days", "2", "-subj", f"/O=Test/CN={name}", "-out", str(self.certificate))
        (folder / "index.txt").touch()
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\n"
            f"database={folder / 'index.txt'}\ncrlnumber={folder / 'crlnumber'}\ncertificate={self.certificate}\nprivate_key={self._key}\n"
            "default_md=sha256\ndefault_days=2\ndefault_crl_days=2\n"
        )

    def issue(
        self,
        name: str,
        *,
        subject: str = "",
        key: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        days: int = 2,
        digest: str = "sha256",
        password: str = "",
        names: str = "DNS:localhost,IP:127.0.0.1",
    ) -> Identity:
        """Return a new certificate with its key in files called after `name`; the subject is /O=Test/CN=`name` unless given."""
        identity = Identity(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}-key.pem")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        secret = ("-passout", f"pass:{password}") if password else ("-nodes",)
        _openssl(
            "req",
            "-new",
            "-newkey",
            *key,
            *secret,
            "-keyout",
            str(identity.key),
            "-subj",
            subject or f"/O=Test/CN={name}",
            "-out",
            str(request),
        )
        identity.key.chmod(0o600)
        signer = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial")
        _openssl(
            "x509",
            "-req",
            "-in",
            str(request),
            *signer,
            f"-{digest}",
            "-days",
            str(days),
            "-extfile",
            str(extensions),
            "-out",
            str(identity.certificate),
        )
        return identity

    def revocation_list(self, *revoked: Identity) -> Path:
        """Return a new list of everything that was revoked so far and now."""
        for identity in revoked:
            _openssl("ca", "-config", str(self._folder / "ca.cnf"), "-revoke", str(identity.certificate))
        path = self._folder / "revoked.pem"
        _openssl("ca", "-config", str(self._folder / "ca.cnf"), "-gencrl", "-out", str(path))
        return path


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout

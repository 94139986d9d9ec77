"""Transport Layer Security: certificates, keys and whom to trust, for what this node listens on and for what it connects to.

Secrets are files. They may be read by this node's user only; `dicom_node.tls.contexts` refuses them otherwise.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from config.section import Section
from config.source import Location

_PATHS = ("certificate", "key", "key_password_file", "trusted_certificates", "revocation_list")


class _TlsFiles(Section):
    """What both directions have."""

    certificate: Path | None = Field(None, description="PEM file: this node's certificate, then those that lead to the authority.")
    key: Path | None = Field(None, description="PEM file: the private key of the certificate, readable by this node's user only.")
    key_password_file: Path | None = Field(None, description="File with the password of the key, where it has one; readable like the key.")
    trusted_certificates: Path | None = Field(None, description="PEM file: the authorities (or single certificates) that peers must have.")
    revocation_list: Path | None = Field(None, description="PEM file with certificate revocation lists; a peer on one is refused.")
    minimum_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest TLS version; nothing older than 1.2 exists here.")

    def beside(self, base: Path) -> Self:
        """Return the same with absolute paths: relative ones lie in `base`."""
        return self.model_copy(update={name: base / path for name in _PATHS if (path := getattr(self, name)) is not None})

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is named."""
        return tuple(path for name in _PATHS if (path := getattr(self, name)) is not None)

    @model_validator(mode="after")
    def _certificate_and_key_belong_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both or neither")
        if self.key_password_file is not None and self.key is None:
            raise ValueError("key_password_file without key; remove it or give certificate and key")
        if self.revocation_list is not None and self.trusted_certificates is None:
            raise ValueError("revocation_list without trusted_certificates; name the authorities whose list it is")
        return self


class TlsSection(_TlsFiles):
    """TLS to a peer that this node connects to. With a certificate of its own, the peer can know this node by it (mutual TLS)."""

    verify_host_name: bool = Field(
        True, description="The peer's certificate must be for the host that is connected to. Without it any trusted one will do."
    )


class ListenerTlsSection(_TlsFiles):
    """TLS on what this node listens on."""

    require_client_certificate: bool = Field(True, description="Peers must show a certificate that is trusted (mutual TLS).")

    @model_validator(mode="after")
    def _can_listen(self) -> Self:
        if self.certificate is None:
            raise ValueError("certificate and key are missing; a listener needs both")
        if self.require_client_certificate and self.trusted_certificates is None:
            raise ValueError("trusted_certificates is missing; name the authority of the peers' certificates")
        return self


def tls_sections(section: Section, at: Location = ()) -> Iterator[tuple[Location, TlsSection | ListenerTlsSection]]:
    """Yield every TLS section of the settings, with the place where it stands."""
    for name in type(section).model_fields:
        value: object = getattr(section, name)
        inner = value if isinstance(value, tuple) else (value,)
        for index, one in enumerate(inner):
            here = (*at, name, index) if isinstance(value, tuple) else (*at, name)
            if isinstance(one, TlsSection | ListenerTlsSection):
                yield here, one
            elif isinstance(one, Section):
                yield from tls_sections(one, here)

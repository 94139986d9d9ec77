"""The audit trail: who did what with whose images, kept here and sent to an audit record repository."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.section import Seconds, Section
from config.tls import TlsSection

_TIMEOUT = "Seconds to wait for the network."


class SyslogTlsRepository(Section):
    """An audit record repository that takes syslog over TLS (RFC 5425, PS3.15 A.6, IHE ITI-20)."""

    kind: Literal["syslog-tls"] = "syslog-tls"
    host: str = Field(min_length=1, description="Host name or address of the repository.")
    port: int = Field(6514, ge=1, le=65535, description="TCP port of the repository.")
    tls: TlsSection = TlsSection()
    timeout_s: Seconds = Field(30, description=_TIMEOUT)


class SyslogUdpRepository(Section):
    """An audit record repository that takes syslog over UDP (RFC 5426, PS3.15 A.7): nobody confirms anything, and everybody can read it."""

    kind: Literal["syslog-udp"] = "syslog-udp"
    host: str = Field(min_length=1, description="Host name or address of the repository.")
    port: int = Field(514, ge=1, le=65535, description="UDP port of the repository.")
    timeout_s: Seconds = Field(30, description=_TIMEOUT)


class FileRepository(Section):
    """A file that another program forwards: a syslog message (RFC 5424) a line."""

    kind: Literal["file"] = "file"
    path: Path = Field(description="The file; relative to the settings file.")


Repository = Annotated[SyslogTlsRepository | SyslogUdpRepository | FileRepository, Field(discriminator="kind")]


class AuditSection(Section):
    """The audit trail (PS3.15 A.5, IHE ATNA). It is the only place beside the images and results that names patients."""

    enabled: bool = Field(True, description="Keep an audit trail.")
    folder: Path | None = Field(None, description="Folder of the local trail; relative to the settings file. Left out: in the data folder.")
    file_mb: float = Field(16, ge=0.01, le=1024, description="Size, in MB, at which a new file of the local trail is begun.")
    maximum_mb: float = Field(
        2048, ge=0.1, description="Size, in MB, of the local trail, beyond which its oldest file is removed, loudly if it was not yet sent."
    )
    repository: Repository | None = Field(None, description="Where the messages are sent; left out: they are kept here only.")
    retry_s: Seconds = Field(10, description="Seconds between attempts while the repository is away; messages wait in the local trail.")

    @model_validator(mode="after")
    def _room_for_files(self) -> Self:
        if self.maximum_mb < self.file_mb * 2:
            raise ValueError("maximum_mb must be at least twice file_mb")
        return self

    def located(self, base: Path) -> Self:
        """Return the same with absolute paths: relative ones lie in `base`."""
        repository = self.repository
        if isinstance(repository, FileRepository):
            repository = repository.model_copy(update={"path": base / repository.path})
        elif isinstance(repository, SyslogTlsRepository):
            repository = repository.model_copy(update={"tls": repository.tls.beside(base)})
        folder = None if self.folder is None else base / self.folder
        return self.model_copy(update={"folder": folder, "repository": repository})

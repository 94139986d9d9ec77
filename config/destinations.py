"""Where results go, what each destination takes, and how hard the node tries."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from config.section import AeTitle, Port, Seconds, Section, Slug
from config.tls import ListenerTlsSection, TlsSection

DicomKind = Literal[
    "sr-findings",
    "sr-regions",
    "secondary-capture",
    "key-objects-of-interest",
    "key-objects-quality",
    "gsps-outline",
    "encapsulated-pdf",
]
Hl7Kind = Literal["hl7-oru", "hl7-order"]
FhirKind = Literal["fhir-report"]
ResultKind = Literal[DicomKind, Hl7Kind, FhirKind]
"""What the node can make of an analysis. The names are those of `reporting.ENCODERS`."""

SrVariant = Literal["comprehensive-3d", "comprehensive", "enhanced", "basic-text"]
"""The SOP classes that one report can be written as, richest first."""

RICHEST_FIRST: tuple[SrVariant, ...] = ("comprehensive-3d", "comprehensive", "enhanced", "basic-text")

_NAME = "Name that routes use."
_RESULTS = "Kinds of results that it takes."
_VARIANTS = "SOP classes that reports may be sent as; the richest that it accepts is sent."
_TLS = "TLS to it; none if left out."
_BANDWIDTH = "Bytes per second that are sent at most; no limit if left out."
_TIMEOUT = "Seconds to wait for the network and for each answer."
_TOKEN_FILE = "File with a bearer token, read anew for each request; relative to the settings file."  # noqa: S105 - no secret
_TOKEN_VARIABLE = "Environment variable with a bearer token, where there is no file."  # noqa: S105 - no secret
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
RemotePort = Annotated[int, Field(ge=1, le=65535)]
BytesPerSecond = Annotated[int, Field(ge=1000, le=10**11)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _service_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ValueError("is not a URL; write it as https://host:port/path") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("is not the URL of a web service; write it as https://host:port/path")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a query or a fragment; a token goes into bearer_token_file")
    return url.rstrip("/")


ServiceUrl = Annotated[str, AfterValidator(_service_url)]


class StorageCommitmentSection(Section):
    """Asking an archive to keep what it accepted (PS3.4 Annex J)."""

    host: Host | None = Field(None, description="Host of the commitment SCP, where it is not the archive's.")
    port: RemotePort | None = Field(None, description="TCP port of the commitment SCP, where it is not the archive's.")
    ae_title: AeTitle | None = Field(None, description="Called AE title of the commitment SCP, where it is not the archive's.")
    wait_s: Seconds = Field(2, description="Seconds to keep the association open for a report on it; later ones come on a new one.")
    report_timeout_s: Seconds = Field(3600, description="Seconds without a report after which the archive is asked again.")
    maximum_requests: int = Field(24, ge=1, le=1000, description="Requests without a report before an operator is told.")
    maximum_instances: int = Field(100, ge=1, le=10000, description="SOP Instances asked for in one transaction.")


def refuse_secrets_in_clear(url: str, token_file: Path | None, token_variable: str | None, tls: TlsSection | None) -> None:
    """Raise ValueError if a token would be sent so that everybody on the network can read it, or what is set would not be used."""
    parts = urlsplit(url)
    if token_file is not None and token_variable is not None:
        raise ValueError("bearer_token_file and bearer_token_variable are both set; keep one of the two")
    if parts.scheme == "http" and tls is not None:
        raise ValueError("tls is set, but url begins with http:// and would not use it; write https:// or remove tls")
    if (token_file or token_variable) and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("a bearer token over http can be read by everybody on the network; write https:// in url")


class CStoreDestination(Section):
    """An archive that takes results by C-STORE (PS3.4 Annex B)."""

    kind: Literal["c-store"] = "c-store"
    name: Slug = Field(description=_NAME)
    host: Host = Field(description="Host name or address of the archive.")
    port: RemotePort = Field(description="TCP port of the archive.")
    ae_title: AeTitle = Field(description="Called AE title.")
    results: tuple[DicomKind, ...] = Field(("sr-findings",), min_length=1, description=_RESULTS)
    variants: tuple[SrVariant, ...] = Field(RICHEST_FIRST, min_length=1, description=_VARIANTS)
    storage_commitment: StorageCommitmentSection | None = Field(None, description="Storage commitment; none is asked for if left out.")
    tls: TlsSection | None = Field(None, description=_TLS)
    timeout_s: Seconds = Field(30, description=_TIMEOUT)
    maximum_bytes_per_s: BytesPerSecond | None = Field(None, description=_BANDWIDTH)


class StowDestination(Section):
    """An archive that takes results by DICOMweb STOW-RS (PS3.18 10.5)."""

    kind: Literal["stow"] = "stow"
    name: Slug = Field(description=_NAME)
    url: ServiceUrl = Field(description="Base URL of the DICOMweb service, without /studies.")
    results: tuple[DicomKind, ...] = Field(("sr-findings",), min_length=1, description=_RESULTS)
    variants: tuple[SrVariant, ...] = Field(RICHEST_FIRST, min_length=1, description=_VARIANTS)
    bearer_token_file: Path | None = Field(None, description=_TOKEN_FILE)
    bearer_token_variable: VariableName | None = Field(None, description=_TOKEN_VARIABLE)
    tls: TlsSection | None = Field(None, description=_TLS)
    timeout_s: Seconds = Field(30, description=_TIMEOUT)
    maximum_bytes_per_s: BytesPerSecond | None = Field(None, description=_BANDWIDTH)

    @model_validator(mode="after")
    def _secrets_are_not_sent_in_clear(self) -> Self:
        refuse_secrets_in_clear(self.url, self.bearer_token_file, self.bearer_token_variable, self.tls)
        return self


class Hl7Destination(Section):
    """A RIS or an interface engine that takes HL7 v2.5.1 messages over MLLP."""

    kind: Literal["hl7"] = "hl7"
    name: Slug = Field(description=_NAME)
    host: Host = Field(description="Host name or address of the receiver.")
    port: RemotePort = Field(description="TCP port of the receiver.")
    results: tuple[Hl7Kind, ...] = Field(("hl7-oru",), min_length=1, description=_RESULTS)
    tls: TlsSection | None = Field(None, description=_TLS)
    timeout_s: Seconds = Field(30, description=_TIMEOUT)
    maximum_bytes_per_s: BytesPerSecond | None = Field(None, description=_BANDWIDTH)


class FhirDestination(Section):
    """A FHIR R4 server that takes a transaction Bundle for each report."""

    kind: Literal["fhir"] = "fhir"
    name: Slug = Field(description=_NAME)
    url: ServiceUrl = Field(description="Base URL of the FHIR service, to which transactions are posted.")
    results: tuple[FhirKind, ...] = Field(("fhir-report",), min_length=1, description=_RESULTS)
    bearer_token_file: Path | None = Field(None, description=_TOKEN_FILE)
    bearer_token_variable: VariableName | None = Field(None, description=_TOKEN_VARIABLE)
    tls: TlsSection | None = Field(None, description=_TLS)
    timeout_s: Seconds = Field(30, description=_TIMEOUT)
    maximum_bytes_per_s: BytesPerSecond | None = Field(None, description=_BANDWIDTH)

    @model_validator(mode="after")
    def _secrets_are_not_sent_in_clear(self) -> Self:
        refuse_secrets_in_clear(self.url, self.bearer_token_file, self.bearer_token_variable, self.tls)
        return self


class FolderDestination(Section):
    """A folder that takes results as files, written whole or not at all."""

    kind: Literal["folder"] = "folder"
    name: Slug = Field(description=_NAME)
    folder: Path = Field(description="Folder for the files; relative to the settings file.")
    results: tuple[ResultKind, ...] = Field(("sr-findings",), min_length=1, description=_RESULTS)
    maximum_bytes_per_s: BytesPerSecond | None = Field(None, description=_BANDWIDTH)


Destination = Annotated[
    CStoreDestination | StowDestination | Hl7Destination | FhirDestination | FolderDestination, Field(discriminator="kind")
]


class DeliverSection(Section):
    """Sending results. Each destination has its own lane."""

    retry_s: Seconds = Field(5, description="Seconds before the second attempt; doubled each time, with jitter.")
    maximum_retry_s: Seconds = Field(900, description="Longest wait, in seconds, between attempts.")
    maximum_attempts: int = Field(200, ge=1, le=100000, description="Attempts before a delivery is FAILED and waits for an operator.")
    lease_s: Seconds = Field(120, description="Seconds after which a silent sender's delivery may be taken by another.")
    failures_to_open: int = Field(
        5, ge=1, le=1000, description="Failures in a row after which a destination gets only one probe at a time until one succeeds."
    )
    capability_days: float = Field(
        7,
        ge=0,
        le=3650,
        description="Days for which it is remembered as what an archive takes reports; then all variants are offered anew.",
    )
    commitment_host: str = Field("0.0.0.0", description="Address to listen on for storage commitment reports.")  # noqa: S104 - a server's default
    commitment_port: Port | None = Field(
        None,
        description="TCP port for storage commitment reports on associations of the archive's own; none if left out, 0 takes a free one.",
    )
    commitment_tls: ListenerTlsSection | None = Field(None, description="TLS on that port; none if left out.")


def located(destination: Destination, base: Path) -> Destination:
    """Return `destination` with absolute paths: relative ones lie in `base`."""
    if isinstance(destination, FolderDestination):
        return destination.model_copy(update={"folder": base / destination.folder})
    found: dict[str, object] = {}
    if destination.tls is not None:
        found["tls"] = destination.tls.beside(base)
    if isinstance(destination, StowDestination | FhirDestination) and destination.bearer_token_file is not None:
        found["bearer_token_file"] = base / destination.bearer_token_file
    return destination.model_copy(update=found)


def tls_of(destination: Destination) -> TlsSection | None:
    """Return the TLS section of a destination, None where it has none."""
    return None if isinstance(destination, FolderDestination) else destination.tls


def token_file_of(destination: Destination) -> Path | None:
    """Return the file with the bearer token of a destination, None where it has none."""
    return destination.bearer_token_file if isinstance(destination, StowDestination | FhirDestination) else None


def target_of(destination: Destination) -> str:
    """Return where a destination is, in words that are the same for the same place."""
    match destination:
        case FolderDestination():
            return str(destination.folder)
        case Hl7Destination():
            return f"{destination.host}:{destination.port}"
        case CStoreDestination():
            return f"{destination.ae_title} at {destination.host}:{destination.port}"
        case _:
            return destination.url

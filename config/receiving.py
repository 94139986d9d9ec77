"""The Storage and Verification SCP: its settings."""

from collections import Counter
from typing import Literal, Self

from pydantic import Field, model_validator

from config.peers import PeerSection
from config.section import AeTitle, Port, Seconds, Section
from config.tls import ListenerTlsSection


class ReceiveSection(Section):
    """The Storage and Verification SCP."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - a server's default; tests bind 127.0.0.1
    port: Port = Field(11112, description="TCP port to listen on; 0 takes a free one.")
    processes: int = Field(2, ge=1, le=64, description="Processes that receive on one port; more than the machine has cores do not help.")
    durability: Literal["power-loss", "crash"] = Field(
        "power-loss",
        description="What an acknowledged instance survives: loss of power, or only the death of processes, which is faster on slow disks.",
    )
    maximum_associations: int = Field(
        50, ge=1, le=1000, description="Associations open at once in all processes; more are rejected as transient."
    )
    calling_ae_titles: tuple[AeTitle, ...] = Field((), description="Calling AE titles that may associate; nobody else may.")
    any_calling_ae_title: bool = Field(False, description="Accept every calling AE title. For a closed test network only.")
    urgent_calling_ae_titles: tuple[AeTitle, ...] = Field((), description="Calling AE titles whose studies settle and run first.")
    reserve_mb: int = Field(1024, ge=0, description="Free space, in MB, below which an instance is refused with 0xA700.")
    maximum_pdu_bytes: int = Field(131072, ge=4096, le=1 << 24, description="Maximum length received, in bytes (PS3.8 D.1).")
    network_timeout_s: Seconds = Field(60, description="Seconds a silent peer may hold an association open.")
    tls: ListenerTlsSection | None = Field(None, description="TLS on the port; without it data travel in the clear.")
    peers: tuple[PeerSection, ...] = Field((), description="Peers with an address, a certificate or limits, beside calling_ae_titles.")

    @property
    def known_ae_titles(self) -> tuple[str, ...]:
        """Every calling AE title that may associate, if not all may."""
        return (*dict.fromkeys(self.calling_ae_titles), *(title for peer in self.peers for title in peer.ae_titles))

    @property
    def urgent_ae_titles(self) -> tuple[str, ...]:
        """Every calling AE title whose studies are urgent."""
        return (*self.urgent_calling_ae_titles, *(title for peer in self.peers if peer.urgent for title in peer.ae_titles))

    @model_validator(mode="after")
    def _each_title_has_one_peer(self) -> Self:
        for what, values in (("AE title", self.known_ae_titles), ("peer name", tuple(peer.name for peer in self.peers))):
            if repeated := [value for value, count in Counter(values).items() if count > 1]:
                raise ValueError(f"{what} {repeated[0]!r} is listed twice; an AE title belongs to one peer, or to calling_ae_titles")
        return self

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        bound = [peer.name for peer in self.peers if peer.has_certificate]
        if bound and (self.tls is None or self.tls.trusted_certificates is None):
            raise ValueError(f"peer {bound[0]!r} has a certificate, so receive.tls with trusted_certificates is needed")
        return self

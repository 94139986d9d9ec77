"""The Storage and Verification SCP: its settings."""

from pydantic import Field

from config.section import AeTitle, Port, Seconds, Section


class ReceiveSection(Section):
    """The Storage and Verification SCP."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - a server's default; tests bind 127.0.0.1
    port: Port = Field(11112, description="TCP port to listen on; 0 takes a free one.")
    maximum_associations: int = Field(50, ge=1, le=1000, description="Associations open at once; more are rejected as transient.")
    calling_ae_titles: tuple[AeTitle, ...] = Field((), description="Calling AE titles that may associate; nobody else may.")
    any_calling_ae_title: bool = Field(False, description="Accept every calling AE title. For a closed test network only.")
    urgent_calling_ae_titles: tuple[AeTitle, ...] = Field((), description="Calling AE titles whose studies settle and run first.")
    reserve_mb: int = Field(1024, ge=0, description="Free space, in MB, below which an instance is refused with 0xA700.")
    maximum_pdu_bytes: int = Field(131072, ge=4096, le=1 << 24, description="Maximum length received, in bytes (PS3.8 D.1).")
    network_timeout_s: Seconds = Field(60, description="Seconds a silent peer may hold an association open.")

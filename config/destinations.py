"""Where results go, and how hard the node tries."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.section import AeTitle, Seconds, Section, Slug


class CStoreDestination(Section):
    """An archive that takes results by C-STORE (PS3.4 Annex B)."""

    kind: Literal["c-store"] = "c-store"
    name: Slug = Field(description="Name that routes use.")
    host: str = Field(description="Host name or address of the archive.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="TCP port of the archive.")
    ae_title: AeTitle = Field(description="Called AE title.")
    timeout_s: Seconds = Field(30, description="Seconds to wait for the network and for each answer.")


class FolderDestination(Section):
    """A folder that takes results as Part 10 files, written whole or not at all."""

    kind: Literal["folder"] = "folder"
    name: Slug = Field(description="Name that routes use.")
    folder: Path = Field(description="Folder for the files; relative to the settings file.")


Destination = Annotated[CStoreDestination | FolderDestination, Field(discriminator="kind")]


class DeliverSection(Section):
    """Sending results. Each destination has its own lane."""

    retry_s: Seconds = Field(5, description="Seconds before the second attempt; doubled each time, with jitter.")
    maximum_retry_s: Seconds = Field(900, description="Longest wait, in seconds, between attempts.")
    maximum_attempts: int = Field(200, ge=1, le=100000, description="Attempts before a delivery is FAILED and waits for an operator.")
    lease_s: Seconds = Field(120, description="Seconds after which a silent sender's delivery may be taken by another.")

"""How long studies are kept, and when the node takes no more of them."""

from pydantic import Field

from config.section import Section


class RetentionSection(Section):
    """Purging. Only a settled study may go of which every report is made, delivered and, where that is asked for, committed."""

    after_days: float | None = Field(
        30, gt=0, le=36500, description="Days without any event after which a delivered study is purged; never because of age if empty."
    )
    below_free_mb: int | None = Field(
        10_000,
        ge=1,
        description="Free space, in MB, below which the oldest delivered studies are purged early; never if empty.",
    )
    at_least_h: float = Field(24, ge=0, le=87600, description="Hours without any event that a study stays in any case.")
    every_s: float = Field(600, ge=1, le=86400, description="Seconds between looks for studies to purge.")


class PressureSection(Section):
    """When new associations are rejected, as transient, until the node has caught up. Open ones go on."""

    below_free_mb: int = Field(2_000, ge=0, description="Free space, in MB, below which new associations are rejected.")
    maximum_waiting_studies: int = Field(
        20_000, ge=1, description="Studies that wait for their analysis above which new associations are rejected."
    )
    process_memory_mb: int | None = Field(
        None, ge=256, description="Resident memory, in MB, above which `serve` restarts a process; no limit if left out."
    )
    look_every_s: float = Field(2, gt=0, le=60, description="Seconds for which an answer about free space and queue is used again.")

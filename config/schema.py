"""The settings of a node: every field with its type, default, unit and a sentence. Frozen; an unknown field is an error."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from config.audit import AuditSection
from config.destinations import DeliverSection, Destination
from config.flags import FlagsSection
from config.receiving import ReceiveSection
from config.retention import PressureSection, RetentionSection
from config.section import AeTitle, Port, Seconds, Section, Slug


class NodeSection(Section):
    """Who this node is."""

    ae_title: AeTitle = Field("DICOM-NODE", description="AE title that this node answers to and calls with.")
    site: Slug = Field("unnamed-site", description="Site that calibrations must be made for; another site's calibration is not used.")
    data_folder: Path = Field(Path("var"), description="Folder of the ledger and the object store; relative to the settings file.")
    institution: str = Field("", max_length=64, description="Institution Name written in results, where the site wants it.")
    serial_number: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "0", description="Device Serial Number of this node in the results it makes."
    )


class SettleSection(Section):
    """When a study counts as complete. The first that is true: the expected count is there, it was quiet, it waited too long."""

    quiet_s: Seconds = Field(30, description="Seconds without a new instance, for modalities not named below.")
    quiet_by_modality_s: dict[str, Seconds] = Field(
        default_factory=dict, description="Seconds without a new instance, by Modality (0008,0060)."
    )
    urgent_quiet_s: Seconds = Field(5, description="Seconds without a new instance for an urgent study.")
    maximum_wait_s: Seconds = Field(3600, description="Seconds after the first instance when a study settles in any case.")


class WorkSection(Section):
    """Analysis: device, batches, leases and attempts."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the models run; auto takes CUDA when there is one.")
    batch_size: int = Field(32, ge=1, le=1024, description="Frames in one forward pass; halved where the device has no memory for as many.")
    batch_wait_ms: float = Field(
        5, ge=0, le=1000, description="Longest wait, in ms, of a batch on CUDA for frames of other studies; urgent ones never wait."
    )
    precision: Literal["float16", "bfloat16", "float32"] = Field(
        "float16", description="What models compute in on CUDA (autocast). The CPU always computes in float32."
    )
    compile_models: bool = Field(
        False, description="Compile image towers (torch.compile) at start, which takes minutes; a model whose numbers move runs as it is."
    )
    model_memory_mb: int | None = Field(
        None,
        ge=1,
        description="MB (float32 weights) that loaded models may take together; the least recently used leaves. No limit if left out.",
    )
    parallel_studies: int = Field(2, ge=1, le=64, description="Studies in work at once in one process; their frames share the batches.")
    urgent_lanes: int = Field(1, ge=0, le=16, description="Urgent studies in work at once beside those, when all of those are busy.")
    routine_wait_s: Seconds = Field(
        1800, description="Seconds after which a waiting routine study goes before newer urgent ones, except in the lanes for urgent ones."
    )
    explain: Literal["off", "flagged", "present"] = Field(
        "present",
        description="Findings whose place on the image is looked for, at most three a study: only where a destination takes results that"
        " show places (sr-regions, gsps-outline) or heat maps (secondary-capture, encapsulated-pdf), because each costs as much as 125"
        " more frames.",
    )
    lease_s: Seconds = Field(120, description="Seconds after which a silent worker's study may be taken by another.")
    maximum_attempts: int = Field(5, ge=1, le=100, description="Attempts, crashes counted, before a work item is FAILED.")
    retry_s: Seconds = Field(5, description="Seconds before the second attempt; doubled each time, with jitter.")
    maximum_retry_s: Seconds = Field(300, description="Longest wait, in seconds, between attempts.")
    maximum_frame_megapixels: float = Field(400, gt=0, description="A frame that claims more is not decoded.")


class ScheduleSection(Section):
    """Periodic work."""

    settle_every_s: Annotated[float, Field(ge=0.1, le=3600)] = Field(1, description="Seconds between looks for studies to settle.")


class TelemetrySection(Section):
    """Logs and metrics. Neither ever holds patient data."""

    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or coloured text.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe event that is logged.")
    host: str = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    port: Port = Field(9464, description="TCP port of /metrics, /healthz and /readyz; 0 takes a free one.")
    certificate_warning_days: int = Field(30, ge=0, le=3650, description="Days before a certificate or revocation list runs out to warn.")


class ModelsSection(Section):
    """Where models, prompts and calibrations lie, and which licences were read."""

    folders: tuple[Path, ...] = Field((), description="Folders with more manifests, beside those that ship; relative to the settings file.")
    acknowledged_licences: tuple[str, ...] = Field(
        (), description="Names of models under non-commercial, unlicensed or gated terms that somebody read and accepted."
    )


class Settings(Section):
    """All settings of a node, as in one YAML file."""

    node: NodeSection = NodeSection()
    receive: ReceiveSection = ReceiveSection()
    settle: SettleSection = SettleSection()
    work: WorkSection = WorkSection()
    deliver: DeliverSection = DeliverSection()
    schedule: ScheduleSection = ScheduleSection()
    retention: RetentionSection = RetentionSection()
    pressure: PressureSection = PressureSection()
    telemetry: TelemetrySection = TelemetrySection()
    models: ModelsSection = ModelsSection()
    flags: FlagsSection = FlagsSection()
    audit: AuditSection = AuditSection()
    routes_file: Path | None = Field(None, description="Routes of this site, relative to the settings file; without it those that ship.")
    destinations: tuple[Destination, ...] = Field((), description="Archives and folders that results go to.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Settings":
        names = [destination.name for destination in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        return self

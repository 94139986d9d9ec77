"""The settings of a node: every field with its type, default, unit and a sentence. Frozen; an unknown field is an error."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from config.architecture import Architecture
from config.code import Code
from config.looks import LooksSection
from config.preprocessing import Preprocessing
from config.section import FileName
from config.section import Section as Section  # noqa: PLC0414 - where everybody looks for it
from config.section import Sha256 as Sha256  # noqa: PLC0414
from config.section import Slug as Slug  # noqa: PLC0414
from config.tokenizer import Tokenizer

AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
Recipe = Literal["pair-softmax", "multi-class-softmax", "sigmoid", "concept-mean", "target-versus-reference"]
Ensemble = Literal["embeddings", "scores", "highest"]
Level = Literal["image", "patient"]

_WITH_NEGATIVES = frozenset({"pair-softmax", "concept-mean"})
_WITH_OWN_ENSEMBLE = frozenset({"concept-mean", "target-versus-reference"})


class NodeSection(Section):
    """Who this node is."""

    ae_title: AeTitle = Field("DICOM-NODE", description="AE title that this node answers to and calls with.")
    site: Slug = Field("unnamed-site", description="Site that calibrations must be made for; another site's calibration is not used.")
    data_folder: Path = Field(Path("var"), description="Folder of the ledger and the object store; relative to the settings file.")
    institution: str = Field("", max_length=64, description="Institution Name written in results, where the site wants it.")
    serial_number: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "0", description="Device Serial Number of this node in the results it makes."
    )


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
    lease_s: Seconds = Field(120, description="Seconds after which a silent worker's study may be taken by another.")
    maximum_attempts: int = Field(5, ge=1, le=100, description="Attempts, crashes counted, before a work item is FAILED.")
    retry_s: Seconds = Field(5, description="Seconds before the second attempt; doubled each time, with jitter.")
    maximum_retry_s: Seconds = Field(300, description="Longest wait, in seconds, between attempts.")
    maximum_frame_megapixels: float = Field(400, gt=0, description="A frame that claims more is not decoded.")


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


class ScheduleSection(Section):
    """Periodic work."""

    settle_every_s: Annotated[float, Field(ge=0.1, le=3600)] = Field(1, description="Seconds between looks for studies to settle.")


class TelemetrySection(Section):
    """Logs and metrics. Neither ever holds patient data."""

    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or coloured text.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe event that is logged.")
    host: str = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    port: Port = Field(9464, description="TCP port of /metrics, /healthz and /readyz; 0 takes a free one.")


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
    telemetry: TelemetrySection = TelemetrySection()
    models: ModelsSection = ModelsSection()
    routes_file: Path | None = Field(None, description="Routes of this site, relative to the settings file; without it those that ship.")
    destinations: tuple[Destination, ...] = Field((), description="Archives and folders that results go to.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Settings":
        names = [destination.name for destination in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        return self


class LicenceSection(Section):
    """Terms of a model's weights. Anything but `permissive` and `share-alike` needs the operator's acknowledgement."""

    usage: Literal["permissive", "share-alike", "non-commercial", "unlicensed", "gated"] = Field(description="Class of the terms.")
    name: str = Field(description="SPDX identifier or the publisher's words.")
    read: str = Field("", description="What to read before acknowledging.")

    @property
    def needs_acknowledgement(self) -> bool:
        """True if a node uses the model only after somebody has read the terms and said so in `models.acknowledged_licences`."""
        return self.usage not in {"permissive", "share-alike"}

    @property
    def to_acknowledge(self) -> str:
        """What to read, as the end of a sentence."""
        return f"read {self.read}" if self.read else "read the publisher's terms"


class WeightsSection(Section):
    """The pinned weights: safetensors only, loaded from a local folder, never from a hub."""

    folder: str = Field(description="Folder of the model: absolute, relative to the manifest, or package:NAME/FOLDER.")
    file: str = Field("open_clip_model.safetensors", pattern=r"^[A-Za-z0-9._-]+\.safetensors$", description="Weights file in it.")
    sha256: Sha256 = Field(description="SHA-256 of that file.")
    checkpoints: int = Field(1, ge=1, le=100, description="Checkpoints in that file; of several, tensor names begin with 0/, 1/ and so on.")
    files: dict[FileName, Sha256] = Field(
        default_factory=dict, description="Files beside it that the model reads (tokenizer, configuration), each with its SHA-256."
    )


class GateSection(Section):
    """The question put to the pixels before any other: are you what the header says?"""

    prompt_set: Slug = Field(description="Prompt set whose labels are the kinds of image that this model can tell apart.")
    minimum_probability: float = Field(gt=0, lt=1, description="Softmax probability that the expected kinds must reach together.")
    threshold_source: str = Field(description="How that number was chosen.")


class FaultLimitSection(Section):
    """From which score on this model is believed to see a fault, and in which images."""

    threshold: float = Field(gt=0, lt=1, description="Score, the pair-softmax share in [0, 1], from which the fault is reported.")
    threshold_source: str = Field(min_length=1, description="Data, counts and false-alarm rate that the number comes from.")
    kinds: tuple[Slug, ...] = Field(
        (), description="Kinds of image, as the gate names them, that are asked; all that are of a patient if left out."
    )


class QualitySection(Section):
    """Image quality as this model sees it. The words and what they mean stand in the prompt set, the numbers here."""

    prompt_set: Slug = Field(description="Prompt set whose labels are faults of images.")
    labels: dict[Slug, FaultLimitSection] = Field(min_length=1, description="Faults that are asked; one that is not named is not asked.")


class ModelDescription(Section):
    """All that is known of a model without its weights."""

    name: Slug
    version: str = Field(min_length=1, max_length=64)
    manufacturer: str = Field(min_length=1, max_length=64)
    architecture: Architecture = Field(description="Family, and what its tensors do not reveal.")
    tokenizer: Tokenizer = Field(description="How it reads text.")
    preprocessing: Preprocessing = Field(description="What happens to a frame before the image tower.")
    looks: LooksSection | None = Field(None, description="None: nothing is added to the published preprocessing.")
    colour: Literal["grey", "colour", "any"] = Field(description="Frames that the model was made for.")
    gate: GateSection | None = Field(None, description="None: no pixel gate, which every result of the model says.")
    quality: QualitySection | None = Field(None, description="None: image quality is measured on the pixels only.")
    licence: LicenceSection
    intended_use: str = Field(min_length=1, description="One sentence, copied into every report.")

    @property
    def family(self) -> str:
        """The adapter that loads it."""
        return self.architecture.family


class ModelManifest(ModelDescription):
    """One installed model: `config/models/NAME.yaml`."""

    weights: WeightsSection
    golden: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="Folder in the model's folder with reference outputs, recomputed before the model serves.",
    )
    imported_from: dict[str, Sha256] = Field(default_factory=dict, description="Published files that it was made from, with their SHA-256.")


class PublishedModel(ModelDescription):
    """A model that ships without weights: `config/models/published/NAME.yaml`. `models import` makes a manifest of it."""

    source: str = Field(min_length=1, description="Where its publisher offers the weights, and what to fetch.")
    fetched_as: str = Field(
        min_length=1, description="File or folder that `models import` is given, as the publisher or a download names it."
    )
    files: dict[str, Sha256] = Field(default_factory=dict, description="Published files whose SHA-256 is known.")
    checkpoints: int = Field(1, ge=1, le=100, description="Checkpoints that the publisher's results are the mean of.")
    overrules: tuple[str, ...] = Field(
        (), description="Facts (`section.field`) that count although the published files beside the weights say something else."
    )
    companions: dict[FileName, str] = Field(
        default_factory=dict, description="Files that no publisher ships beside the weights, and where in this node's package they lie."
    )
    supplement: dict[FileName, str] = Field(
        default_factory=dict, description="Files that neither the weights nor this node come with, each with where to find it."
    )

    @property
    def import_command(self) -> str:
        """The command that installs it, to be completed with where the download lies."""
        extra = " --supplement FOLDER" if self.supplement else ""
        return f"dicom-node models import {self.fetched_as} --as {self.name}{extra}"


class FaultSection(Section):
    """What a report makes of a fault of image quality."""

    grade: Literal["limited", "non-diagnostic"] = Field(description="Image quality (CID 7036) where the fault is seen.")
    sentence: str = Field(min_length=1, description="What is wrong, for a technologist: one sentence, ending in a full stop.")
    abstain: Literal["quality", "gate disagrees"] | None = Field(
        None, description="Reason for which no findings are looked for then; none: they are, and the report names the fault beside them."
    )
    group: str = Field("", description="Faults of one group exclude each other: of those that are seen, the likeliest is reported.")


class LabelSection(Section):
    """One label of a prompt set."""

    name: Slug
    concept: Code = Field(description="Code of the finding, of the fault (CID 6135, 6315 or 7011) or of the kind of image.")
    site: Code | None = Field(None, description="Finding Site (363698007, SCT).")
    positive: tuple[str, ...] = Field(min_length=1, description="Texts that describe it; their embeddings are averaged.")
    negative: tuple[str, ...] = Field((), description="Texts that describe its absence; pair-softmax needs them.")
    flag: Literal["none", "urgent", "emergency"] = Field("none", description="Flag if Present, once the site is calibrated.")
    head: Slug | None = Field(None, description="Head of the model that answers this label, where it is not the prompt set's.")
    level: Level | None = Field(None, description="What the answer is about, where it is not what the prompt set says.")
    foreign: str = Field(
        "", description="For a kind that is no image of a patient: what it is, in words for the report ('a scanned document')."
    )
    fault: FaultSection | None = Field(None, description="For image quality: what the report makes of it.")


class PromptSet(Section):
    """A versioned set of prompts: `config/prompts/NAME.yaml`. Its digest stands in every result.

    `inference.scores` says what the recipes compute and who published them.
    """

    name: Slug
    version: int = Field(ge=1)
    recipe: Recipe = Field(
        description="pair-softmax: there against not there; multi-class-softmax: which of these; sigmoid: each label alone, with the"
        " model's bias; concept-mean: a label's concepts scored one by one, then averaged, against its negative concepts or, if no label"
        " has any, against the other labels; target-versus-reference: a label against the texts of `reference`."
    )
    temperature: Literal["model", "none"] = Field(description="model: cosines times the model's logit scale; none: plain cosines.")
    templates: tuple[str, ...] = Field(("{}",), min_length=1, description="Each text goes into each template at {}.")
    ensemble: Ensemble = Field(
        "embeddings",
        description="How the texts of one label become one. embeddings: the mean of their unit vectors, of unit length again; scores: the"
        " mean of their logits, which is the mean of the unit vectors as it is; highest: the highest of their logits."
        " concept-mean and target-versus-reference have rules of their own.",
    )
    reference: tuple[str, ...] = Field(
        (), description="Texts that the recipe target-versus-reference compares each label with, as they stand: no template is applied."
    )
    reference_pairing: Literal["all", "template"] = Field(
        "all", description="all: every label against all of `reference` together; template: `reference` has one text for each template."
    )
    head: Slug | None = Field(None, description="Head of the model that answers (RET-CLIP: patient, left, right); none: all, averaged.")
    level: Level = Field("image", description="What an answer is about: one image, or the patient, from all views that the head sees.")
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = Field(
        "en", description="Language of the texts, as BCP 47 writes it."
    )
    source: str = Field(
        "", description="Where the wording comes from: paper, or repository, file and commit; 'ours' with what it was tried on."
    )
    licence: str = Field("", description="Terms of the wording, where it is somebody else's.")
    labels: tuple[LabelSection, ...] = Field(min_length=1)

    @property
    def exclusive(self) -> bool:
        """True if the scores of all labels of an image are shares of one whole."""
        return self.recipe == "multi-class-softmax" or (self.recipe == "concept-mean" and not self.labels[0].negative)

    def head_of(self, label: LabelSection) -> str | None:
        """The head that answers a label; None: all heads, averaged."""
        return label.head or self.head

    def level_of(self, label: LabelSection) -> Level:
        """What the answer to a label is about."""
        return label.level or self.level

    @field_validator("templates")
    @classmethod
    def _templates_have_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [template for template in templates if template.count("{}") != 1]:
            raise ValueError(f"a template needs exactly one {{}}: {wrong[0]!r}")
        return templates

    @model_validator(mode="after")
    def _labels_fit_the_recipe(self) -> "PromptSet":
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError("two labels have the same name")
        if self.recipe == "pair-softmax" and (bare := [label.name for label in self.labels if not label.negative]):
            raise ValueError(f"recipe pair-softmax needs negative texts: {bare[0]}")
        if self.recipe == "concept-mean" and len({bool(label.negative) for label in self.labels}) > 1:
            raise ValueError("recipe concept-mean needs negative concepts for all labels or for none")
        if self.recipe != "pair-softmax" and (faults := [label.name for label in self.labels if label.fault]):
            raise ValueError(f"a fault is there or not, which needs the recipe pair-softmax: {faults[0]}")
        if self.recipe != "multi-class-softmax" and (foreign := [label.name for label in self.labels if label.foreign]):
            raise ValueError(f"foreign is said of a kind of image, which needs the recipe multi-class-softmax: {foreign[0]}")
        if self.recipe not in _WITH_NEGATIVES and (unused := [label.name for label in self.labels if label.negative]):
            raise ValueError(f"recipe {self.recipe} has no use for negative texts: {unused[0]}")
        return self

    @model_validator(mode="after")
    def _settings_fit_the_recipe(self) -> "PromptSet":
        if self.recipe == "sigmoid" and self.temperature != "model":
            raise ValueError("recipe sigmoid needs temperature model: without scale and bias its scores mean nothing")
        if bool(self.reference) != (self.recipe == "target-versus-reference"):
            raise ValueError("reference belongs to the recipe target-versus-reference, which needs it")
        if self.reference_pairing == "template" and len(self.reference) != len(self.templates):
            raise ValueError(f"reference_pairing template needs one reference for each template: {len(self.templates)}")
        if self.ensemble != "embeddings" and self.recipe in _WITH_OWN_ENSEMBLE:
            raise ValueError(f"recipe {self.recipe} says itself how texts are averaged; remove ensemble")
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> "PromptSet":
        if headless := [label.name for label in self.labels if self.level_of(label) == "patient" and self.head_of(label) is None]:
            raise ValueError(f"level patient needs a head that sees all views: {headless[0]}")
        if self.exclusive and any(label.head or label.level for label in self.labels):
            raise ValueError("labels that share one whole have one head and one level; set them for the prompt set")
        return self


class LabelCalibration(Section):
    """Platt scaling and operating point of one label: probability = 1 / (1 + exp(-(slope * logit(score) + intercept)))."""

    slope: float
    intercept: float
    threshold: float = Field(gt=0, lt=1, description="Probability from which the finding is Present.")
    undetermined_from: float = Field(gt=0, lt=1, description="Probability from which it is Undetermined; below it is Absent.")
    source: str = Field(min_length=1, description="Data, counts and figures that the operating point comes from.")

    @model_validator(mode="after")
    def _in_order(self) -> "LabelCalibration":
        if self.undetermined_from > self.threshold:
            raise ValueError("undetermined_from must not lie above threshold")
        return self


class Calibration(Section):
    """What makes a model's scores probabilities at one site: `config/calibrations/ID.yaml`."""

    id: Slug
    site: Slug
    model: Slug
    weights_sha256: Sha256
    prompt_set: Slug
    prompt_set_digest: Sha256
    labels: dict[Slug, LabelCalibration]

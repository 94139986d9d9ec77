"""Model manifests: what is known of a model with weights (`config/models`) and without (`config/models/published`)."""

from typing import Literal

from pydantic import Field

from config.architecture import Architecture
from config.looks import LooksSection
from config.preprocessing import Preprocessing
from config.section import FileName, Section, Sha256, Slug
from config.tokenizer import Tokenizer
from config.views import ViewsSection


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


class SeriesSection(Section):
    """How the frames of a series, a stack of it or a cine become one answer to each label."""

    pool: Literal["mean-of-highest", "highest", "mean", "median"] = Field(
        "mean-of-highest", description="Score of all frames together. A calibration holds for the rule that it was made with."
    )
    highest: int = Field(
        3, ge=1, le=32, description="How many of the highest `mean-of-highest` takes, and how many key images a finding names."
    )


class SlidesSection(Section):
    """How a model that was made for tiles of whole slides reads one."""

    microns_per_pixel: float = Field(gt=0, le=50, description="What a pixel of its input shows, in micrometres (0.5: 20x).")
    tolerance: float = Field(
        0.2, ge=0, le=1, description="Share by which a level, or a tile cut along frames, may be coarser or finer before it is resampled."
    )
    minimum_tissue: float = Field(0.5, gt=0, le=1, description="Share of a tile that must be tissue; by default more tissue than glass.")
    top_tiles: int = Field(10, ge=1, le=32, description="A slide's score is the mean of so many highest tiles; they are its key images.")
    source: str = Field(min_length=1, description="Who says so: paper, or data and figures.")

    @property
    def in_words(self) -> str:
        """Everything that changes a score, in one line."""
        return (
            f"{self.microns_per_pixel:g} um per pixel within {self.tolerance:g}, tissue>={self.minimum_tissue:g}, "
            f"mean of {self.top_tiles} highest"
        )


class ModelDescription(Section):
    """All that is known of a model without its weights."""

    name: Slug
    version: str = Field(min_length=1, max_length=64)
    manufacturer: str = Field(min_length=1, max_length=64)
    architecture: Architecture = Field(description="Family, and what its tensors do not reveal.")
    tokenizer: Tokenizer = Field(description="How it reads text.")
    preprocessing: Preprocessing = Field(description="What happens to a frame before the image tower.")
    views: ViewsSection = Field(ViewsSection(), description="What is shown of a frame before that, by modality.")
    looks: LooksSection | None = Field(None, description="None: nothing is added to the published preprocessing.")
    colour: Literal["grey", "colour", "any"] = Field(description="Frames that the model was made for.")
    gate: GateSection | None = Field(None, description="None: no pixel gate, which every result of the model says.")
    quality: QualitySection | None = Field(None, description="None: image quality is measured on the pixels only.")
    series: SeriesSection = Field(default_factory=SeriesSection, description="By default the mean of the three highest frames.")
    slides: SlidesSection | None = Field(None, description="None: not made for tiles of whole slides; no findings are looked for on them.")
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

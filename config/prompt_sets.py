"""Prompt sets: what a model is asked, in which words, and how scores come of it (`config/prompts`)."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from config.code import Code
from config.section import Section, Slug

Recipe = Literal["pair-softmax", "multi-class-softmax", "sigmoid", "concept-mean", "target-versus-reference"]

Ensemble = Literal["embeddings", "scores", "highest"]

Level = Literal["image", "patient"]

_WITH_NEGATIVES = frozenset({"pair-softmax", "concept-mean"})

_WITH_OWN_ENSEMBLE = frozenset({"concept-mean", "target-versus-reference"})


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

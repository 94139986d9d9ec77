"""Label rules: what the columns of somebody else's table of images say about each label of a prompt set. Nothing is evaluated as code."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from config.mistakes import ConfigurationError, Mistake, mistake_at, mistakes_of, suggestion
from config.prompt_sets import PromptSet
from config.section import Section, Slug
from config.source import Location, SourceDocument, SourceError, read_source

ANYTHING = "*"


def _one_or_several(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _text(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        raise ValueError(f"{value!r} is not text as YAML reads it; put the value in quotes")
    return value


Cell = Annotated[str, BeforeValidator(_text)]
Cells = Annotated[tuple[Cell, ...], Field(min_length=1), BeforeValidator(_one_or_several)]
Column = Annotated[str, Field(min_length=1)]


class Condition(Section):
    """What a row must say: for each column the value that it holds, or a list of which it holds one; `not`: what it must not say.

    Values are compared as text, exactly; `*` stands for any text, "" for an empty cell. Numbers, yes and no need quotes, as YAML makes
    something else of them.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Cells]

    unless: "Conditions" = Field((), alias="not", description="A condition, or a list: if one of them holds, this one does not.")

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The values that each named column may hold."""
        return self.__pydantic_extra__


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(_one_or_several)]
Condition.model_rebuild()


class PresenceRules(Section):
    """When one label of a pair-softmax prompt set is there and when it is not. A row of which neither is said is not used for it."""

    present: Conditions = Field((), description="It is there if one of these conditions holds.")
    absent: Conditions = Field((), description="It is not there if one of these holds and none of `present`.")

    @model_validator(mode="after")
    def _says_something(self) -> "PresenceRules":
        if not self.present and not self.absent:
            raise ValueError("says nothing; give present, absent or both")
        return self


class ColumnsSection(Section):
    """The names of the columns that describe an image. Those that are not named here may be missing."""

    path: Column = Field("path", description="File, relative to the table.")
    frame: Column = Field("frame", description="Frame number, 1-based; empty is the first.")
    patient: Column = Field("patient", description="Who it is, in any code: images of one patient are kept together.")
    source: Column = Field("source", description="Where it comes from: figures are given for each source too.")
    modality: Column = Field("modality", description="Modality as DICOM writes it, for files that are not DICOM.")
    split: Column = Field("split", description="Part of the data set, which --split chooses.")


class LabelRules(Section):
    """A file of label rules. A condition without columns holds for every row; of a list of conditions one must hold."""

    columns: ColumnsSection = ColumnsSection()
    where: Conditions = Field((), description="Only rows of which one of these holds are used; all if left out.")
    choices: dict[Slug, dict[Slug, Conditions]] = Field(
        default_factory=dict, description="For each multi-class-softmax prompt set: the condition of each of its labels."
    )
    findings: dict[Slug, dict[Slug, PresenceRules]] = Field(
        default_factory=dict, description="For each pair-softmax prompt set: when each of its labels is present, and when absent."
    )
    clean: Conditions = Field((), description="Rows whose images have no fault, to be degraded on purpose; all if left out.")
    unusable_for: dict[Slug, Conditions] = Field(
        default_factory=dict, description="For a kind of degradation: rows that are not clean in that respect."
    )


def load_label_rules(path: Path) -> tuple[LabelRules, SourceDocument]:
    """Return the rules of one YAML file, and the file for `label_rule_mistakes`.

    Raises:
        ConfigurationError: with every mistake of the file.
    """
    try:
        document = read_source(path)
    except SourceError as exc:
        raise ConfigurationError(
            Mistake(file=str(path), line=line, field=field, message=text) for line, field, text in exc.problems
        ) from exc
    try:
        return LabelRules.model_validate(document.value), document
    except ValidationError as exc:
        raise ConfigurationError(mistakes_of(document, LabelRules, exc)) from exc


def label_rule_mistakes(
    rules: LabelRules,
    document: SourceDocument,
    *,
    columns: Collection[str],
    prompt_sets: Sequence[PromptSet],
    kinds: Collection[str],
    other: str,
) -> Iterator[Mistake]:
    """Yield every name that nobody has: columns of the table, prompt sets, their labels, kinds of degradation.

    `other` is the label that every multi-class-softmax prompt set has besides its own: none of them.
    """
    for field, column in rules.columns.model_dump().items():
        if field in rules.columns.model_fields_set and column not in columns:
            yield mistake_at(document, ("columns", field), f"the table has no column {column!r}{suggestion(column, columns)}")
    for at, conditions in _everywhere(rules):
        for place, column in _columns_in(conditions, at):
            if column not in columns:
                yield mistake_at(document, place, f"the table has no column {column!r}{suggestion(column, columns)}")
    for kind in rules.unusable_for:
        if kind not in kinds:
            yield mistake_at(document, ("unusable_for", kind), f"there is no kind of degradation {kind!r}{suggestion(kind, kinds)}")
    for name, choices in rules.choices.items():
        known = _labels(name, "multi-class-softmax", prompt_sets)
        yield from _unknown_labels(document, ("choices", name), tuple(choices), known if isinstance(known, str) else (*known, other))
    for name, findings in rules.findings.items():
        yield from _unknown_labels(document, ("findings", name), tuple(findings), _labels(name, "pair-softmax", prompt_sets))


def _labels(name: str, recipe: str, prompt_sets: Sequence[PromptSet]) -> tuple[str, ...] | str:
    """The labels of a prompt set, or what is wrong with asking for them."""
    prompt_set = next((found for found in prompt_sets if found.name == name), None)
    if prompt_set is None:
        return f"there is no prompt set {name!r}{suggestion(name, (found.name for found in prompt_sets))}"
    if prompt_set.recipe != recipe:
        return f"{name} is {prompt_set.recipe}; choices are for multi-class-softmax, findings for pair-softmax"
    return tuple(label.name for label in prompt_set.labels)


def _unknown_labels(document: SourceDocument, at: Location, asked: Sequence[str], known: tuple[str, ...] | str) -> Iterator[Mistake]:
    if isinstance(known, str):
        yield mistake_at(document, at, known)
        return
    for label in asked:
        if label not in known:
            yield mistake_at(document, (*at, label), f"prompt set {at[-1]} has no label {label!r}{suggestion(label, known)}")


def _everywhere(rules: LabelRules) -> Iterator[tuple[Location, tuple[Condition, ...]]]:
    """Every group of conditions and its place."""
    yield ("where",), rules.where
    yield ("clean",), rules.clean
    for kind, conditions in rules.unusable_for.items():
        yield ("unusable_for", kind), conditions
    for name, choices in rules.choices.items():
        for label, conditions in choices.items():
            yield ("choices", name, label), conditions
    for name, findings in rules.findings.items():
        for label, rule in findings.items():
            yield ("findings", name, label, "present"), rule.present
            yield ("findings", name, label, "absent"), rule.absent


def _columns_in(conditions: Sequence[Condition], at: Location) -> Iterator[tuple[Location, str]]:
    for index, condition in enumerate(conditions):
        # A single condition may stand in the file without a list around it.
        here = at if len(conditions) == 1 else (*at, index)
        yield from (((*here, column), column) for column in condition.columns)
        yield from _columns_in(condition.unless, (*here, "not"))

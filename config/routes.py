"""The routing rules: an ordered list of declarative matches on DICOM attributes. Nothing is evaluated."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from config.attributes import attribute_tags, is_sequence
from config.section import AeTitle, Section, Slug

ALL_FRAMES = 65_536  # a header may claim two thousand million


def _known(path: str) -> str:
    attribute_tags(path)
    return path


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


AttributePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+(\.[A-Za-z0-9]+)*$"), AfterValidator(_known)]


class Match(Section):
    """One condition on one attribute, named by keyword or as GGGGEEEE, sequences by path (`Sequence.Attribute`: any item).

    A list of attributes is true if it is true of any of them (`present: false`: of all of them). Exactly one of the tests is
    given. Values are compared as text without padding; a multi-valued attribute or a sequence with several items matches if
    any value does. `range` compares numbers, both ends included. A value that cannot be read counts as absent.
    """

    attribute: Annotated[tuple[AttributePath, ...], Field(min_length=1), BeforeValidator(_one_or_several)]
    equals: str | None = None
    one_of: tuple[str, ...] | None = None
    matches: str | None = Field(None, description="Regular expression, searched in the value.")
    range: tuple[float, float] | None = None
    present: bool | None = Field(None, description="true: there and not empty; false: absent or empty.")

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as exc:
                raise ValueError(f"not a regular expression: {exc}") from exc
        return pattern

    @model_validator(mode="after")
    def _exactly_one_test(self) -> "Match":
        given = [name for name in ("equals", "one_of", "matches", "range", "present") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of: equals, one_of, matches, range, present")
        if self.present is None and (whole := [path for path in self.attribute if is_sequence(path)]):
            raise ValueError(f"{whole[0]} is a sequence; test its presence, or name an attribute in it: {whole[0]}.ATTRIBUTE")
        return self


class Exclude(Section):
    """Instances that a route leaves out, with the reason that the report gives.

    With `beside`, only what is there in a better form or twice: rules with it are tried after the others, each from the last instance
    (by Series and Instance Number) to the first, and what was left out is no company any more. So one of several copies always stays.
    """

    reason: str = Field(min_length=1, description="Why, in words for the report.")
    when: tuple[Match, ...] = Field(min_length=1, description="All must be true of an instance.")
    beside: tuple[Match, ...] = Field(
        (), description="Left out only beside another instance that the route keeps and that all of these are true of."
    )
    same: tuple[AttributePath, ...] = Field(
        (), description="Attributes that must be there and equal in both, such as IrradiationEventUID; needs beside."
    )

    @model_validator(mode="after")
    def _same_as_what_stands_beside(self) -> "Exclude":
        if self.same and not self.beside:
            raise ValueError("same needs beside: the instance that it is compared with")
        return self


class Preference(Section):
    """A model that looks for the findings of a route in place of the route's own, once it is installed and may be used."""

    model: Slug = Field(description="Installed model, or one that this node knows and can import.")
    prompt_set: Slug = Field(description="What it is asked.")


class RouteRule(Section):
    """One route: which instances it takes, what is asked of them and where the result goes.

    Rules are tried in the order of the file; each sees the instances that no earlier rule has taken. A rule takes something if
    at least one instance matches that it does not leave out: then it takes all that match, the ones left out included, which
    the report names with their reasons. If it would have to leave out everything, it takes nothing and later rules may.

    A rule with `no_analysis` takes what matches it out of the way, and makes a report of its own only if no other rule took
    anything of the study. Otherwise the first report of the study names its instances as left out, so that a presentation
    state beside a radiograph does not become a second report. Its `exclude` then only gives better reasons.

    A rule without `when` takes all that is left. The last rule must be such a rule with `no_analysis`: nothing is silent.
    """

    name: Slug
    when: tuple[Match, ...] = Field((), description="All must be true of an instance.")
    calling_ae_titles: tuple[AeTitle, ...] = Field((), description="Only instances from these senders; all if empty.")
    exclude: tuple[Exclude, ...] = ()
    select: Literal["every-instance", "largest-series"] = Field(
        "every-instance", description="Which of the matching instances are analysed; the others are reported as left out."
    )
    maximum_frames: Annotated[int, Field(ge=1, le=4096)] | Literal["all"] = Field(
        64, description=f"Frames shown to the model, spread evenly over the selection; `all`: every frame, up to {ALL_FRAMES}."
    )
    maximum_tiles: int = Field(
        1024, ge=1, le=65_536, description="Tiles of one whole slide shown to the model, spread evenly over its tissue."
    )
    model: Slug | None = Field(None, description="Model; none: only the image quality is checked, and the report says so.")
    prompt_set: Slug | None = Field(None, description="Findings to look for.")
    findings_model: Slug | None = Field(
        None, description="Model that looks for the findings; the route's model if left out, which in any case tells kind and quality."
    )
    prefer: tuple[Preference, ...] = Field(
        (), description="The first that is installed, its licence acknowledged where that is needed, looks for the findings instead."
    )
    expect: tuple[Slug, ...] = Field((), description="Kinds of image, as the model's gate names them, that the pixels must show.")
    quality: bool = Field(True, description="Run the quality checks.")
    quality_gate: Literal["qualify", "abstain"] = Field(
        "qualify",
        description="What a non-diagnostic image means: `qualify`: it is searched all the same, and the report says so (blank images and "
        "faults whose prompts forbid it are not); `abstain`: it is not searched, and the report says why.",
    )
    no_analysis: str = Field("", description="Set: nothing is analysed, and the report gives this as the reason.")
    destinations: tuple[Slug, ...] | None = Field(
        None, description="Names of destinations; all that are configured if left out; [] keeps the results on the node."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "RouteRule":
        if self.no_analysis and self.model:
            raise ValueError("no_analysis and model exclude each other")
        if self.prompt_set and not self.model:
            raise ValueError("prompt_set needs a model")
        if self.findings_model and not self.prompt_set:
            raise ValueError("findings_model needs a prompt_set, the findings that it looks for")
        if self.prefer and not self.model:
            raise ValueError("prefer needs a model, which tells what the images show")
        if self.expect and not self.model:
            raise ValueError("expect needs a model with a gate")
        return self

    @property
    def most_frames(self) -> int:
        """The most frames that are shown to the model."""
        return ALL_FRAMES if self.maximum_frames == "all" else self.maximum_frames

    @property
    def searched_by(self) -> str | None:
        """Name of the model that looks for the findings; None if nothing is looked for."""
        return (self.findings_model or self.model) if self.prompt_set else None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that are asked: for kind and quality, and for findings."""
        return tuple(dict.fromkeys(name for name in (self.model, self.searched_by) if name))


class Routes(Section):
    """The routes file: rules in the order in which they are tried."""

    routes: tuple[RouteRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Routes":
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        return self

    @model_validator(mode="after")
    def _nothing_is_silent(self) -> "Routes":
        last = self.routes[-1]
        if last.when or last.calling_ae_titles or not last.no_analysis:
            raise ValueError("the last route must take the rest: give it no_analysis, and neither when nor calling_ae_titles")
        return self

"""When a finding may raise a study on the reading worklist, how often, and what a level is called elsewhere."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from config.code import Code
from config.section import Section, Slug

Rate = Annotated[float, Field(gt=0, lt=1)]
Hl7Priority = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{0,15}$")]

_HL7 = "Priority in HL7 v2 (OBR-27.6, TQ1-9; table 0485 or what the RIS calls it)."
_SR = "Priority (260870009, SCT) in Structured Reports."

_HIGHEST_EXPECTED_RATE = 0.3
"""Above it, "seldom enough to be a flag" is no longer true, and the control chart too coarse."""
_LOWEST_EXPECTED_RATE = 0.001
_APART = 1.5
"""Rates that lie closer together than this factor take thousands of studies to be told apart."""


class FlagLimitsSection(Section):
    """How often a model may flag. A control chart (Bernoulli CUSUM) watches the share of studies that it wants to flag."""

    budget_per_hour: int = Field(
        10, ge=0, le=10000, description="Studies that a model may raise within an hour; further flags are held back."
    )
    expected_rate: Rate = Field(
        0.1, ge=_LOWEST_EXPECTED_RATE, le=_HIGHEST_EXPECTED_RATE, description="Share of studies that the model flags when all is well."
    )
    highest_rate: Rate = Field(0.2, description="Share that must be noticed soon: the chart suspends a model that flags so many.")
    lowest_rate: Rate | None = Field(
        None, description="Share that must be noticed soon, below the expected one: a model gone blind. Left out: nobody watches for it."
    )
    false_alarm_every: int = Field(
        10000, ge=100, le=1_000_000, description="Studies, on average, between two suspensions of a model that flags at the expected rate."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "FlagLimitsSection":
        if self.highest_rate < self.expected_rate * _APART:
            raise ValueError(f"highest_rate must be at least {_APART} times expected_rate")
        if self.lowest_rate is not None and self.lowest_rate * _APART > self.expected_rate:
            raise ValueError(f"expected_rate must be at least {_APART} times lowest_rate")
        return self


class ModelFlagLimitsSection(FlagLimitsSection):
    """The limits of one model, in the place of those for all."""

    model: Slug = Field(description="Name of the model.")


class PrioritySection(Section):
    """What a level of flag is called elsewhere. There is no way to say "routine" or lower: a flag only raises."""

    hl7: Hl7Priority = Field(description=_HL7)
    ups: Literal["HIGH", "MEDIUM"] = Field("HIGH", description="Scheduled Procedure Step Priority (0074,1200) in DICOM worklists.")
    sr: Code = Field(description=_SR)

    @model_validator(mode="after")
    def _raises(self) -> "PrioritySection":
        if self.hl7 in {"R", "ROUTINE", "L", "LOW"}:
            raise ValueError("a flag only raises a study; routine or low is no priority of a flag")
        return self


class UrgentSection(PrioritySection):
    """The level "urgent"."""

    hl7: Hl7Priority = Field("A", description=_HL7)
    sr: Code = Field(Code(value="103391001", scheme="SCT", meaning="Urgent Procedure"), description=_SR)


class EmergencySection(PrioritySection):
    """The level "emergency"."""

    hl7: Hl7Priority = Field("S", description=_HL7)
    sr: Code = Field(Code(value="25876001", scheme="SCT", meaning="Emergency"), description=_SR)


class PrioritiesSection(Section):
    """What the two levels of flag are called elsewhere."""

    urgent: UrgentSection = UrgentSection()
    emergency: EmergencySection = EmergencySection()


class FlagsSection(Section):
    """Worklist flags."""

    limits: FlagLimitsSection = FlagLimitsSection()
    models: tuple[ModelFlagLimitsSection, ...] = Field((), description="Limits of single models.")
    priorities: PrioritiesSection = PrioritiesSection()
    order_message: Literal["ORM^O01", "OMI^O23"] = Field("ORM^O01", description="HL7 v2 message that raises the priority of an order.")

    @model_validator(mode="after")
    def _models_are_unique(self) -> "FlagsSection":
        names = [limits.model for limits in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two entries are for the same model")
        return self

    def limits_of(self, model: str) -> FlagLimitsSection:
        """Return the limits of a model."""
        return next((limits for limits in self.models if limits.model == model), self.limits)

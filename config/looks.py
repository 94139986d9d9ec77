"""What a manifest adds before the published preprocessing: steps on the contrast, and further looks at a frame (crops, scales)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.section import Section

Fraction = Annotated[float, Field(gt=0, le=1)]


class Clahe(Section):
    """Contrast-limited adaptive histogram equalisation, on 256 grey levels. Source: Zuiderveld, Graphics Gems IV (1994); as OpenCV."""

    kind: Literal["clahe"] = "clahe"
    clip_limit: float = Field(gt=0, le=100, description="Pixels in one grey level at most, as a multiple of an even histogram's.")
    tiles: int = Field(ge=1, le=64, description="Tiles across and down.")


class Equalise(Section):
    """Histogram equalisation of the whole frame, on 256 grey levels."""

    kind: Literal["equalise"] = "equalise"


class Stretch(Section):
    """Values between two percentiles of the frame are spread over black to white; what lies outside becomes black or white."""

    kind: Literal["stretch"] = "stretch"
    lowest_percent: float = Field(ge=0, lt=100, description="Percentile that becomes black.")
    highest_percent: float = Field(gt=0, le=100, description="Percentile that becomes white.")

    @model_validator(mode="after")
    def _in_order(self) -> "Stretch":
        if self.lowest_percent >= self.highest_percent:
            raise ValueError("lowest_percent must lie below highest_percent")
        return self


class Gamma(Section):
    """Display value to the power of an exponent: below 1 brightens, above 1 darkens."""

    kind: Literal["gamma"] = "gamma"
    exponent: float = Field(gt=0, le=10, description="Exponent.")


ContrastStep = Annotated[Clahe | Equalise | Stretch | Gamma, Field(discriminator="kind")]


class Whole(Section):
    """The whole frame."""

    kind: Literal["whole"] = "whole"


class Centre(Section):
    """The middle of the frame: several with different fractions are a multi-scale ensemble."""

    kind: Literal["centre"] = "centre"
    fraction: Fraction = Field(description="Share of rows and of columns that is kept.")


class Corners(Section):
    """The four corners and the middle: five crops."""

    kind: Literal["corners"] = "corners"
    fraction: Fraction = Field(description="Share of rows and of columns of each.")


class Grid(Section):
    """Tiles of equal size that cover the frame."""

    kind: Literal["grid"] = "grid"
    rows: int = Field(ge=1, le=16, description="Tiles down.")
    columns: int = Field(ge=1, le=16, description="Tiles across.")
    overlap: float = Field(0, ge=0, lt=1, description="Share of a tile that its neighbour shows too.")


Look = Annotated[Whole | Centre | Corners | Grid, Field(discriminator="kind")]


class LooksSection(Section):
    """Additions to the published preprocessing, which stays as it is after them. The reference outputs are checked without them."""

    contrast: tuple[ContrastStep, ...] = Field((), description="Steps on the whole frame, in order; in colour, on its luminance.")
    crops: tuple[Look, ...] = Field((Whole(),), min_length=1, description="What the model is shown of it; scores are averaged.")
    source: str = Field(min_length=1, description="Who says that it helps: paper, or data and figures.")

    @property
    def in_words(self) -> str:
        """Everything that changes a score, in one line."""
        return ", ".join(_in_words(step) for step in (*self.contrast, *self.crops))


def _in_words(step: Section) -> str:
    facts = step.model_dump()
    kind = facts.pop("kind")
    return f"{kind}({', '.join(f'{name}={value}' for name, value in facts.items())})" if facts else str(kind)

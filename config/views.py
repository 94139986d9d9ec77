"""What a model is shown of a frame, by modality: windows, borders, regions, polarity. Without a word in a manifest the defaults hold."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.section import Section

Percent = Annotated[float, Field(ge=0, le=100)]
HeaderOrPercentiles = Literal["header", "percentiles"]
HeaderOrSeries = Literal["header", "series-percentiles"]
NamedWindow = Literal[
    "lung", "mediastinum", "brain", "subdural", "stroke", "bone", "temporal-bone", "abdomen", "liver", "spine", "soft-tissue"
]

_ONE_OR_RGB = (1, 3)

# Centre and width in HU. Source: Radiopaedia, "Windowing (CT)", typical values (of a range its middle; stroke: the wider of two);
# soft-tissue: the preset of that name in the OHIF viewer.
CT_WINDOWS: Mapping[NamedWindow, tuple[float, float]] = {
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "bone": (400, 1800),
    "temporal-bone": (600, 2800),
    "abdomen": (50, 400),
    "liver": (30, 150),
    "spine": (50, 250),
    "soft-tissue": (40, 400),
}


class PercentileSection(Section):
    """The part of the values that a percentile window spreads over black to white."""

    lowest_percent: Percent = Field(0.5, description="Percentile that becomes black.")
    highest_percent: Percent = Field(99.5, description="Percentile that becomes white.")

    @model_validator(mode="after")
    def _in_order(self) -> "PercentileSection":
        if self.lowest_percent >= self.highest_percent:
            raise ValueError("lowest_percent must lie below highest_percent")
        return self


class WindowSection(Section):
    """A CT window of the manifest's own."""

    centre: float = Field(description="Window Center, in HU.")
    width: float = Field(ge=1, description="Window Width, in HU.")


CtWindow = Literal["header", "body-part"] | NamedWindow | WindowSection


class RadiographSection(PercentileSection):
    """Projection X-rays: CR, DX, RG."""

    window: HeaderOrPercentiles = Field(
        "header", description="The header's window or VOI LUT, percentiles where it is absurd; or always them."
    )
    border: Literal["exposed-field", "header", "keep"] = Field(
        "exposed-field",
        description="Cropped: to shutters and collimator of the header, else to the field found in the pixels; the header's only; nothing.",
    )


class FluoroscopySection(PercentileSection):
    """X-ray cines: XA, RF. Their borders are cropped by the header only: a moving diaphragm would crop each frame differently."""

    window: HeaderOrPercentiles = Field(
        "header", description="The header's window or VOI LUT, percentiles where it is absurd; or always them."
    )
    border: Literal["header", "keep"] = Field("header", description="Cropped to shutters and collimator of the header, or not at all.")


class MammogramSection(PercentileSection):
    """Mammograms (MG). They are never mirrored: laterality stays as it is."""

    window: HeaderOrPercentiles = Field(
        "header", description="The header's window or VOI LUT, percentiles where it is absurd; or always them."
    )
    border: Literal["breast", "keep"] = Field("breast", description="Cropped to the breast, or left with the air beside it.")


class CtSection(Section):
    """Computed tomography (CT). Three windows become red, green and blue."""

    windows: tuple[CtWindow, ...] = Field(
        ("header",),
        description="One window, or three for a model that was made for them: named, by Body Part Examined, or centre and width.",
    )

    @model_validator(mode="after")
    def _one_or_three(self) -> "CtSection":
        if len(self.windows) not in _ONE_OR_RGB:
            raise ValueError("give one window, or three for red, green and blue")
        return self


class MagneticResonanceSection(PercentileSection):
    """Magnetic resonance (MR): one window for all slices of a series that are of one kind."""

    window: HeaderOrSeries = Field("series-percentiles", description="Percentiles of a sample of the series, or each image's header.")


class NuclearSection(PercentileSection):
    """Nuclear medicine and PET (NM, PT)."""

    window: HeaderOrSeries = Field("series-percentiles", description="Percentiles of a sample of the series, or each image's header.")
    polarity: Literal["inverted", "as-decoded"] = Field("inverted", description="inverted: uptake is dark on white, as it is read.")


class UltrasoundSection(Section):
    """Ultrasound (US)."""

    regions: Literal["crop", "keep"] = Field(
        "crop", description="Cropped to the 2-D regions that the header names, the rest black; or whole."
    )


class PhotographSection(Section):
    """Colour photographs: XC, OP, ES, GM, DMS."""

    border: Literal["field-of-view", "keep"] = Field(
        "field-of-view", description="Cropped to the field of view inside a black border; or whole."
    )


class ViewsSection(Section):
    """What the model is shown of a frame, by modality. A picture that is no DICOM object is shown as it is."""

    radiograph: RadiographSection = RadiographSection()
    fluoroscopy: FluoroscopySection = FluoroscopySection()
    mammogram: MammogramSection = MammogramSection()
    ct: CtSection = CtSection()
    mr: MagneticResonanceSection = MagneticResonanceSection()
    nuclear: NuclearSection = NuclearSection()
    ultrasound: UltrasoundSection = UltrasoundSection()
    photograph: PhotographSection = PhotographSection()

"""Exactly what happens to a frame before the image tower, one section for each published way. A missing fact is an error.

Every way starts from 8-bit pixels, grey repeated to three channels, as the references do. PIL resamples on 8 bits and always
with antialiasing; tensor resampling works on floats and says whether.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from config.section import Section

Resampling = Literal["bicubic", "bilinear", "lanczos"]
TensorResampling = Literal["bicubic", "bilinear"]
PerChannel = tuple[float, float, float]


class _Steps(Section):
    image_size: int = Field(ge=16, le=2048, description="Side of the square input, in pixels.")
    mean: PerChannel = Field(description="Mean of each channel, of values in [0, 1] (canvas: 0 to 255).")
    std: PerChannel = Field(description="Standard deviation of each channel, on the same scale.")

    @field_validator("std")
    @classmethod
    def _std_is_positive(cls, std: PerChannel) -> PerChannel:
        if min(std) <= 0:
            raise ValueError("a standard deviation must be positive")
        return std


class ShortestSide(_Steps):
    """PIL: the shorter side becomes image_size, the longer int(image_size * long / short); the centre is cropped."""

    resize_mode: Literal["shortest"] = "shortest"
    interpolation: Resampling = Field(description="Resampling filter of PIL.")
    crop_offset: Literal["round", "floor"] = Field(
        description="Offset of the crop: round half to even (torchvision, open_clip, OpenAI) or floor (Hugging Face)."
    )


class LongestSide(_Steps):
    """PIL: the longer side becomes image_size, the rest is centred black padding (open_clip's `longest`)."""

    resize_mode: Literal["longest"] = "longest"
    interpolation: Resampling = Field(description="Resampling filter of PIL.")


class Squash(_Steps):
    """PIL: straight to image_size x image_size; the aspect ratio is not kept."""

    resize_mode: Literal["squash"] = "squash"
    interpolation: Resampling = Field(description="Resampling filter of PIL.")


class PaddedSquare(_Steps):
    """Black padding to a square (before: half, rounded down), then PIL to image_size (MedSigLIP's serving code)."""

    resize_mode: Literal["padded-square"] = "padded-square"
    interpolation: Resampling = Field(description="Resampling filter of PIL.")


class GreySquare(_Steps):
    """Centred on a black grey canvas of side max(image_size, width, height), then PIL to image_size (MedCLIP)."""

    resize_mode: Literal["grey-square"] = "grey-square"
    interpolation: Resampling = Field(description="Resampling filter of PIL.")


class GreyCanvas(_Steps):
    """PIL to the longest side of a black grey canvas, normalised on 0 to 255, then a tensor resize to image_size (CheXzero)."""

    resize_mode: Literal["grey-canvas"] = "grey-canvas"
    canvas_size: int = Field(ge=16, le=4096, description="Side of the canvas, in pixels.")
    canvas_interpolation: Resampling = Field(description="Resampling filter of PIL onto the canvas.")
    interpolation: TensorResampling = Field(description="Resampling of the float tensor from the canvas to image_size.")
    antialias: bool = Field(description="Whether the tensor resampling is antialiased.")


class Corner(_Steps):
    """Tensor resize of the longer side to image_size, black padding at the right and at the bottom (FLAIR)."""

    resize_mode: Literal["corner"] = "corner"
    interpolation: TensorResampling = Field(description="Resampling of the float tensor.")
    antialias: bool = Field(description="Whether it is antialiased.")


Preprocessing = Annotated[
    ShortestSide | LongestSide | Squash | PaddedSquare | GreySquare | GreyCanvas | Corner, Field(discriminator="resize_mode")
]

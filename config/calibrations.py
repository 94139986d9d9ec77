"""Calibrations: what makes scores probabilities at one site."""

from pydantic import Field, model_validator

from config.section import Section, Sha256, Slug


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
    model_digest: Sha256 = Field(description="Digest of the model as it computes, which `dicom-node models show NAME` prints.")
    prompt_set: Slug
    prompt_set_digest: Sha256
    labels: dict[Slug, LabelCalibration]

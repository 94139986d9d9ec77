"""The other MedCLIP: a ResNet whose last layer is the projection."""

from pathlib import Path

import torch
from torch.nn import functional

from tests import golden_clinical as clinical
from tests.golden_fixtures import drawn
from tests.golden_medclip import MODEL, write_with


def write(folder: Path) -> None:
    """Write checkpoint, supplement, inputs and reference outputs into the folder."""
    shapes = clinical.resnet_shapes(MODEL) | {f"{MODEL}fc.weight": (clinical.DIMENSIONS, 2048)} | clinical.text_shapes("projection_head")
    weights = drawn(shapes, 72) | {"logit_scale": torch.tensor(clinical.SCALE_LN)}

    def images(batch: torch.Tensor) -> torch.Tensor:
        return functional.normalize(clinical.resnet(weights, MODEL, batch) @ weights[f"{MODEL}fc.weight"].T, dim=-1)

    write_with(folder, weights, images, {})

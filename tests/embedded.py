"""The model that ships and what the tests may take for granted about it: the one place to change when another takes its place."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import Catalogue, load
from config.manifests import ModelManifest
from dicom_node.demo.studies import DEMO_STUDIES
from inference.frames import read_frames

MODEL = "gatekeeper"
GATE = "kind-of-image"  # its prompt set for kinds of image
FINDINGS, FINDING = "demonstration-chest-radiograph", "pneumonia"

# Until the model that ships has limits for image quality, the tests give them to it.
THRESHOLD = 0.8
TURNS = ("rotated-90", "upside-down", "rotated-270")
UPRIGHT = ("chest-radiograph", "brain-mr")


def shipped() -> ModelManifest:
    return load(None)[1].manifest(MODEL)


@cache
def chest() -> NDArray[np.float32]:
    """A real chest radiograph that the model that ships recognises, small: `(256, 256)` in [0, 1]."""
    (frame,) = read_frames(_first_demo_file(), [1], maximum_megapixels=10)
    rows, columns = (side // 256 for side in frame.pixels.shape)
    shrunk: NDArray[np.float32] = frame.pixels[: rows * 256, : columns * 256].reshape(256, rows, 256, columns).mean((1, 3))
    return shrunk


def _first_demo_file() -> Path:
    return DEMO_STUDIES[0].files[0]


def with_quality(catalogue: Catalogue) -> Catalogue:
    """The catalogue with the shipped weights under a gate of every kind of image and limits for most faults of image quality.

    Upright is asked of chest radiographs and brain MR only, the others of every image of a patient; `blank` is not asked.
    """
    limit = {"threshold": THRESHOLD, "threshold_source": "chosen for the tests"}
    names = [label.name for label in catalogue.prompt_set("image-quality").labels if label.name != "blank"]
    labels = {name: limit | ({"kinds": UPRIGHT} if name in TURNS else {}) for name in names}
    gate = {"prompt_set": "kind-of-image", "minimum_probability": 0.5, "threshold_source": "chosen for the tests"}
    facts = catalogue.manifest(MODEL).model_dump() | {
        "gate": gate,
        "quality": {"prompt_set": "image-quality", "labels": labels},
        "colour": "any",
    }
    return replace(catalogue, manifests=(ModelManifest.model_validate(facts),))

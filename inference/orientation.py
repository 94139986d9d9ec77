"""Is an image turned? Asked of the model's own prompts: not what it should be as it lies, clearly so when turned."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from config import Code
from config.schema import GateSection, RotationSection
from inference.decision import is_rotated
from inference.findings import ImageRef, QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.gate import GateReading

QUARTER_TURNS = (1, 2, 3)
_POSITIONING = Code(value="111209", scheme="DCM", meaning="Positioning")  # CID 6135; rotation has no code of its own
_TURNS = {1: "90 degrees counter-clockwise", 2: "180 degrees", 3: "90 degrees clockwise"}


def rotation_of(gate: GateSection, expect: Sequence[str]) -> RotationSection | None:
    """Return how rotation is looked for, or None if the manifest does not say or an expected kind has no upright."""
    rotation = gate.rotation
    return rotation if rotation is not None and set(expect) <= set(rotation.kinds) else None


def turned_views(frame: Frame) -> tuple[Frame, ...]:
    """Return the frame turned counter-clockwise by each of `QUARTER_TURNS`. Only `pixels` are turned."""
    return tuple(replace(frame, pixels=np.ascontiguousarray(np.rot90(frame.pixels, turns)), values=None) for turns in QUARTER_TURNS)


def rotated_verdict(
    as_it_lies: GateReading, turned: Sequence[GateReading], image: ImageRef, rotation: RotationSection
) -> QualityVerdict | None:
    """Return the verdict "rotated", or None if no turned view is clearly what was expected.

    `turned` holds the readings of `turned_views`, in their order. `measured` is the expected kinds' probability in the best view.
    """
    best, turns = max((reading.expected_probability, turns) for reading, turns in zip(turned, QUARTER_TURNS, strict=True))
    if not is_rotated(as_it_lies.expected_probability, best, rotation):
        return None
    return QualityVerdict(
        check="rotated",
        image=image,
        measured=best,
        unit="1",
        threshold=rotation.minimum_probability,
        threshold_source=rotation.threshold_source,
        grade=QualityGrade.LIMITED,
        code=_POSITIONING,
        sentence=(
            f"The image looks rotated: turned by {_TURNS[turns]} it shows {' or '.join(as_it_lies.expected)} (p = {best:.2f}),"
            f" as it lies it does not (p = {as_it_lies.expected_probability:.2f})."
        ),
    )

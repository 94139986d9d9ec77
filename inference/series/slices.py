"""Where each slice of a series lies, as its header says: classic objects, enhanced multi-frame objects, reconstructed nuclear medicine."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from inference.attributes import functional_group, items, number, numbers, text, texts, uid
from inference.pixels.pixel_data import frame_count

Vector = tuple[float, float, float]

# What tells two images of one place apart: another time, echo, heart phase, diffusion weighting, or another reconstruction.
_IN_HEADER = (
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "RepetitionTime",
    "FlipAngle",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "KVP",
    "ConvolutionKernel",
    "ReconstructionDiameter",
    "FrameReferenceTime",
    "ContrastBolusAgent",
    "ImageType",
)
_IN_FRAME_CONTENT = ("StackID", "FrameAcquisitionNumber", "TemporalPositionIndex", "DimensionIndexValues")
_VECTORS = ("TimeSlotVector", "EnergyWindowVector", "RRIntervalVector", "DetectorVector")  # NM, PS3.3 C.8.4.8

# PS3.3 C.7.6.2.1.1: direction cosines, of length 1 and at right angles. Decimal strings of few digits miss that a little.
_LENGTH_TOLERANCE = 0.01
_RIGHT_ANGLE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """Image Orientation (Patient): the directions of a row and of a column, of length 1, in the patient's axes (PS3.3 C.7.6.2.1.1)."""

    row: Vector
    column: Vector

    @property
    def normal(self) -> Vector:
        """At right angles to the plane, of length 1, its largest part positive: a plane seen from behind has the same normal."""
        crossed = _cross(self.row, self.column)
        largest = max(crossed, key=abs)
        return _scaled(crossed, 1 / math.copysign(math.hypot(*crossed), largest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One slice of a series, or an instance whose frames are not placed.

    `header`: index of its header. `frames`: its frame numbers, 1-based; one if the slice is placed. `orientation`, `position_mm`
    (centre of the first pixel), `location_mm` (Slice Location), `in_stack` (In-Stack Position Number), `instance_number`: None if
    absent or no number. `stack`: Stack ID.
    """

    header: int
    frames: range
    sop_instance_uid: str
    orientation: Orientation | None
    position_mm: Vector | None
    location_mm: float | None
    in_stack: float | None
    instance_number: float | None
    stack: str


def slices_of(headers: Sequence[Dataset]) -> Iterator[Slice]:
    """Yield the slices of the headers, in their order. No more than the items that a header really holds are placed one by one."""
    for index, header in enumerate(headers):
        if (per_frame := items(header, "PerFrameFunctionalGroupsSequence")) or items(header, "SharedFunctionalGroupsSequence"):
            yield from _enhanced(index, header, len(per_frame))
        elif reconstructed := tuple(_reconstructed(index, header)):
            yield from reconstructed
        else:
            yield _classic(index, header)


def acquisition_of(header: Dataset, frame_number: int) -> tuple[str, ...]:
    """What tells a frame (1-based) from others at the same place; equal for a frame that is there twice."""
    content = functional_group(header, frame_number - 1, "FrameContentSequence") or Dataset()
    vectors = (texts(header, keyword)[frame_number - 1 : frame_number] for keyword in _VECTORS)
    return (
        *("\\".join(texts(header, keyword)) for keyword in _IN_HEADER),
        *("\\".join(texts(content, keyword)) for keyword in _IN_FRAME_CONTENT),
        *("".join(value) for value in vectors),
    )


def orientation_of(dataset: Dataset) -> Orientation | None:
    """The Image Orientation (Patient) in `dataset`; None if it is absent or no pair of directions at right angles."""
    match numbers(dataset, "ImageOrientationPatient"):
        case (a, b, c, d, e, f):
            row, column = (a, b, c), (d, e, f)
        case _:
            return None
    lengths = math.hypot(*row), math.hypot(*column)
    if any(abs(length - 1) > _LENGTH_TOLERANCE for length in lengths) or abs(dot(row, column)) > _RIGHT_ANGLE_TOLERANCE:
        return None
    return Orientation(row=_scaled(row, 1 / lengths[0]), column=_scaled(column, 1 / lengths[1]))


def dot(one: Vector, other: Vector) -> float:
    """The scalar product."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _classic(index: int, header: Dataset) -> Slice:
    frames = range(1, frame_count(header) + 1)
    one = len(frames) == 1
    return Slice(
        header=index,
        frames=frames,
        sop_instance_uid=uid(header, "SOPInstanceUID"),
        orientation=orientation_of(header) if one else None,
        position_mm=_position(header) if one else None,
        location_mm=number(header, "SliceLocation") if one else None,
        in_stack=None,
        instance_number=number(header, "InstanceNumber"),
        stack="",
    )


def _enhanced(index: int, header: Dataset, described: int) -> Iterator[Slice]:
    """The frames of an enhanced object (PS3.3 C.7.6.16); those beyond the functional groups are one unplaced slice."""
    frames = frame_count(header)
    name, instance_number = uid(header, "SOPInstanceUID"), number(header, "InstanceNumber")
    placed = min(frames, max(described, 1 if frames == 1 else 0))
    for frame_index in range(placed):
        plane = functional_group(header, frame_index, "PlanePositionSequence") or Dataset()
        direction = functional_group(header, frame_index, "PlaneOrientationSequence") or Dataset()
        content = functional_group(header, frame_index, "FrameContentSequence") or Dataset()
        yield Slice(
            header=index,
            frames=range(frame_index + 1, frame_index + 2),
            sop_instance_uid=name,
            orientation=orientation_of(direction),
            position_mm=_position(plane),
            location_mm=None,
            in_stack=number(content, "InStackPositionNumber"),
            instance_number=instance_number,
            stack=text(content, "StackID"),
        )
    if placed < frames:
        yield Slice(
            header=index,
            frames=range(placed + 1, frames + 1),
            sop_instance_uid=name,
            orientation=None,
            position_mm=None,
            location_mm=None,
            in_stack=None,
            instance_number=instance_number,
            stack="",
        )


def _reconstructed(index: int, header: Dataset) -> Iterator[Slice]:
    """The frames of reconstructed tomography in an NM Image, from the first one's place and the slice vector (PS3.3 C.8.4.9, C.8.4.15)."""
    detectors = items(header, "DetectorInformationSequence")
    slots = numbers(header, "SliceVector")
    spacing = number(header, "SpacingBetweenSlices")
    if not detectors or spacing is None or len(slots) != frame_count(header) or "TOMO" not in "".join(texts(header, "ImageType")):
        return
    orientation, first = orientation_of(detectors[0]), _position(detectors[0])
    if orientation is None or first is None:
        return
    along = _cross(orientation.row, orientation.column)
    for frame_index, slot in enumerate(slots):
        moved = _scaled(along, (slot - 1) * spacing)
        yield Slice(
            header=index,
            frames=range(frame_index + 1, frame_index + 2),
            sop_instance_uid=uid(header, "SOPInstanceUID"),
            orientation=orientation,
            position_mm=(first[0] + moved[0], first[1] + moved[1], first[2] + moved[2]),
            location_mm=None,
            in_stack=None,
            instance_number=number(header, "InstanceNumber"),
            stack="",
        )


def _position(dataset: Dataset) -> Vector | None:
    match numbers(dataset, "ImagePositionPatient"):
        case (x, y, z):
            return x, y, z
    return None


def _cross(one: Vector, other: Vector) -> Vector:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )


def _scaled(vector: Vector, factor: float) -> Vector:
    return vector[0] * factor, vector[1] * factor, vector[2] * factor

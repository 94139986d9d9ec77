"""The instances that a report speaks of, with what their headers say about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from inference.findings import Analysis, ImageRef
from reporting.attributes import SourceHeader

# Image IODs whose SOP class name does not say "Image Storage" (PS3.4 table B.5-1).
_OTHER_IMAGE_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.77.1.5.5",  # Wide Field Ophthalmic Photography Stereographic Projection
        "1.2.840.10008.5.1.4.1.1.77.1.5.6",  # Wide Field Ophthalmic Photography 3D Coordinates
    }
)


@dataclass(frozen=True, kw_only=True)
class SourceInstance:
    """One instance of the evidence. `frames` is 1 for an object of one frame; `is_image` is False for reports, plans, private classes."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frames: int
    is_image: bool
    header: SourceHeader

    def frame_number(self, image: ImageRef) -> int | None:
        """Return the 1-based frame number to reference; None where the instance has one frame only (PS3.3 table 10-3)."""
        return image.frame_number if self.frames > 1 else None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All instances of an analysis' inputs, in their order, each once."""

    study_instance_uid: str
    instances: tuple[SourceInstance, ...]

    @property
    def header(self) -> SourceHeader:
        """The header that identity is copied from: the first that names a patient; an empty one if there is none."""
        named = (one.header for one in self.instances if one.header.has("PatientID") or one.header.has("PatientName"))
        return next(named, self.instances[0].header if self.instances else SourceHeader(dataset=Dataset()))

    @property
    def images(self) -> tuple[SourceInstance, ...]:
        """The instances that an IMAGE content item may reference."""
        return tuple(instance for instance in self.instances if instance.is_image)

    def of(self, image: ImageRef) -> SourceInstance:
        """Return the instance of an image.

        Raises:
            ValueError: the image is not among the inputs of the analysis.
        """
        for instance in self.instances:
            if instance.sop_instance_uid == image.sop_instance_uid:
                return instance
        raise ValueError(f"{image.sop_instance_uid} is reported on but is not among the inputs of the analysis")

    def sequence(self) -> list[Dataset]:
        """Return the items of Current Requested Procedure Evidence Sequence (PS3.3 table C.17-3); none without instances."""
        series: dict[str, list[Dataset]] = {}
        for instance in self.instances:
            series.setdefault(instance.series_instance_uid, []).append(reference(instance.sop_class_uid, instance.sop_instance_uid))
        return [hierarchy(self.study_instance_uid, series)] if series else []


def evidence_of(analysis: Analysis, headers: Sequence[Dataset]) -> Evidence:
    """Return the evidence of an analysis.

    Raises:
        ValueError: an input has no header, or its header has no series or belongs to another study.
    """
    by_uid = {source.text("SOPInstanceUID"): source for source in (SourceHeader(dataset=header) for header in headers)}
    inputs = {image.sop_instance_uid: image for image in analysis.inputs}
    return Evidence(
        study_instance_uid=analysis.study_instance_uid,
        instances=tuple(_instance(image, by_uid, analysis.study_instance_uid) for image in inputs.values()),
    )


def hierarchy(study_instance_uid: str, references_by_series: dict[str, list[Dataset]]) -> Dataset:
    """Return one item of the Hierarchical SOP Instance Reference macro (PS3.3 table C.17-3b)."""
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [_series(uid, references) for uid, references in references_by_series.items()]
    return study


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return one SOP Instance Reference (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _series(series_instance_uid: str, references: Iterable[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    series.ReferencedSOPSequence = list(references)
    return series


def _instance(image: ImageRef, by_uid: dict[str, SourceHeader], study_instance_uid: str) -> SourceInstance:
    header = by_uid.get(image.sop_instance_uid)
    if header is None:
        raise ValueError(f"no header was given for input {image.sop_instance_uid}")
    series = header.uid("SeriesInstanceUID")
    if not series:
        raise ValueError(f"the header of {image.sop_instance_uid} names no series")
    if header.text("StudyInstanceUID") != study_instance_uid:
        raise ValueError(f"{image.sop_instance_uid} is not of study {study_instance_uid}")
    return SourceInstance(
        sop_class_uid=image.sop_class_uid,
        sop_instance_uid=image.sop_instance_uid,
        series_instance_uid=series,
        frames=header.count("NumberOfFrames") or 1,
        is_image=_is_image(image.sop_class_uid),
        header=header,
    )


def _is_image(sop_class_uid: str) -> bool:
    """Say whether an IMAGE item may reference the class. Readers refuse a report with an IMAGE of a class that they do not know."""
    return "Image Storage" in UID(sop_class_uid).name or sop_class_uid in _OTHER_IMAGE_CLASSES

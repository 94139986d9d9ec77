"""Which software and which model made the numbers: the same values in TID 4019, TID 1004 and Contributing Equipment.

IHE RAD AIR, volume 3 section 6.5.3.1: every algorithm stands in Contributing Equipment Sequence with a Device UID that
changes when the algorithm does, and what the content tree says of it must be equal.
"""

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from config import Code
from inference.findings import Analysis, Provenance
from reporting import codes
from reporting.attributes import printable
from reporting.result import Producer
from reporting.uids import derived_uid

_QUALITY_CHECKS = "dicom-node quality checks"
_LONG_STRING = 64  # characters in VR LO, PS3.5 table 6.2-1


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One build of one algorithm. `parameters` are "name=value" texts; `family` is None where CID 7162 has no code for it."""

    name: str
    version: str
    manufacturer: str
    device_uid: str
    description: str
    parameters: tuple[str, ...] = ()
    family: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithms:
    """The algorithms behind one report. `model` is None if no model was involved.

    `sight` is the model that told kind and quality, None if it is `model`.
    """

    node: Algorithm
    quality: Algorithm
    model: Algorithm | None
    sight: Algorithm | None = None

    @property
    def main(self) -> Algorithm:
        """The algorithm that the analysis status is about."""
        return self.model or self.quality

    @property
    def used(self) -> tuple[Algorithm, ...]:
        """All of them, the node first."""
        return tuple(found for found in (self.node, self.model, self.sight, self.quality) if found is not None)

    @property
    def prompted(self) -> Algorithm:
        """The algorithm that was asked about image quality in words."""
        return self.sight or self.main


def algorithms_of(analysis: Analysis, producer: Producer) -> Algorithms:
    """Return the algorithms that made `analysis` on the node `producer`."""
    return Algorithms(
        node=Algorithm(
            name=producer.model_name,
            version=producer.software_version,
            manufacturer=producer.manufacturer,
            device_uid=derived_uid("node", producer.manufacturer, producer.model_name, producer.software_version, producer.serial_number),
            description="Node that made this report",
        ),
        quality=Algorithm(
            name=_QUALITY_CHECKS,
            version=producer.software_version,
            manufacturer=producer.manufacturer,
            device_uid=derived_uid("quality checks", producer.manufacturer, producer.software_version),
            description="Image quality checks on the pixels",
        ),
        model=None if analysis.provenance is None else _model(analysis.provenance),
        sight=None if analysis.seen_by is None else _model(analysis.seen_by),
    )


def contribution(algorithm: Algorithm, at: datetime) -> Dataset:
    """Return an item of Contributing Equipment Sequence (PS3.3 table C.12-1)."""
    item = Dataset()
    purpose = Dataset()
    purpose.CodeValue = codes.PROCESSING_EQUIPMENT.value
    purpose.CodingSchemeDesignator = codes.PROCESSING_EQUIPMENT.scheme
    purpose.CodeMeaning = codes.PROCESSING_EQUIPMENT.meaning
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = algorithm.manufacturer
    item.ManufacturerModelName = algorithm.name
    item.DeviceUID = algorithm.device_uid
    item.SoftwareVersions = algorithm.version
    item.ContributionDateTime = at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = algorithm.description
    return item


def _model(provenance: Provenance) -> Algorithm:
    calibration = provenance.calibration_id or "none (shadow)"
    name, version, manufacturer = (_long_string(text) for text in (provenance.model, provenance.version, provenance.manufacturer))
    return Algorithm(
        name=name,
        version=version,
        manufacturer=manufacturer,
        device_uid=derived_uid("model", manufacturer, name, version, provenance.weights_digest),
        description="Zero-shot image classification",
        parameters=(
            f"weights-sha256={provenance.weights_digest}",
            f"prompt-set={provenance.prompt_set}",
            f"prompt-set-sha256={provenance.prompt_set_digest}",
            f"calibration={calibration}",
            *(printable(parameter) for parameter in provenance.parameters if printable(parameter)),
        ),
        family=codes.ARTIFICIAL_INTELLIGENCE,
    )


def _long_string(text: str) -> str:
    """Return `text` as one value of VR LO, which has no backslash."""
    return printable(text).replace("\\", "/")[:_LONG_STRING]

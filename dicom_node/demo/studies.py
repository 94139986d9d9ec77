"""The studies that ship with the node: what each one is, what it is meant to show, and whose images they are."""

from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStudy:
    """One study of the demo. `source` and `licence` are as in NOTICE, which gives the full attribution."""

    folder: str
    title: str
    shows: str
    source: str
    licence: str

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files, in the order in which they are sent."""
        return tuple(sorted((DATA_FOLDER / self.folder).glob("*.dcm")))


DEMO_STUDIES = (
    DemoStudy(
        folder="01-chest-normal-adult",
        title="Chest radiograph, adult, labelled normal",
        shows="An ordinary radiograph with a correct header.",
        source="NIH ChestX-ray14",
        licence="No restrictions on use; attribution to the NIH Clinical Center",
    ),
    DemoStudy(
        folder="02-chest-normal-child",
        title="Chest radiograph, child, labelled normal",
        shows="A paediatric radiograph from another hospital, as JPEG baseline.",
        source="Kermany et al. 2018",
        licence="CC BY 4.0",
    ),
    DemoStudy(
        folder="03-chest-effusion-stat",
        title="Chest radiograph, adult, labelled effusion, ordered STAT",
        shows="Requested Procedure Priority STAT: settled and analysed first. JPEG-LS.",
        source="NIH ChestX-ray14",
        licence="No restrictions on use; attribution to the NIH Clinical Center",
    ),
    DemoStudy(
        folder="04-chest-pneumonia-child",
        title="Chest radiograph, child, labelled viral pneumonia",
        shows="An abnormal paediatric radiograph.",
        source="Kermany et al. 2018",
        licence="CC BY 4.0",
    ),
    DemoStudy(
        folder="05-chest-rotated",
        title="Chest radiograph, rotated by 90 degrees",
        shows="Rotated when it was stored; nothing in the header says so. JPEG 2000.",
        source="NIH ChestX-ray14, CADLab orientation sample",
        licence="MIT (CADLab folder); NIH: no restrictions on use",
    ),
    DemoStudy(
        folder="06-chest-wrong-monochrome",
        title="Chest radiograph, shown as a negative",
        shows="The header says MONOCHROME1 and the pixels are MONOCHROME2.",
        source="TorchXRayVision test file, NIH ChestX-ray14",
        licence="Apache-2.0; NIH: no restrictions on use",
    ),
    DemoStudy(
        folder="07-chest-says-ct",
        title="Chest radiograph whose header says CT",
        shows="The pixels of the first study under Modality CT: the header sends it the wrong way.",
        source="NIH ChestX-ray14",
        licence="No restrictions on use; attribution to the NIH Clinical Center",
    ),
    DemoStudy(
        folder="08-ct-chest",
        title="CT of the chest, two series",
        shows="Two slices of one patient. The pixels agree with the header; no findings are asked of CT.",
        source="TCIA COVID-19-NY-SBU",
        licence="CC BY 4.0",
    ),
    DemoStudy(
        folder="09-mr-brain",
        title="MR of the brain, 35 slices",
        shows="A whole series of small images, one instance a slice.",
        source="dcm_qa_ts",
        licence="BSD-2-Clause",
    ),
    DemoStudy(
        folder="10-skin-nevus",
        title="Dermoscopy, labelled not melanoma",
        shows="Visible light in colour. The score for melanoma is a demonstration and flags nothing.",
        source="ISIC 2017 challenge",
        licence="CC0",
    ),
    DemoStudy(
        folder="11-skin-melanoma",
        title="Dermoscopy, labelled melanoma",
        shows="Visible light in colour. The score for melanoma is a demonstration and flags nothing.",
        source="ISIC 2017 challenge",
        licence="CC0",
    ),
    DemoStudy(
        folder="12-endoscopy-polyp",
        title="Colonoscopy, labelled polyp",
        shows="An endoscopy image in colour, asked about a polyp for demonstration.",
        source="HyperKvasir",
        licence="CC BY 4.0",
    ),
    DemoStudy(
        folder="13-histology",
        title="Histology, lymph node, 15 tiles",
        shows="A whole slide at low magnification as one multi-frame instance.",
        source="CAMELYON challenge, via Google Health MedSigLIP test data",
        licence="CC0; Apache-2.0 (file)",
    ),
    DemoStudy(
        folder="14-ultrasound-burnt-in-text",
        title="Ultrasound with a name burnt into the pixels",
        shows="A made-up test patient's name and birth date stand in the image; the header says that there is no text.",
        source="deid-data",
        licence="MIT",
    ),
    DemoStudy(
        folder="15-cookies-say-chest",
        title="Cookies under a chest header",
        shows="No medical image at all; the header says CR CHEST, in colour.",
        source="deid-data",
        licence="MIT",
    ),
    DemoStudy(
        folder="16-chest-cut-off",
        title="Chest radiograph, file cut off",
        shows="The file ends in the middle of its pixels, as after a broken copy.",
        source="TorchXRayVision test file, NIH ChestX-ray14",
        licence="Apache-2.0; NIH: no restrictions on use",
    ),
    DemoStudy(
        folder="17-rt-plan",
        title="Radiotherapy plan",
        shows="Nothing to look at: the report must say so.",
        source="pydicom test files",
        licence="MIT",
    ),
    DemoStudy(
        folder="18-blank-says-eye",
        title="Empty disc under an eye header",
        shows="The header says CR EYE; there is nothing in the image.",
        source="Google Health MedSigLIP test data",
        licence="Apache-2.0",
    ),
)

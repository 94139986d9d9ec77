"""Rebuild `dicom_node/demo/data` from its sources: `python deploy/demo-data/build.py SOURCE_FOLDER [TARGET_FOLDER]`.

SOURCE_FOLDER holds the files of the public repositories that NOTICE names, under the names used below. Every header is
written new, from the attributes listed here: no header of a source is copied whole (except the RT plan and the slide,
which hold no person), so no text of a source reaches a demo file by accident. Pixel values are those of the source:
native, recompressed without loss, or the source's JPEG stream as it is. The only exceptions are named where they are
made: the photograph is made smaller, the MR mosaic is cut into its slices, and one file is cut off on purpose.

UIDs derive from the file's name, dates are fixed: the same sources and library versions give the same bytes.
"""

import argparse
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
)

TARGET = Path(__file__).parents[2] / "dicom_node" / "demo" / "data"
STUDY_DATE, STUDY_TIME = "20250106", "080000"
SPACE = "dicom-node demo data 1 "
BYTE = 8
PIXEL_ATTRIBUTES = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation "
    "PixelSpacing WindowCenter WindowWidth RescaleIntercept RescaleSlope RescaleType LossyImageCompression LossyImageCompressionRatio "
    "LossyImageCompressionMethod"
)
CT_ATTRIBUTES = (
    "ImageType Manufacturer ManufacturerModelName KVP SliceThickness DataCollectionDiameter ReconstructionDiameter ConvolutionKernel "
    "XRayTubeCurrent ExposureTime GantryDetectorTilt PatientPosition ImagePositionPatient ImageOrientationPatient SliceLocation "
    "BodyPartExamined InstanceNumber"
)
MR_ATTRIBUTES = (
    "Manufacturer ManufacturerModelName ScanningSequence SequenceVariant ScanOptions MRAcquisitionType SequenceName SliceThickness "
    "RepetitionTime EchoTime NumberOfAverages ImagingFrequency ImagedNucleus EchoNumbers MagneticFieldStrength SpacingBetweenSlices "
    "EchoTrainLength FlipAngle PatientPosition ImageOrientationPatient"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One demo study: its folder, whose name begins with its number, and what stands in the patient and study modules."""

    folder: str
    name: str
    description: str
    sex: str = ""
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def number(self) -> str:
        return self.folder[:2]


def uid(*parts: object) -> UID:
    """A UID under 2.25 that depends on nothing but `parts` (PS3.5 B.2)."""
    digest = hashlib.sha256((SPACE + "/".join(map(str, parts))).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def begun(patient: Patient, sop_class: str, modality: str, *, series: int = 1, instance: int = 1) -> FileDataset:
    """A data set with its patient, study, series and SOP common modules, and no pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = uid(patient.folder, series, instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.302130184117254036263253160486268934051")
    meta.ImplementationVersionName = "DEMO_DATA_1"
    made = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = uid(patient.folder), uid(patient.folder, series)
    made.StudyDate = made.SeriesDate = made.ContentDate = made.AcquisitionDate = STUDY_DATE
    made.StudyTime = made.SeriesTime = made.ContentTime = made.AcquisitionTime = STUDY_TIME
    made.AccessionNumber, made.PatientID = f"DEMO{patient.number}", f"DEMO-{patient.number}"
    made.PatientName, made.PatientBirthDate, made.PatientSex = f"DEMO^{patient.name}", "", patient.sex
    made.StudyID, made.StudyDescription = patient.number, patient.description
    made.ReferringPhysicianName, made.Manufacturer = "", ""
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", "Published data set; header written new for a demonstration"
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, series, instance
    set_all(made, patient.extra)
    return made


def set_all(made: Dataset, values: dict[str, object]) -> None:
    for keyword, value in values.items():
        setattr(made, keyword, value)


def take(made: Dataset, source: Dataset, keywords: str) -> None:
    """Copy those of the named attributes (keywords between spaces) that the source has a value for."""
    for keyword in keywords.split():
        if source.get(keyword) not in (None, ""):
            setattr(made, keyword, source.get(keyword))


def take_pixels(made: FileDataset, source: Dataset) -> None:
    """Copy the pixel data with its description; the transfer syntax goes with an encapsulated stream."""
    take(made, source, PIXEL_ATTRIBUTES)
    made.PixelData = source.PixelData
    made["PixelData"].VR = "OB" if source.BitsAllocated == BYTE else "OW"
    if source.file_meta.TransferSyntaxUID.is_encapsulated:
        made.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
        made["PixelData"].VR = "OB"
        made["PixelData"].is_undefined_length = True


def set_grey(made: FileDataset, values: np.ndarray) -> None:
    """Set native 8-bit grey pixels from an array (rows, columns)."""
    describe(made, values.shape[0], values.shape[1], photometric="MONOCHROME2", samples=1)
    made.PixelData = values.astype(np.uint8).tobytes()
    made["PixelData"].VR = "OB"


def set_jpeg(made: FileDataset, stream: bytes) -> None:
    """Encapsulate a JPEG baseline stream as it is (PS3.5 A.4.1)."""
    with Image.open(io.BytesIO(stream)) as image:
        if image.format != "JPEG" or image.mode not in {"L", "RGB"}:
            raise ValueError(f"not an 8-bit JPEG: {image.format} {image.mode}")
        grey = image.mode == "L"
        ratio = image.width * image.height * (1 if grey else 3) / len(stream)
        colour = "YBR_FULL" if JpegImagePlugin.get_sampling(image) == 0 else "YBR_FULL_422"
        describe(made, image.height, image.width, photometric="MONOCHROME2" if grey else colour, samples=1 if grey else 3)
    made.LossyImageCompression, made.LossyImageCompressionRatio = "01", f"{ratio:.2f}"
    made.LossyImageCompressionMethod = "ISO_10918_1"
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True


def describe(made: FileDataset, rows: int, columns: int, *, photometric: str, samples: int) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = samples, photometric
    made.Rows, made.Columns = rows, columns
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = BYTE, BYTE, BYTE - 1, 0
    if samples > 1:
        made.PlanarConfiguration = 0


def compressed(made: FileDataset, syntax: UID) -> FileDataset:
    """The same with its pixel data compressed; raises if a single value differs afterwards."""
    before = made.pixel_array.copy()
    made.compress(syntax, generate_instance_uid=False)
    if not np.array_equal(before, made.pixel_array):
        raise ValueError(f"{syntax.name} is not lossless here")
    return made


def as_dx(made: FileDataset) -> FileDataset:
    """Add what a Digital X-Ray Image for presentation needs (PS3.3 A.26)."""
    set_all(made, {
        "ImageType": ["ORIGINAL", "PRIMARY"], "PresentationIntentType": "FOR PRESENTATION", "BodyPartExamined": "CHEST",
        "ImageLaterality": "U", "ImagerPixelSpacing": ["0.168", "0.168"], "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1, "RescaleIntercept": "0", "RescaleSlope": "1", "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY", "LossyImageCompression": "00", "BurnedInAnnotation": "NO", "DetectorType": "",
        "PatientOrientation": ["L", "F"], "PositionerType": "NONE", "ViewPosition": "PA", "AcquisitionContextSequence": [],
        "WindowCenter": "128", "WindowWidth": "256",
    })  # fmt: skip
    made.AnatomicRegionSequence = [code("51185008", "SCT", "Chest")]
    made.ViewCodeSequence = [code("399348003", "SCT", "postero-anterior")]
    made.ViewCodeSequence[0].ViewModifierCodeSequence = []
    return made


def as_cr(made: FileDataset, **values: object) -> FileDataset:
    """Add what a Computed Radiography Image needs (PS3.3 A.2)."""
    set_all(
        made, {"BodyPartExamined": "CHEST", "ViewPosition": "AP", "PatientOrientation": "", "ImageType": ["ORIGINAL", "PRIMARY"]} | values
    )
    return made


def as_sc(made: FileDataset, **values: object) -> FileDataset:
    """Add what a Secondary Capture Image needs (PS3.3 A.8)."""
    set_all(made, {"ConversionType": "WSD", "PatientOrientation": "", "BodyPartExamined": "CHEST"} | values)
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def written(made: FileDataset, syntax: UID | None = None) -> bytes:
    """The data set as a complete Part 10 file."""
    if syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def chest_normal_adult(source: Path) -> Iterator[bytes]:
    """NIH ChestX-ray14 "No Finding", native pixels."""
    made = begun(Patient(folder="01-chest-normal-adult", name="CHEST-NORMAL-1", description="Chest PA", sex="M"),
                 DigitalXRayImageStorageForPresentation, "DX")  # fmt: skip
    take_pixels(made, dcmread(source / "dicom/cxr/nih_test1.dcm"))
    yield written(as_dx(made))


def chest_normal_child(source: Path) -> Iterator[bytes]:
    """Kermany et al., a normal paediatric chest, the published JPEG as it is."""
    made = begun(
        Patient(folder="02-chest-normal-child", name="CHEST-NORMAL-2", description="Chest AP, child"), ComputedRadiographyImageStorage, "CR"
    )
    set_jpeg(made, (source / "images/cxr_kermany/IM-0158-0001.jpeg").read_bytes())
    yield written(as_cr(made))


def chest_effusion(source: Path) -> Iterator[bytes]:
    """NIH ChestX-ray14 "Effusion", compressed without loss, ordered as STAT."""
    patient = Patient(folder="03-chest-effusion-stat", name="CHEST-EFFUSION", description="Chest AP, STAT", sex="M",
                      extra={"RequestedProcedurePriority": "STAT"})  # fmt: skip
    made = begun(patient, DigitalXRayImageStorageForPresentation, "DX")
    take_pixels(made, dcmread(source / "dicom/cxr/nih_test3.dcm"))
    as_dx(made).ViewPosition = "AP"
    made.ViewCodeSequence = [code("399067008", "SCT", "antero-posterior")]
    made.ViewCodeSequence[0].ViewModifierCodeSequence = []
    yield written(compressed(made, JPEGLSLossless))


def chest_pneumonia(source: Path) -> Iterator[bytes]:
    """Kermany et al., viral pneumonia in a child, the published JPEG as it is."""
    made = begun(Patient(folder="04-chest-pneumonia-child", name="CHEST-PNEUMONIA", description="Chest AP, child"),
                 ComputedRadiographyImageStorage, "CR")  # fmt: skip
    set_jpeg(made, (source / "images/cxr_kermany/person484_virus_986.jpeg").read_bytes())
    yield written(as_cr(made))


def chest_rotated(source: Path) -> Iterator[bytes]:
    """NIH ChestX-ray14, rotated by 90 degrees as it was published; the header says nothing of it."""
    made = begun(
        Patient(folder="05-chest-rotated", name="CHEST-ROTATED", description="Chest PA"), DigitalXRayImageStorageForPresentation, "DX"
    )
    with Image.open(source / "images/cxr_orientation/00001880_006.png") as image:
        set_grey(made, np.asarray(image.convert("L")))
    yield written(compressed(as_dx(made), JPEG2000Lossless))


def chest_wrong_monochrome(source: Path) -> Iterator[bytes]:
    """A chest whose header says MONOCHROME1 of MONOCHROME2 pixels, so that it is shown as a negative."""
    made = begun(
        Patient(folder="06-chest-wrong-monochrome", name="CHEST-INVERTED", description="Chest PA", sex="M"),
        SecondaryCaptureImageStorage,
        "CR",
    )
    take_pixels(made, dcmread(source / "dicom/cxr/txv_fake_monochrome1.dcm"))
    yield written(as_sc(made, ViewPosition="PA"))


def chest_says_ct(source: Path) -> Iterator[bytes]:
    """The pixels of study 01 under Modality CT, as published; Implicit VR as published."""
    made = begun(
        Patient(folder="07-chest-says-ct", name="CHEST-SAYS-CT", description="CT chest", sex="M"), SecondaryCaptureImageStorage, "CT"
    )
    take_pixels(made, dcmread(source / "dicom/cxr/nih_test5.dcm"))
    yield written(as_sc(made), ImplicitVRLittleEndian)


def ct_chest(source: Path) -> Iterator[bytes]:
    """Two CT slices of one patient; each comes from another examination, so each is a series of its own."""
    patient = Patient(folder="08-ct-chest", name="CT-CHEST", description="CT chest, 2 series", sex="M")
    for number, (name, syntax) in enumerate((("nysbu_19001203-066", RLELossless), ("nysbu_19010103-40", JPEGLSLossless)), start=1):
        original = dcmread(source / f"dicom/ct/{name}.dcm")
        made = begun(patient, CTImageStorage, "CT", series=number)
        take(made, original, CT_ATTRIBUTES)
        take_pixels(made, original)
        made.SeriesDescription, made.BodyPartExamined, made.AcquisitionNumber = str(original.SeriesDescription), "CHEST", 1
        made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid(patient.folder, number, "frame of reference"), ""
        yield written(compressed(made, syntax))


def mr_brain(source: Path) -> Iterator[bytes]:
    """One EPI volume, published as a mosaic of 6 x 6 tiles, cut into its 35 slices: pixel values unchanged.

    The position of a mosaic is the corner of the mosaic; the slice's corner lies half the difference of their sizes inside.
    """
    patient = Patient(folder="09-mr-brain", name="MR-BRAIN", description="MR brain, EPI")
    mosaic = dcmread(source / "dicom/dcm_qa_ts/1.dcm")
    count, side = int(mosaic[0x0019, 0x100A].value), 64
    pixels = mosaic.pixel_array
    row, column = (np.array(mosaic.ImageOrientationPatient[start : start + 3], float) for start in (0, 3))
    spacing = float(mosaic.PixelSpacing[0])
    corner = np.array(mosaic.ImagePositionPatient, float) + (row + column) * spacing * (pixels.shape[0] - side) / 2
    step = np.cross(row, column) * float(mosaic.SpacingBetweenSlices)
    for index in range(count):
        top, left = (side * part for part in divmod(index, pixels.shape[1] // side))
        made = begun(patient, MRImageStorage, "MR", instance=index + 1)
        take(made, mosaic, MR_ATTRIBUTES)
        take(made, mosaic, PIXEL_ATTRIBUTES)
        made.Rows = made.Columns = side
        made.ImageType, made.SeriesDescription, made.BodyPartExamined = ["DERIVED", "PRIMARY", "M", "ND"], "ax_asc_35sl", "BRAIN"
        made.ImagePositionPatient = [f"{value:.6f}" for value in corner + index * step]
        made.ImageOrientationPatient = [f"{value:.9f}" for value in (*row, *column)]
        made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid(patient.folder, 1, "frame of reference"), ""
        made.AcquisitionNumber = 1
        made.PixelData = np.ascontiguousarray(pixels[top : top + side, left : left + side]).astype("<u2").tobytes()
        made["PixelData"].VR = "OW"
        yield written(made)


def photograph(source: Path, patient: Patient, name: str) -> Iterator[bytes]:
    """An ISIC 2017 dermoscopy image, the JPEG as it is."""
    made = begun(patient, VLPhotographicImageStorage, "XC")
    made.Laterality = ""
    set_jpeg(made, (source / f"images/derm_isic2017/{name}.jpg").read_bytes())
    yield written(visible_light(made, code("39937001", "SCT", "Skin"), "SKIN"))


def visible_light(made: FileDataset, region: Dataset, body_part: str) -> FileDataset:
    """Add what a visible light image needs (PS3.3 A.32)."""
    set_all(made, {"ImageType": ["ORIGINAL", "PRIMARY"], "PatientOrientation": "", "AcquisitionContextSequence": []})
    set_all(made, {"AnatomicRegionSequence": [region], "BodyPartExamined": body_part, "BurnedInAnnotation": "NO"})
    return made


def skin_nevus(source: Path) -> Iterator[bytes]:
    return photograph(source, Patient(folder="10-skin-nevus", name="SKIN-NEVUS", description="Dermoscopy"), "ISIC_0000023")


def skin_melanoma(source: Path) -> Iterator[bytes]:
    return photograph(source, Patient(folder="11-skin-melanoma", name="SKIN-MELANOMA", description="Dermoscopy"), "ISIC_0001118")


def endoscopy_polyp(source: Path) -> Iterator[bytes]:
    """HyperKvasir, a colon polyp, the JPEG as it is."""
    made = begun(Patient(folder="12-endoscopy-polyp", name="COLON-POLYP", description="Colonoscopy"), VLEndoscopicImageStorage, "ES")
    set_jpeg(made, (source / "images/endo_hyperkvasir/polyps_4b3bb1c4-6740-41d3-a3f8-9c5db26e8b5f.jpg").read_bytes())
    yield written(visible_light(made, code("71854001", "SCT", "Colon"), "COLON"))


def histology(source: Path) -> Iterator[bytes]:
    """A CAMELYON slide at low magnification, 15 tiles: the source's data set with this study's patient, study and UIDs."""
    patient = Patient(folder="13-histology", name="HISTOLOGY", description="Lymph node, H and E")
    made, original = begun(patient, "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"), dcmread(source / "dicom/wsi/camelyon_multiframe.dcm")
    original.remove_private_tags()
    for element in original:
        if element.keyword not in made or element.keyword == "InstanceNumber":
            made.add(element)
    made.SeriesDescription, made.Laterality = "Low magnification", ""
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid(patient.folder, 1, "frame of reference"), "SLIDE_CORNER"
    made.file_meta.TransferSyntaxUID = original.file_meta.TransferSyntaxUID
    yield written(made)


def ultrasound_burnt_in(source: Path) -> Iterator[bytes]:
    """A test image of an ultrasound machine, with the name of a test patient in its pixels; the header denies it."""
    patient = Patient(folder="14-ultrasound-burnt-in-text", name="US-BURNT-IN", description="Ultrasound")
    made = begun(patient, UltrasoundImageStorage, "US")
    take_pixels(made, dcmread(source / "dicom/burnin/deid_us_grey.dcm"))
    set_all(made, {"ImageType": ["ORIGINAL", "PRIMARY"], "PatientOrientation": "", "Laterality": "", "BurnedInAnnotation": "NO"})
    yield written(compressed(made, RLELossless))


def cookies_say_chest(source: Path) -> Iterator[bytes]:
    """A photograph of cookies, made smaller, in colour under a header that says CR CHEST: wrong on purpose."""
    made = begun(Patient(folder="15-cookies-say-chest", name="NOT-A-CHEST", description="Chest PA"), ComputedRadiographyImageStorage, "CR")
    photo = Image.fromarray(dcmread(source / "dicom/ood/cookies.dcm").pixel_array)
    buffer = io.BytesIO()
    photo.resize((1024, 768), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=88, subsampling="4:2:2")
    set_jpeg(made, buffer.getvalue())
    yield written(as_cr(made, ViewPosition="PA"))


def cut_off(source: Path) -> Iterator[bytes]:
    """A chest whose file ends in the middle of its pixels, as after a broken copy: wrong on purpose."""
    made = begun(Patient(folder="16-chest-cut-off", name="CUT-OFF", description="Chest PA", sex="M"), SecondaryCaptureImageStorage, "CR")
    take_pixels(made, dcmread(source / "dicom/cxr/txv_nih_cr_jpeg.dcm"))
    whole = written(as_sc(made, ViewPosition="PA"))
    yield whole[: len(whole) * 6 // 10]


def rt_plan(source: Path) -> Iterator[bytes]:
    """A radiotherapy plan: nothing in it to look at. The source is a phantom's plan with a made-up patient."""
    made = begun(Patient(folder="17-rt-plan", name="RT-PLAN", description="Radiotherapy plan"), "1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN")
    for element in dcmread(source / "dicom/pydicom/rtplan.dcm"):
        if (
            element.keyword
            and element.keyword not in made
            and not element.keyword.startswith(("Patient", "Institution", "Operator", "Physician"))
        ):
            made.add(element)
    made.OperatorsName = ""
    del made.AcquisitionDate, made.AcquisitionTime, made.ContentDate, made.ContentTime, made.InstanceNumber
    yield written(made, ImplicitVRLittleEndian)


def blank_says_eye(source: Path) -> Iterator[bytes]:
    """An empty disc under a header that says CR EYE, as published."""
    made = begun(Patient(folder="18-blank-says-eye", name="BLANK-EYE", description="Eye"), ComputedRadiographyImageStorage, "CR")
    take_pixels(made, dcmread(source / "dicom/odd/medsiglip_encapsulated_cxr.dcm"))
    yield written(as_cr(made, BodyPartExamined="EYE", ViewPosition="", Laterality="L"))


STUDIES = {
    "01-chest-normal-adult": chest_normal_adult,
    "02-chest-normal-child": chest_normal_child,
    "03-chest-effusion-stat": chest_effusion,
    "04-chest-pneumonia-child": chest_pneumonia,
    "05-chest-rotated": chest_rotated,
    "06-chest-wrong-monochrome": chest_wrong_monochrome,
    "07-chest-says-ct": chest_says_ct,
    "08-ct-chest": ct_chest,
    "09-mr-brain": mr_brain,
    "10-skin-nevus": skin_nevus,
    "11-skin-melanoma": skin_melanoma,
    "12-endoscopy-polyp": endoscopy_polyp,
    "13-histology": histology,
    "14-ultrasound-burnt-in-text": ultrasound_burnt_in,
    "15-cookies-say-chest": cookies_say_chest,
    "16-chest-cut-off": cut_off,
    "17-rt-plan": rt_plan,
    "18-blank-says-eye": blank_says_eye,
}


def main(source: Path, target: Path) -> None:
    """Write every study's files as TARGET/FOLDER/NNN.dcm."""
    for folder, build in STUDIES.items():
        (target / folder).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(build(source), start=1):
            (target / folder / f"{number:03d}.dcm").write_bytes(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the source files")
    parser.add_argument("target", type=Path, nargs="?", default=TARGET, help="folder to write the studies to")
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)

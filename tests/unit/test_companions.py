"""The companions of a report: what they show, what they can never say, and that the same result is the same object."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)
from pypdf import PdfReader

from config import Code
from inference.findings import Analysis, FlagLevel, ImageRef, Presence, QualityGrade, Region
from reporting import ENCODERS, ILLUSTRATED, EncodedResult, Picture, PreviousReport, images_to_show
from reporting.attributes import SourceHeader
from reporting.companions.key_objects import KeyObjectTitle
from reporting.companions.lettering import runs, width, wrapped
from reporting.companions.page import Page, page_of
from tests.conformance.sr_documents import (
    FAILED,
    FRONTAL,
    KINDS,
    LATERAL,
    LOCALISED,
    MULTI_FRAME_POSITIVE,
    NOT_ATTEMPTED,
    NOTHING_FOUND,
    PARTIAL,
    POSITIVE,
    PREVIOUS,
    PRODUCER,
    QUALITY_ONLY,
    SHADOW,
    WITHDRAWN,
    analysis,
    encode,
    finding,
    header,
    headers_of,
    shadow_finding,
    verdict,
)

ROOT = Path(__file__).parents[2]
DICOM_COMPANIONS = ("secondary-capture", "encapsulated-pdf", "key-objects-of-interest", "key-objects-quality", "gsps-outline")
HIDING_TITLES = ("113001", "113037", "113038", "113039")  # IHE RAD IOCM: an archive hides what such a document names


def grey_headers(made: Analysis, **changes: object) -> list[Dataset]:
    """The headers of the inputs, as those of grey images with a window."""
    grey = {"PhotometricInterpretation": "MONOCHROME2", "WindowCenter": 2000, "WindowWidth": 4000, **changes}
    headers = headers_of(made)
    for one in headers:
        for keyword, value in grey.items():
            setattr(one, keyword, value)
    return headers


def made(
    kind: str, of: Analysis, *, headers: Sequence[Dataset] | None = None, previous: PreviousReport | None = None
) -> EncodedResult | None:
    if headers is None:
        return _made(kind, of, previous)
    return ENCODERS[kind](of, headers, producer=PRODUCER, previous=previous, companions=(encode(of, previous),))


@cache
def _made(kind: str, of: Analysis, previous: PreviousReport | None) -> EncodedResult | None:
    return ENCODERS[kind](of, grey_headers(of), producer=PRODUCER, previous=previous, companions=(_report(of, previous),))


@cache
def _report(of: Analysis, previous: PreviousReport | None) -> EncodedResult:
    return encode(of, previous)


def read(result: EncodedResult | None) -> Dataset:
    assert result is not None
    return dcmread(io.BytesIO(result.data))


def page(of: Analysis, **changes: object) -> Page:
    return page_of(of, SourceHeader(dataset=header(**changes)), PRODUCER)


def pdf_text(of: Analysis, headers: Sequence[Dataset] | None = None) -> str:
    document = PdfReader(io.BytesIO(read(made("encapsulated-pdf", of, headers=headers)).EncapsulatedDocument))
    return "\n".join(sheet.extract_text() for sheet in document.pages)


def referenced(document: Dataset) -> list[str]:
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in document.ContentSequence if "ReferencedSOPSequence" in item]


def modifier(document: Dataset) -> str:
    named = [item for item in document.ContentSequence if "ConceptNameCodeSequence" in item]
    (found,) = [item for item in named if item.ConceptNameCodeSequence[0].CodeValue == "113011"]
    return str(found.ConceptCodeSequence[0].CodeValue)


def thumbnail(image: ImageRef, *, rows: int, columns: int) -> Picture:
    file = io.BytesIO()
    Image.new("L", (columns // 2, rows // 2), 128).save(file, "PNG")
    return Picture(image=image, png=file.getvalue(), rows=rows, columns=columns)


# What can never be said


def test_no_document_can_hide_an_image():
    assert {title.value.value for title in KeyObjectTitle} == {"113000", "113010"}
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("reporting", "dicom_node") for path in (ROOT / folder).rglob("*.py"))
    assert [code for code in HIDING_TITLES if code in sources] == []


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_no_companion_claims_to_be_verified(kind):
    for of in KINDS.values():
        result = made(kind, of)
        if result is not None:
            document = read(result)
            assert "UNVERIFIED" in document.SeriesDescription
            assert document.get("VerificationFlag", "UNVERIFIED") == "UNVERIFIED"
            assert document.Modality in {"KO", "OT", "DOC", "PR"}


# The same result is the same object


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_the_same_analysis_gives_the_same_bytes(kind):
    first, second = (made(kind, LOCALISED, headers=grey_headers(LOCALISED)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.data == second.data


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_other_content_never_has_a_known_uid(kind):
    both = tuple(replace(one, presence=Presence.PRESENT) for one in LOCALISED.findings)
    changed = replace(LOCALISED, findings=both, quality=(verdict(LATERAL),))
    assert read(made(kind, LOCALISED)).SOPInstanceUID != read(made(kind, changed)).SOPInstanceUID


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_a_revision_is_the_next_instance_of_the_same_series(kind):
    document = read(made(kind, LOCALISED, previous=PREVIOUS))
    assert (document.SeriesInstanceUID, document.InstanceNumber) == (PREVIOUS.series_instance_uid, PREVIOUS.instance_number + 1)


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_what_is_withdrawn_is_said_by_every_companion_that_was_sent(kind):
    result = made(kind, WITHDRAWN, previous=PREVIOUS)
    document = read(result)
    assert document.InstanceNumber == 2
    if kind == "encapsulated-pdf":
        text = PdfReader(io.BytesIO(document.EncapsulatedDocument)).pages[0].extract_text()
        assert "WITHDRAWN" in text
        assert "images of another patient" in text
    elif kind != "secondary-capture":
        assert "images of another patient" in document.to_json()


@pytest.mark.parametrize("kind", DICOM_COMPANIONS)
def test_the_patient_of_a_companion_is_that_of_the_images(kind):
    document = read(made(kind, LOCALISED))
    assert (document.PatientName, document.PatientID, document.IssuerOfPatientID) == ("CANARY^PHI", "CANARY-ID", "TESTHOSP")
    assert document.StudyInstanceUID == LOCALISED.study_instance_uid


# The page


NEVER_NEGATIVE = {"failed": FAILED, "not attempted": NOT_ATTEMPTED, "shadow": SHADOW, "quality only": QUALITY_ONLY, "withdrawn": WITHDRAWN}


@pytest.mark.parametrize("name", NEVER_NEGATIVE)
def test_a_page_without_an_answer_does_not_look_negative(name):
    said = page(NEVER_NEGATIVE[name])
    assert "above threshold" not in said.headline
    assert re.search(r"not a negative|Nothing is asserted|says nothing about disease|withdrawn", said.explanation)


def test_a_page_says_first_what_was_found_and_how_urgent_it_is():
    said = page(POSITIVE)
    assert (said.flag, said.headline) == ("EMERGENCY REVIEW SUGGESTED", "Present: Pneumothorax")
    assert [(row.name, row.presence.value, row.number, row.remark) for row in said.rows] == [
        ("Pneumothorax", "present", "87.3 %", "threshold 42 %"),
        ("Pleural effusion", "undetermined", "41 %", "threshold 42 %"),
    ]


def test_a_page_of_absent_findings_says_that_disease_is_not_excluded():
    said = page(NOTHING_FOUND)
    assert said.headline == "No finding above threshold"
    assert "does not exclude disease" in said.explanation
    assert said.flag == ""


def test_a_score_without_calibration_is_no_percentage_and_has_no_threshold():
    rows = page(SHADOW).rows
    assert [(row.number, row.remark, row.limit) for row in rows] == [
        ("0.6124", "uncalibrated score", None),
        ("0.2000", "uncalibrated score", None),
    ]


def test_a_page_names_the_build_of_the_model_that_answered():
    facts = dict(page(POSITIVE).facts)
    assert facts["Model"] == "zero-shot-cxr 2026.1, Model Makers"
    assert facts["Weights"] == "sha256 0f3c9b1f0f3c"
    assert facts["Prompt set"] == "cxr-findings, sha256 a1b2c3d4a1b2"
    assert facts["Calibration"] == "platt-2026-01"
    assert dict(page(SHADOW).facts)["Calibration"] == "none for this site (shadow)"


def test_a_page_says_what_was_not_analysed_and_why():
    assert page(PARTIAL).missing == (
        "Gate disagrees (1 image): header says CHEST, pixels look like HAND",
        "Left out on purpose (1 instance): localizer",
    )


def test_a_page_says_that_a_flag_was_held_back():
    held = replace(POSITIVE, flags_held_back=("Pneumothorax: the budget of this hour is used up",))
    assert "No worklist flag was raised: Pneumothorax: the budget of this hour is used up" in page(held).missing


def test_several_images_of_one_finding_are_one_row_with_the_clearest():
    both = analysis(
        inputs=(FRONTAL, LATERAL),
        findings=(finding(presence=Presence.ABSENT, score=0.1), finding(presence=Presence.PRESENT, score=0.8, image=LATERAL)),
    )
    (row,) = page(both).rows
    assert (row.number, "1 of 2 images" in row.detail) == ("80 %", True)


NAMES = {
    "as it is": ("CANARY^PHI^Q^Dr.^Jr.", "CANARY, PHI Q Dr. Jr."),
    "all groups that can be drawn": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎 / やまだ, たろう)"),
    "Hangul alone": ("홍^길동", "홍, 길동"),
    "Cyrillic": ("Люкс^И", "Люкс, И"),
    "one group in a script without letters here": ("Somchai^Jaidee=สมชาย^ใจดี", "Somchai, Jaidee"),
    "no letters for it at all": ("สมชาย^ใจดี", "(name in a script that this page cannot draw)"),
    "none": ("", "(no patient name)"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_patient_s_name_is_shown_as_the_header_has_it(name):
    written, shown = NAMES[name]
    assert page(POSITIVE, SpecificCharacterSet="ISO_IR 192", PatientName=written).patient == shown


def test_names_from_right_to_left_are_drawn_so_that_they_read_from_the_right():
    (_, hebrew), *_ = runs("כהן, שלום")
    assert hebrew == "םולש ,ןהכ"
    (_, arabic), *_ = runs("سلام 12")
    assert arabic == "12 \ufee1\ufefc\ufeb3"  # meem alone, lam-alef joined from the right, seen at the beginning


def test_a_line_never_leaves_its_room():
    text = "Wolfeschlegelsteinhausenbergerdorff " * 3 + "X" * 400
    lines = wrapped(text, 19, 300)
    assert max(width(line, 19) for line in lines) <= 300
    assert "".join("".join(lines).split()) == "".join(text.split())


# The Secondary Capture


def test_a_secondary_capture_is_one_image_of_1024_columns_that_says_that_the_patient_is_burned_in():
    image = read(made("secondary-capture", POSITIVE))
    assert image.SOPClassUID == SecondaryCaptureImageStorage
    assert (image.Columns, image.Rows, image.BurnedInAnnotation, image.ConversionType) == (1024, 1024, "YES", "WSD")
    assert image.pixel_array.shape == (1024, 1024, 3)
    assert image.pixel_array.mean() < 60  # a bright page would blind whoever reads in the dark


def red(image: Dataset) -> int:
    pixels = image.pixel_array.astype(int)
    return int(((pixels[..., 0] > 180) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)).sum())


def test_red_is_on_the_page_if_and_only_if_something_is_present():
    assert red(read(made("secondary-capture", POSITIVE))) > 1000
    assert red(read(made("secondary-capture", NOTHING_FOUND))) == 0
    assert red(read(made("secondary-capture", SHADOW))) == 0


def test_findings_that_do_not_fit_on_one_page_go_on_on_the_next():
    many = replace(SHADOW, findings=tuple(shadow_finding(f"finding {number}", score=number / 100) for number in range(60)))
    image = read(made("secondary-capture", many))
    assert image.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert image.NumberOfFrames == len(image.PageNumberVector) == image.pixel_array.shape[0] >= 2
    text = pdf_text(many)
    assert text.count("uncalibrated") + text.count("undetermined") >= 60
    assert "page 1 of" in text


def test_a_reason_of_any_length_is_shown_to_its_end():
    long = replace(FAILED, abstentions=(replace(FAILED.abstentions[0], detail=" ".join(f"word{number}" for number in range(1500))),))
    assert "word1499" in pdf_text(long)
    image = read(made("secondary-capture", long))
    assert image.NumberOfFrames >= 2


def test_a_headline_of_many_findings_names_the_first_and_counts_the_others():
    concepts = [Code(value=str(number), scheme="SCT", meaning=f"Finding {number}") for number in range(9)]
    many = tuple(finding(one.value, presence=Presence.PRESENT, score=0.9, concept=one) for one in concepts)
    said = page(analysis(findings=many))
    assert said.headline == "Present: Finding 0, Finding 1, Finding 2, Finding 3 and 5 more"
    assert len(said.rows) == 9


def test_the_pictures_of_what_is_present_stand_on_the_page_with_its_outline():
    shown = images_to_show(LOCALISED)
    assert shown == (FRONTAL, LATERAL)
    pictures = [thumbnail(image, rows=512, columns=448) for image in shown]
    encode_page = ILLUSTRATED["secondary-capture"]
    with_pictures = read(encode_page(LOCALISED, headers_of(LOCALISED), producer=PRODUCER, previous=None, pictures=pictures))
    pixels = with_pictures.pixel_array
    outline = (pixels == np.array([255, 176, 59])).all(axis=-1)
    assert outline.sum() > 100
    assert (pixels == 128).all(axis=-1).sum() > 10_000  # the picture itself


# Key objects


def test_the_images_of_what_is_present_are_key_objects():
    document = read(made("key-objects-of-interest", POSITIVE))
    assert document.SOPClassUID == KeyObjectSelectionDocumentStorage
    assert document.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    assert referenced(document) == [FRONTAL.sop_instance_uid]
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in evidence] == [FRONTAL.sop_instance_uid]


@pytest.mark.parametrize("of", [NOTHING_FOUND, SHADOW, FAILED, NOT_ATTEMPTED], ids=["nothing found", "shadow", "failed", "not attempted"])
def test_no_image_is_of_interest_if_nothing_is_present(of):
    assert made("key-objects-of-interest", of) is None


def test_a_frame_of_interest_is_named():
    (item,) = [
        item for item in read(made("key-objects-of-interest", MULTI_FRAME_POSITIVE)).ContentSequence if "ReferencedSOPSequence" in item
    ]
    assert item.ReferencedSOPSequence[0].ReferencedFrameNumber == 7


def test_a_quality_issue_names_its_worst_defect():
    blurred = replace(verdict().code, value="111210", meaning="Motion blur")
    of = analysis(inputs=(FRONTAL, LATERAL), quality=(verdict(), verdict(LATERAL, grade=QualityGrade.NON_DIAGNOSTIC, code=blurred)))
    document = read(made("key-objects-quality", of))
    assert document.ConceptNameCodeSequence[0].CodeMeaning == "Quality Issue"
    assert modifier(document) == "111210"
    assert set(referenced(document)) == {FRONTAL.sop_instance_uid, LATERAL.sop_instance_uid}


def test_a_defect_without_a_code_for_key_objects_is_another_failure():
    incomplete = replace(verdict().code, value="130576", meaning="Anatomy coverage incomplete")
    document = read(made("key-objects-quality", analysis(quality=(verdict(code=incomplete),))))
    assert modifier(document) == "111220"
    assert "Anatomy coverage incomplete" in document.to_json()


def test_good_images_are_no_quality_issue():
    assert made("key-objects-quality", NOTHING_FOUND) is None


def test_a_selection_that_does_not_stand_any_more_names_the_report_and_no_image():
    document = read(made("key-objects-of-interest", NOTHING_FOUND, previous=PREVIOUS))
    assert referenced(document) == [encode(NOTHING_FOUND, PREVIOUS).sop_instance_uid]
    assert [item.ValueType for item in document.ContentSequence if "ReferencedSOPSequence" in item] == ["COMPOSITE"]
    assert "does not stand" in document.to_json()


# The outline


def annotations(document: Dataset) -> Mapping[str, list[Dataset]]:
    found: dict[str, list[Dataset]] = {}
    for item in document.GraphicAnnotationSequence:
        found.setdefault(item.ReferencedImageSequence[0].ReferencedSOPInstanceUID, []).append(item)
    return found


def test_an_outline_lies_where_the_region_lies():
    document = read(made("gsps-outline", LOCALISED))
    assert document.SOPClassUID == GrayscaleSoftcopyPresentationStateStorage
    boxes = annotations(document)[FRONTAL.sop_instance_uid]
    assert boxes[0].GraphicObjectSequence[0].GraphicData == [300, 80, 420.5, 80, 420.5, 200, 300, 200, 300, 80]
    assert boxes[0].GraphicObjectSequence[0].GraphicAnnotationUnits == "PIXEL"
    assert boxes[0].TextObjectSequence[0].UnformattedTextValue == "AI, unverified: Pneumothorax 87.3 %"


def test_only_what_is_present_is_outlined():
    assert set(annotations(read(made("gsps-outline", LOCALISED)))) == {FRONTAL.sop_instance_uid}
    assert made("gsps-outline", POSITIVE) is None
    undetermined = replace(LOCALISED, findings=LOCALISED.findings[1:])
    assert made("gsps-outline", undetermined) is None


def test_a_label_stays_inside_the_image():
    at_the_top = replace(POSITIVE.findings[0], regions=(Region.box(FRONTAL, left=0, top=0, right=448, bottom=512),))
    document = read(made("gsps-outline", replace(POSITIVE, findings=(at_the_top,))))
    label = document.GraphicAnnotationSequence[0].TextObjectSequence[0]
    assert 0 <= label.BoundingBoxTopLeftHandCorner[1] < label.BoundingBoxBottomRightHandCorner[1] <= 512


def test_a_grey_image_is_shown_as_its_own_header_says():
    inverted = grey_headers(LOCALISED, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-1024, RescaleType="HU")
    document = read(made("gsps-outline", LOCALISED, headers=inverted))
    assert (document.PresentationLUTShape, document.RescaleSlope, document.RescaleIntercept) == ("INVERSE", 2, -1024)
    window = document.SoftcopyVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (2000, 4000)


def test_a_colour_image_gets_no_grey_presentation_state():
    assert made("gsps-outline", LOCALISED, headers=grey_headers(LOCALISED, PhotometricInterpretation="RGB")) is None


# The PDF


def test_a_pdf_has_the_words_of_the_page_as_text():
    text = pdf_text(POSITIVE)
    for words in ("UNVERIFIED AI RESULT", "CANARY, PHI", "EMERGENCY REVIEW SUGGESTED", "Pneumothorax", "87.3 %", "sha256 0f3c9b1f0f3c"):
        assert words in text


def test_a_pdf_brings_its_fonts_and_does_nothing():
    japanese = [header(SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎")]
    document = read(made("encapsulated-pdf", FAILED, headers=japanese))
    assert (document.SOPClassUID, document.MIMETypeOfEncapsulatedDocument) == (EncapsulatedPDFStorage, "application/pdf")
    pdf = PdfReader(io.BytesIO(document.EncapsulatedDocument))
    fonts = [font.get_object() for sheet in pdf.pages for font in sheet["/Resources"]["/Font"].values()]  # type: ignore[index]
    assert fonts
    assert all("/FontFile2" in font["/FontDescriptor"] for font in fonts)
    assert b"/JavaScript" not in document.EncapsulatedDocument
    assert b"/URI" not in document.EncapsulatedDocument
    assert "山田" in pdf.pages[0].extract_text()


def test_a_flag_that_is_not_raised_is_not_on_the_page():
    lowered = replace(POSITIVE, findings=tuple(replace(one, flag=FlagLevel.NONE) for one in POSITIVE.findings))
    assert page(lowered).flag == ""
    assert "REVIEW SUGGESTED" not in pdf_text(lowered)

"""The reports that the conformance tests look at: one of each kind, and the headers that reports must survive."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from config import Code
from inference.findings import (
    Abstention,
    AbstentionReason,
    Analysis,
    Exclusion,
    Finding,
    FlagLevel,
    ImageKind,
    ImageRef,
    Outcome,
    Presence,
    Provenance,
    QualityGrade,
    QualityVerdict,
    Region,
)
from reporting import EncodedResult, PreviousReport, Producer, encode_structured_report

STUDY = "1.2.276.0.7230010.3.1.2.1"
SERIES = "1.2.276.0.7230010.3.1.3.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
BASIC_SR = "1.2.840.10008.5.1.4.1.1.88.11"
FRONTAL = ImageRef(sop_class_uid=DX, sop_instance_uid="1.2.276.0.7230010.3.1.4.1", frame_number=1)
LATERAL = ImageRef(sop_class_uid=DX, sop_instance_uid="1.2.276.0.7230010.3.1.4.2", frame_number=1)
ANALYSED_AT = datetime(2026, 1, 5, 10, 20, tzinfo=UTC)
PRODUCER = Producer(
    manufacturer="dicom-node project",
    model_name="dicom-node",
    software_version="0.1.0",
    serial_number="7",
    ae_title="DICOM-NODE",
    institution="Test Hospital",
)
PNEUMOTHORAX = Code(value="36118008", scheme="SCT", meaning="Pneumothorax")
EFFUSION = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")
PLEURA = Code(value="3120008", scheme="SCT", meaning="Pleural structure")
UNDER_EXPOSED = Code(value="111211", scheme="DCM", meaning="Under exposed")
POSITIONING = Code(value="111209", scheme="DCM", meaning="Positioning")
POOR_SNR = Code(value="130578", scheme="DCM", meaning="Poor SNR")
INCOMPLETE = Code(value="130576", scheme="DCM", meaning="Anatomy coverage incomplete")
OTHER_FAILURE = Code(value="111220", scheme="DCM", meaning="Other failure")


def header(image: ImageRef = FRONTAL, **changes: object) -> Dataset:
    """Return a clean header of an image of the study; a change to None removes the attribute."""
    dataset = Dataset()
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": image.sop_class_uid,
        "SOPInstanceUID": image.sop_instance_uid,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "StudyDate": "20260105",
        "StudyTime": "101500",
        "AcquisitionDate": "20260105",
        "AccessionNumber": "CANARY-ACC",
        "StudyID": "S1",
        "StudyDescription": "XR CHEST 2 VIEWS",
        "ReferringPhysicianName": "CANARY^REFERRER",
        "PatientName": "CANARY^PHI",
        "PatientID": "CANARY-ID",
        "IssuerOfPatientID": "TESTHOSP",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "Modality": "DX",
        "Manufacturer": "Synthetic X-Ray",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [0.7, 0.7],
        "Rows": 512,
        "Columns": 448,
    }
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def coded(code: Code | None = None, **values: str) -> Dataset:
    item = Dataset()
    if code is not None:
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def finding(label: str = "pneumothorax", *, presence: Presence, score: float, image: ImageRef = FRONTAL, **changes: object) -> Finding:
    """Return a calibrated finding; a Present one is flagged as an emergency."""
    made = Finding(
        label=label,
        concept=PNEUMOTHORAX if label == "pneumothorax" else EFFUSION,
        site=PLEURA,
        presence=presence,
        score=score,
        calibrated=True,
        threshold=0.42,
        threshold_source="400 local radiographs",
        flag=FlagLevel.EMERGENCY if presence is Presence.PRESENT else FlagLevel.NONE,
        image=image,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests' own changes


def shadow_finding(label: str = "pneumothorax", *, score: float, image: ImageRef = FRONTAL) -> Finding:
    return finding(label, presence=Presence.UNDETERMINED, score=score, image=image, calibrated=False, threshold=None, threshold_source="")


def verdict(image: ImageRef = FRONTAL, *, grade: QualityGrade = QualityGrade.LIMITED, code: Code = UNDER_EXPOSED) -> QualityVerdict:
    return QualityVerdict(
        check="exposure",
        image=image,
        measured=0.08,
        unit="fraction",
        threshold=0.1,
        threshold_source="100 radiographs",
        grade=grade,
        code=code,
        sentence="The median of the lung field is low.",
    )


def asked(
    label: str, code: Code, score: float, *, image: ImageRef = FRONTAL, grade: QualityGrade = QualityGrade.DIAGNOSTIC
) -> QualityVerdict:
    """A verdict of the model on one fault."""
    return QualityVerdict(
        check=f"prompt:{label}",
        image=image,
        measured=score,
        unit="{score}",
        threshold=0.93,
        threshold_source="1 % of 900 clean radiographs",
        grade=grade,
        code=code,
        sentence=f"The image looks {label}.",
    )


PROVENANCE = Provenance(
    model="zero-shot-cxr",
    version="2026.1",
    manufacturer="Model Makers",
    weights_digest="0f3c9b1f" * 8,
    prompt_set="cxr-findings",
    prompt_set_digest="a1b2c3d4" * 8,
    calibration_id="platt-2026-01",
    intended_use="Ordering of a reading list of adult frontal chest radiographs.",
)


def analysis(**changes: object) -> Analysis:
    made = Analysis(
        study_instance_uid=STUDY,
        revision=1,
        route="chest-radiograph",
        outcome=Outcome.SUCCEEDED,
        analysed_at=ANALYSED_AT,
        inputs=(FRONTAL,),
        provenance=PROVENANCE,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests' own changes


POSITIVE = analysis(
    inputs=(FRONTAL, LATERAL),
    findings=(
        finding(presence=Presence.PRESENT, score=0.873),
        finding("effusion", presence=Presence.UNDETERMINED, score=0.41, image=LATERAL),
    ),
    quality=(verdict(), verdict(code=POSITIONING)),
)
NOTHING_FOUND = analysis(
    findings=(finding(presence=Presence.ABSENT, score=0.03), finding("effusion", presence=Presence.ABSENT, score=0.06)),
    quality=(verdict(grade=QualityGrade.DIAGNOSTIC),),
)
SHADOW = analysis(
    provenance=replace(PROVENANCE, calibration_id=None),
    findings=(shadow_finding(score=0.61237), shadow_finding("effusion", score=0.2)),
    quality=(verdict(grade=QualityGrade.DIAGNOSTIC),),
)
PARTIAL = analysis(
    outcome=Outcome.PARTIAL,
    inputs=(FRONTAL, LATERAL),
    findings=(finding(presence=Presence.PRESENT, score=0.873),),
    abstentions=(Abstention(reason=AbstentionReason.GATE_DISAGREES, detail="header says CHEST, pixels look like HAND", images=(LATERAL,)),),
    excluded=(Exclusion(image=LATERAL, reason="localizer"),),
)
OF_THE_PATIENT = analysis(
    inputs=(FRONTAL, LATERAL),
    provenance=replace(PROVENANCE, calibration_id=None),
    findings=(replace(shadow_finding(score=0.61237), others=(LATERAL,)), shadow_finding("effusion", score=0.2, image=LATERAL)),
)
FAILED = analysis(
    outcome=Outcome.FAILED, abstentions=(Abstention(reason=AbstentionReason.MODEL_FAILED, detail="out of memory after 5 attempts"),)
)
NOT_ATTEMPTED = analysis(
    outcome=Outcome.NOT_ATTEMPTED,
    provenance=None,
    inputs=(ImageRef(sop_class_uid=BASIC_SR, sop_instance_uid="1.2.276.0.7230010.3.1.4.9"),),
    abstentions=(Abstention(reason=AbstentionReason.NO_ROUTE, detail="no route takes SR documents"),),
)
QUALITY_ONLY = analysis(provenance=None, quality=(verdict(),))
FAULTS = analysis(
    outcome=Outcome.PARTIAL,
    inputs=(FRONTAL, LATERAL),
    provenance=replace(PROVENANCE, calibration_id=None),
    quality=(
        verdict(),
        verdict(LATERAL, grade=QualityGrade.DIAGNOSTIC),
        asked("under-exposed", UNDER_EXPOSED, 0.41),
        asked("rotated-90", POSITIONING, 0.9812, grade=QualityGrade.LIMITED),
        asked("noisy", POOR_SNR, 0.97, image=LATERAL, grade=QualityGrade.LIMITED),
        asked("cropped", INCOMPLETE, 0.96, image=LATERAL, grade=QualityGrade.LIMITED),
        asked("not-a-medical-image", OTHER_FAILURE, 0.95, image=LATERAL, grade=QualityGrade.NON_DIAGNOSTIC),
    ),
    kinds=(
        ImageKind(kind="CHEST RADIOGRAPH", probability=0.97, expected=True, images=(FRONTAL,)),
        ImageKind(kind="CHEST RADIOGRAPH", probability=0.72, expected=True, images=(LATERAL,)),
    ),
    abstentions=(
        Abstention(
            reason=AbstentionReason.QUALITY, detail="the image looks rotated-90: no findings were looked for", images=(FRONTAL, LATERAL)
        ),
    ),
)
MULTI_FRAME_IMAGE = ImageRef(sop_class_uid=MULTI_FRAME, sop_instance_uid="1.2.276.0.7230010.3.1.4.8", frame_number=7)
MULTI_FRAME_POSITIVE = analysis(
    inputs=(replace(MULTI_FRAME_IMAGE, frame_number=None),),
    findings=(finding(presence=Presence.PRESENT, score=0.9, image=MULTI_FRAME_IMAGE),),
    quality=(verdict(replace(MULTI_FRAME_IMAGE, frame_number=8)),),
)
PRIVATE_IMAGE = ImageRef(sop_class_uid="1.2.276.0.7230010.3.9.1", sop_instance_uid="1.2.276.0.7230010.3.1.4.7")
PRIVATE_CLASS = analysis(inputs=(PRIVATE_IMAGE,), findings=(finding(presence=Presence.PRESENT, score=0.9, image=PRIVATE_IMAGE),))
LOCALISED = replace(
    POSITIVE,
    findings=(
        replace(
            POSITIVE.findings[0],
            regions=(
                Region.box(FRONTAL, left=300, top=80, right=420.5, bottom=200),
                Region(image=FRONTAL, points=((10, 10), (60, 12.25), (35, 70))),
            ),
        ),
        replace(POSITIVE.findings[1], regions=(Region.box(LATERAL, left=0, top=0, right=448, bottom=512),)),
    ),
)
WITHDRAWN = analysis(outcome=Outcome.NOT_ATTEMPTED, revision=2, withdrawn="images of another patient")
KINDS: Mapping[str, Analysis] = {
    "positive": POSITIVE,
    "nothing found": NOTHING_FOUND,
    "shadow": SHADOW,
    "of the patient": OF_THE_PATIENT,
    "partial": PARTIAL,
    "failed": FAILED,
    "not attempted": NOT_ATTEMPTED,
    "quality only": QUALITY_ONLY,
    "faults": FAULTS,
    "multi-frame": MULTI_FRAME_POSITIVE,
    "private class": PRIVATE_CLASS,
    "localised": LOCALISED,
    "withdrawn": WITHDRAWN,
}
PREVIOUS = PreviousReport(
    study_instance_uid=STUDY,
    series_instance_uid="1.2.276.0.7230010.3.1.3.99",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
    sop_instance_uid="1.2.276.0.7230010.3.1.4.99",
    instance_number=1,
)
"""Some report that was sent before: a withdrawal always has one."""


FRAMES_OF: Mapping[str, Mapping[str, object]] = {
    MULTI_FRAME: {"NumberOfFrames": 20, "Modality": "US"},
    BASIC_SR: {"Modality": "SR", "Rows": None, "Columns": None},
}
"""What else the header of an instance of some classes says."""


def headers_of(made: Analysis) -> list[Dataset]:
    """Return a clean header of every input."""
    return [header(image, **FRAMES_OF.get(image.sop_class_uid, {})) for image in made.inputs]


def predecessor(made: Analysis) -> PreviousReport | None:
    return PREVIOUS if made.withdrawn is not None else None


def encode(made: Analysis, previous: PreviousReport | None = None) -> EncodedResult:
    return encode_structured_report(made, headers_of(made), producer=PRODUCER, previous=previous)


_MISSING = (
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("ReferringPhysicianName", "SpecificCharacterSet", "Manufacturer", "ImagerPixelSpacing", "PatientOrientation", "ViewPosition"),
    *("AcquisitionDate", "StudyDescription", "IssuerOfPatientID", "Modality", "Rows"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyHeader:
    """A header as it is met in the field. `faithful` names the attributes whose fault is identity, and therefore kept."""

    dataset: Dataset
    faithful: tuple[str, ...] = ()


def _raw(keyword_tag: str, vr: str, value: bytes, **changes: object) -> Dataset:
    """Return a header with one value as raw bytes, as it comes from a file."""
    dataset = header(**changes)
    tag = Tag(keyword_tag)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


def _minimal() -> Dataset:
    keep = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns"}
    return header(**{element.keyword: None for element in header() if element.keyword not in keep})


def _japanese() -> Dataset:
    name = b"Yamada^Tarou=" + b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    return _raw("PatientName", "PN", name, SpecificCharacterSet=["", "ISO 2022 IR 87"])


def dirty_headers() -> dict[str, DirtyHeader]:
    """Return the headers by name: what is missing, empty, wrong or oddly written in them."""
    made = {f"no {keyword}": header(**{keyword: None}) for keyword in _MISSING}
    made |= {f"empty {keyword}": header(**{keyword: ""}) for keyword in ("PatientOrientation", "PatientBirthDate", "StudyDate")}
    made |= {
        "date as free text": _raw("PatientBirthDate", "DA", b"in 1960 "),
        "date of ACR-NEMA": _raw("StudyDate", "DA", b"2026.01.05"),
        "name without caret": header(PatientName="CANARY PHI"),
        "sex unknown": header(PatientSex="U"),
        "sex X": header(PatientSex="X"),
        "umlauts in Latin-1": _raw("PatientName", "PN", "CANÄRY^PHÏ".encode("latin-1")),
        "umlauts in UTF-8": _raw("PatientName", "PN", "CANÄRY^PHÏ".encode(), SpecificCharacterSet="ISO_IR 192"),
        "Cyrillic": _raw("PatientName", "PN", "\u041b\u044e\u043a\u0441^\u0418".encode("iso8859_5"), SpecificCharacterSet="ISO_IR 144"),
        "Japanese with three groups": _japanese(),
        "unknown character set": _raw("SpecificCharacterSet", "CS", b"KLINGON "),
        "bytes outside the character set": _raw("PatientName", "PN", b"\xff\xfe\x1b$Z^\x81", SpecificCharacterSet="ISO 2022 IR 87"),
        "minimal": _minimal(),
        "clinical trial without site": header(
            ClinicalTrialSponsorName="Sponsor", ClinicalTrialProtocolID="P1", ClinicalTrialSubjectID="T1"
        ),
        "clinical trial without subject": header(ClinicalTrialSponsorName="Sponsor", ClinicalTrialProtocolID="P1"),
        "de-identified without method": header(PatientIdentityRemoved="YES"),
        "referenced study without class": header(ReferencedStudySequence=[coded(ReferencedSOPInstanceUID="1.2.3")]),
        "empty procedure code": header(ProcedureCodeSequence=[]),
        "procedure code without meaning": header(ProcedureCodeSequence=[coded(CodeValue="X", CodingSchemeDesignator="99X")]),
        "request without codes": header(RequestAttributesSequence=[coded(RequestedProcedureID="RP1")]),
        "sequence of garbage": _raw("RequestAttributesSequence", "SQ", b"\xfe\xff\x00\xe0\x10\x00\x00\x00garbage"),
        "empty items": header(RequestAttributesSequence=Sequence([Dataset()]), IssuerOfAccessionNumberSequence=[Dataset()]),
        "description of 100 characters": header(StudyDescription="X" * 100),
        "numbers that are none": _raw("ImagerPixelSpacing", "DS", b"1e400\\abc "),
        "rows of three bytes": _raw("Rows", "US", b"\x00\x01\x02"),
    }
    long = {
        "patient ID of 70 characters": DirtyHeader(dataset=header(PatientID="I" * 70), faithful=("PatientID",)),
        "accession number of 20": DirtyHeader(dataset=header(AccessionNumber="A" * 20), faithful=("AccessionNumber",)),
    }
    return {name: DirtyHeader(dataset=dataset) for name, dataset in made.items()} | long


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterSet:
    """A Specific Character Set with a name as it is written in it, and as it reads."""

    terms: tuple[str, ...]
    name: bytes
    reads: str

    @property
    def dataset(self) -> Dataset:
        """A header in this character set: the name, and the family name as identifier and as its issuer."""
        raw = self.name.partition(b"^")[0]
        made = _raw("PatientName", "PN", self.name, SpecificCharacterSet=list(self.terms))
        for keyword in ("PatientID", "IssuerOfPatientID"):
            made._dict[Tag(keyword)] = RawDataElement(Tag(keyword), "LO", len(raw), raw, 0, False, True)
        return made


def _written(terms: str, name: str, codec: str) -> CharacterSet:
    return CharacterSet(terms=(terms,), name=name.encode(codec), reads=name)


_KANJI = b"\x1b$B;3ED\x1b(%b^\x1b$BB@O:\x1b(%b=\x1b$B$d$^$@\x1b(%b^\x1b$B$?$m$&\x1b(%b"
CHARACTER_SETS: Mapping[str, CharacterSet] = {  # those with code extensions are the examples of PS3.5 annexes H, I and K
    "Latin-1": _written("ISO_IR 100", "CANÄRY^Rüdiger", "latin-1"),
    "Latin-2": _written("ISO_IR 101", "Wałęsa^Łukasz", "iso8859_2"),
    "Latin-3": _written("ISO_IR 109", "Ĉapelo^Ĝis", "iso8859_3"),
    "Latin-4": _written("ISO_IR 110", "Ķēniņš^Ģirts", "iso8859_4"),
    "Latin-5": _written("ISO_IR 148", "Çavuşoğlu^İnci", "iso8859_9"),
    "Latin-9": _written("ISO_IR 203", "Œuvre^Žan", "iso8859_15"),
    "Cyrillic": _written("ISO_IR 144", "Люк^Филипп", "iso8859_5"),
    "Arabic": _written("ISO_IR 127", "قباني^لنزار", "iso8859_6"),
    "Greek": _written("ISO_IR 126", "Διονυσιος^Νικος", "iso8859_7"),
    "Hebrew": _written("ISO_IR 138", "שרון^דבורה", "iso8859_8"),
    "Thai": _written("ISO_IR 166", "นามสกุล^ชื่อ", "tis_620"),
    "half-width katakana": _written("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "shift_jis"),
    "UTF-8": _written("ISO_IR 192", "CANÄRY^山田=王^小东", "utf-8"),
    "GB18030": _written("GB18030", "Wang^XiaoDong=王^小东", "gb18030"),
    "GBK": _written("GBK", "Wang^XiaoDong=王^小东", "gbk"),
    "kanji": CharacterSet(
        terms=("", "ISO 2022 IR 87"), name=b"Yamada^Tarou=" + _KANJI % ((b"B",) * 4), reads="Yamada^Tarou=山田^太郎=やまだ^たろう"
    ),
    "katakana and kanji": CharacterSet(
        terms=("ISO 2022 IR 13", "ISO 2022 IR 87"),
        name=b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + _KANJI % ((b"J",) * 4),
        reads="ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "kanji with the byte of a delimiter": CharacterSet(
        terms=("", "ISO 2022 IR 87"), name=b"Sato^Hideo=\x1b$B:4F#\x1b(B^\x1b$B=(M:\x1b(B", reads="Sato^Hideo=佐藤^秀雄"
    ),
    "Latin and Cyrillic": CharacterSet(
        terms=("ISO 2022 IR 100", "ISO 2022 IR 144"), name=b"\xc4ne^\x1b-L\xbb\xee\xda^\xc4", reads="Äne^Люк^Ä"
    ),
    "Korean": CharacterSet(
        terms=("", "ISO 2022 IR 149"),
        name=b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        reads="Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "simplified Chinese": CharacterSet(
        terms=("", "ISO 2022 IR 58"),
        name=b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        reads="Zhang^XiaoDong=张^小东",  # trailing null groups may be left out, PS3.5 6.2.1
    ),
}

"""Every code that our reports use. Values and meanings: PS3.16 and the schemes' own tables; context groups are named beside them.

Codes marked "local" are in no table of the pydicom release that the tests compare with; they were looked up one by one.
"""

from collections.abc import Mapping

from config import Code
from inference.findings import FlagLevel, Outcome, Presence, QualityGrade


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


def _ucum(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="UCUM", meaning=meaning)


# TID 1500 Measurement Report and TID 1204 Language
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")  # CID 7021
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code(value="en-US", scheme="RFC5646", meaning="English (United States)")  # local
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")  # CID 100
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
QUALITATIVE_EVALUATIONS = Code(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")  # local; TID 1500 row 12

# TID 1002, 1004 Observer Context
OBSERVER_TYPE = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")  # CID 270
DEVICE_OBSERVER_UID = _dcm("121012", "Device Observer UID")
DEVICE_OBSERVER_NAME = _dcm("121013", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL_NAME = _dcm("121015", "Device Observer Model Name")
DEVICE_OBSERVER_SERIAL_NUMBER = _dcm("121016", "Device Observer Serial Number")

# TID 1600, 1602 Image Library
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
SOURCE = _sct("260753009", "Source")
MODALITY = _dcm("121139", "Modality")
IMAGE_VIEW = _dcm("111031", "Image View")
PATIENT_ORIENTATION_ROW = _dcm("111044", "Patient Orientation Row")
PATIENT_ORIENTATION_COLUMN = _dcm("111043", "Patient Orientation Column")
HORIZONTAL_PIXEL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
PIXEL_DATA_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = _dcm("110911", "Pixel Data Columns")

# TID 1501 Measurement and Qualitative Evaluation Group
TRACKING_IDENTIFIER = _dcm("112039", "Tracking Identifier")
TRACKING_UNIQUE_IDENTIFIER = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
FINDING_SITE = _sct("363698007", "Finding Site")
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
CERTAINTY_OF_FINDING = _dcm("111012", "Certainty of Finding")  # a calibrated probability, and nothing else
SCORE = _sct("246262008", "Score")  # any other number that a model gave
THRESHOLD_VALUE = _dcm("122411", "Threshold Value")

# TID 1410 Planar ROI
IMAGE_REGION = _dcm("111030", "Image Region")
GEOMETRIC_PURPOSE = _dcm("130400", "Geometric purpose of region")
BOUNDED_BY = _sct("75958009", "Bounded by")  # CID 219

# TID 4019 Algorithm Identification
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ALGORITHM_FAMILY = _dcm("111000", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")  # CID 7162

# Image quality
IMAGE_QUALITY = _dcm("111101", "Image Quality")
QUALITY_ASSESSMENT = _dcm("111050", "Quality Assessment")
QUALITY_CONTROL_STANDARD = _dcm("111051", "Quality Control Standard")
INSTITUTIONAL_STANDARD = _dcm("111240", "Institutionally defined quality control standard")  # CID 6136
QUALITY_FINDING = _dcm("111052", "Quality Finding")

# Study-level results
SUMMARY_OF_ANALYSES = _dcm("111065", "Summary of Analyses")
PROCESSING_AND_FINDINGS_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
PRIORITY = _sct("260870009", "Priority")  # local
SUMMARY = _dcm("121111", "Summary")
COMMENT = _dcm("121106", "Comment")

# CID 6047 CAD Processing and Findings Summary
ALL_SUCCEEDED_WITHOUT_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")
ALL_SUCCEEDED_WITH_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")
NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS = _dcm("111243", "Not all algorithms succeeded; without findings")
NOT_ALL_SUCCEEDED_WITH_FINDINGS = _dcm("111244", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED_WITHOUT_FINDINGS = _dcm("111245", "No algorithms succeeded; without findings")

# Contributing Equipment (CID 7005)
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")

# Units
PERCENT = _ucum("%", "Percent")
NO_UNITS = _ucum("1", "no units")  # CID 7181
MILLIMETRE = _ucum("mm", "mm")
PIXELS = _ucum("{pixels}", "pixels")  # local

PRESENCE: Mapping[Presence, Code] = {  # CID 240
    Presence.PRESENT: _sct("52101004", "Present"),
    Presence.ABSENT: _sct("272519000", "Absent"),
    Presence.UNDETERMINED: _sct("373068000", "Undetermined"),
}
GRADE: Mapping[QualityGrade, Code] = {  # CID 7036
    QualityGrade.DIAGNOSTIC: Code(value="RID12", scheme="RADLEX", meaning="Diagnostic quality"),
    QualityGrade.LIMITED: Code(value="RID13", scheme="RADLEX", meaning="Limited quality"),
    QualityGrade.NON_DIAGNOSTIC: Code(value="RID14", scheme="RADLEX", meaning="Non-diagnostic quality"),
}
OUTCOME: Mapping[Outcome, Code] = {  # CID 6042
    Outcome.SUCCEEDED: _dcm("111222", "Succeeded"),
    Outcome.PARTIAL: _dcm("111223", "Partially Succeeded"),
    Outcome.FAILED: _dcm("111224", "Failed"),
    Outcome.NOT_ATTEMPTED: _dcm("111225", "Not Attempted"),
}
# A flag only ever raises a study: there is no code for "routine" here, so that no report can lower a priority.
FLAG: Mapping[FlagLevel, Code] = {
    FlagLevel.URGENT: _sct("103391001", "Urgent Procedure"),  # CID 3414
    FlagLevel.EMERGENCY: _sct("25876001", "Emergency"),  # CID 3414
}
VIEW: Mapping[str, Code] = {  # View Position (0018,5101) -> CID 4010
    "PA": _sct("272479007", "postero-anterior"),
    "AP": _sct("399348003", "antero-posterior"),
    "LL": _sct("399173006", "left lateral"),
    "RL": _sct("399198007", "right lateral"),
}
MODALITIES: Mapping[str, Code] = {  # CID 29 Acquisition Modality, as far as the validators know it; TID 1602 allows no other
    value: _dcm(value, meaning)
    for value, meaning in {
        "BMD": "Bone Mineral Densitometry",
        "CR": "Computed Radiography",
        "CT": "Computed Tomography",
        "DX": "Digital Radiography",
        "ES": "Endoscopy",
        "GM": "General Microscopy",
        "IO": "Intra-oral Radiography",
        "IVOCT": "Intravascular Optical Coherence Tomography",
        "IVUS": "Intravascular Ultrasound",
        "MG": "Mammography",
        "MR": "Magnetic Resonance",
        "NM": "Nuclear Medicine",
        "OP": "Ophthalmic Photography",
        "OPT": "Ophthalmic Tomography",
        "PT": "Positron emission tomography",
        "PX": "Panoramic X-Ray",
        "RF": "Radiofluoroscopy",
        "SM": "Slide Microscopy",
        "US": "Ultrasound",
        "XA": "X-Ray Angiography",
        "XC": "External-camera Photography",
    }.items()
}
CODING_SCHEMES: Mapping[str, tuple[str, str]] = {  # designator -> UID and name, PS3.16 section 8
    "DCM": ("1.2.840.10008.2.16.4", "DICOM Controlled Terminology"),
    "SCT": ("2.16.840.1.113883.6.96", "SNOMED CT"),
    "UCUM": ("2.16.840.1.113883.6.8", "UCUM"),
    "UMLS": ("2.16.840.1.113883.6.86", "UMLS"),
    "RADLEX": ("2.16.840.1.113883.6.256", "RadLex"),
}
OWN_SCHEME = "99DCMNODE"  # of prompt sets that ship, for what no public scheme is known to have a code
OWN_SCHEMES: Mapping[str, tuple[str, str]] = {
    OWN_SCHEME: ("2.25.186825408775117362453789928189925554628", "Codes of dicom-node, private"),
}
# No table has a code for a result that its maker takes back; the titles of IHE RAD IOCM hide images and are not for us.
RESULT_STATUS = Code(value="RESULT-STATUS", scheme=OWN_SCHEME, meaning="Status of the result")
WITHDRAWN = Code(value="WITHDRAWN", scheme=OWN_SCHEME, meaning="Withdrawn")
PRESENCE_ORDER = tuple(PRESENCE[presence].meaning for presence in (Presence.PRESENT, Presence.UNDETERMINED, Presence.ABSENT))

"""The patient and study of a report: identity as it was sent, faults repaired, and no header that can break a report."""

import io
import warnings
from dataclasses import dataclass

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from reporting import encode_structured_report
from tests.conformance.sr_documents import FAILED, PRODUCER, coded, dirty_headers, header

DIRTY = dirty_headers()
READ = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "StudyDescription", "ProcedureCodeSequence", "ReferencedStudySequence", "PatientName", "PatientID"),
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
    *("ClinicalTrialSubjectID", "StudyID", "RequestAttributesSequence", "Modality", "ViewPosition", "PatientOrientation"),
    *("PixelSpacing", "ImagerPixelSpacing", "Rows", "Columns", "NumberOfFrames"),
)
VALUE_REPRESENTATIONS = ("PN", "LO", "SH", "DA", "TM", "CS", "SQ", "US", "DS", "IS", "UI", "UN", "OB", "AT", "FD", "AS", "UT", "SS")


def _report(source: Dataset) -> Dataset:
    return dcmread(io.BytesIO(encode_structured_report(FAILED, [source], producer=PRODUCER, previous=None).data))


def _text(document: Dataset, keyword: str) -> str:
    return str(document.get(keyword, "absent"))


def test_identity_is_copied_as_it_was_sent() -> None:
    keywords = (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
    )

    source = header()

    assert [_text(_report(source), keyword) for keyword in keywords] == [_text(source, keyword) for keyword in keywords]


@pytest.mark.parametrize(
    ("name", "keyword", "expected"),
    [
        ("patient ID of 70 characters", "PatientID", "I" * 70),
        ("accession number of 20", "AccessionNumber", "A" * 20),
        ("no PatientID", "PatientID", ""),
        ("sex unknown", "PatientSex", ""),
        ("date as free text", "PatientBirthDate", ""),
        ("date of ACR-NEMA", "StudyDate", "20260105"),
        ("umlauts in Latin-1", "PatientName", "CANÄRY^PHÏ"),
        ("umlauts in UTF-8", "PatientName", "CANÄRY^PHÏ"),
        ("Cyrillic", "PatientName", "\u041b\u044e\u043a\u0441^\u0418"),
        ("Japanese with three groups", "PatientName", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("unknown character set", "PatientName", "CANARY^PHI"),
        ("description of 100 characters", "StudyDescription", "X" * 64),
        ("clinical trial without site", "ClinicalTrialSiteID", ""),
        ("clinical trial without site", "ClinicalTrialSubjectID", "T1"),
        ("clinical trial without subject", "ClinicalTrialSponsorName", "absent"),
        ("de-identified without method", "DeidentificationMethod", "Not stated in the source header"),
        ("referenced study without class", "ReferencedStudySequence", "absent"),
        ("empty procedure code", "ProcedureCodeSequence", "absent"),
        ("procedure code without meaning", "ProcedureCodeSequence", "absent"),
        ("sequence of garbage", "ReferencedRequestSequence", "absent"),
    ],
)
def test_a_dirty_header_is_repaired_without_making_anything_up(name: str, keyword: str, expected: str) -> None:
    assert _text(_report(DIRTY[name].dataset), keyword) == expected


def test_the_request_is_copied_with_the_accession_number_of_the_study() -> None:
    request = coded(RequestedProcedureID="RP1", RequestedProcedureDescription="XR chest")

    item = _report(header(RequestAttributesSequence=[request])).ReferencedRequestSequence[0]

    assert (item.RequestedProcedureID, item.RequestedProcedureDescription, item.AccessionNumber) == ("RP1", "XR chest", "CANARY-ACC")
    assert (list(item.ReferencedStudySequence), list(item.RequestedProcedureCodeSequence)) == ([], [])


def test_a_clean_header_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _report(header())


def test_an_identity_that_is_too_long_gives_no_warning_that_could_show_it() -> None:
    source = DIRTY["patient ID of 70 characters"].dataset

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _report(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileValue:
    """One value as it might lie in a file: any bytes under any VR, at the top or in an item of a sequence."""

    keyword: str
    vr: str
    value: bytes
    implicit_vr: bool
    little_endian: bool
    inside: str | None

    def put(self, dataset: Dataset) -> None:
        target = dataset if self.inside is None else Dataset()
        tag = Tag(tag_for_keyword(self.keyword) or 0)
        target._dict[tag] = RawDataElement(tag, self.vr, len(self.value), self.value, 0, self.implicit_vr, self.little_endian)
        if self.inside is not None:
            dataset[tag_for_keyword(self.inside) or 0] = DataElement(tag_for_keyword(self.inside) or 0, "SQ", Sequence([target]))


hostile_values = st.builds(
    HostileValue,
    keyword=st.sampled_from(READ),
    vr=st.sampled_from(VALUE_REPRESENTATIONS),
    value=st.binary(max_size=40) | st.sampled_from([b"CANARY\\PHI", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"1e999", b"\x1b$B\xff"]),
    implicit_vr=st.booleans(),
    little_endian=st.booleans(),
    inside=st.sampled_from([None, None, "RequestAttributesSequence", "ProcedureCodeSequence", "ReferencedStudySequence"]),
)


@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(hostile_values, min_size=1, max_size=6))
def test_no_value_of_a_source_header_can_break_a_report(values: list[HostileValue]) -> None:
    source = header()
    for value in values:
        value.put(source)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = encode_structured_report(FAILED, [source], producer=PRODUCER, previous=None)

    document = dcmread(io.BytesIO(made.data))
    assert [element.keyword for element in document.iterall() if not element.keyword] == []
    assert document.VerificationFlag == "UNVERIFIED"
    assert [str(warning.message) for warning in said if "CANARY" in str(warning.message)] == []

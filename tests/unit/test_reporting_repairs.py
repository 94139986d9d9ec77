"""What the log says about a source header that could not be copied as it was: tags, never values."""

import pytest

from reporting import encode_structured_report
from tests.conformance.sr_documents import CHARACTER_SETS, FAILED, FRONTAL, LATERAL, POSITIVE, PRODUCER, dirty_headers, header

DIRTY = dirty_headers()


def repairs(*sources, of=FAILED):
    return encode_structured_report(of, list(sources), producer=PRODUCER, previous=None).repairs


def test_a_clean_header_needs_no_repair():
    assert repairs(header()) == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no PatientSex", "(0010,0040) PatientSex: absent, written empty"),
        ("sex unknown", "(0010,0040) PatientSex: left out"),
        ("date as free text", "(0010,0030) PatientBirthDate: left out"),
        ("date of ACR-NEMA", "(0008,0020) StudyDate: rewritten"),
        ("description of 100 characters", "(0008,1030) StudyDescription: rewritten"),
        ("bytes outside the character set", "(0010,0010) PatientName: not in the character set that is named, characters replaced"),
        ("unknown character set", "(0008,0005) SpecificCharacterSet: unknown, the default was used"),
        ("clinical trial without site", "(0012,0030) ClinicalTrialSiteID: absent, written empty"),
        ("clinical trial without subject", "(0012,0010) ClinicalTrialSponsorName: left out"),
        ("de-identified without method", "(0012,0063) DeidentificationMethod: completed"),
        ("referenced study without class", "(0008,1110) ReferencedStudySequence: 1 of 1 items left out"),
        ("empty procedure code", "(0008,1032) ProcedureCodeSequence: empty or unreadable, left out"),
        ("procedure code without meaning", "(0008,1032) ProcedureCodeSequence: 1 of 1 items left out"),
    ],
)
def test_a_repair_is_named_by_its_tag(name, said):
    assert said in repairs(DIRTY[name].dataset)


def test_an_identity_that_is_kept_although_it_is_too_long_is_no_repair():
    assert repairs(DIRTY["patient ID of 70 characters"].dataset) == ()


@pytest.mark.parametrize("name", [*DIRTY, *CHARACTER_SETS])
def test_no_value_is_ever_told(name):
    source = DIRTY[name].dataset if name in DIRTY else CHARACTER_SETS[name].dataset
    assert not any("CANARY" in line or "1960" in line for line in repairs(source))


def test_inputs_that_name_different_patients_are_told():
    said = repairs(header(FRONTAL), header(LATERAL, PatientID="CANARY-ID-2"), of=POSITIVE)
    assert said == ("(0010,0020) PatientID: differs between the inputs",)


def test_the_patient_is_taken_from_the_first_input_that_names_one():
    nameless = header(FRONTAL, PatientID=None, PatientName=None)
    said = repairs(nameless, header(LATERAL), of=POSITIVE)
    assert "(0010,0020) PatientID: absent, written empty" not in said

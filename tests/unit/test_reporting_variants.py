"""One report in other SOP classes: the same content as far as the class can hold it, and readable where it can hold little."""

import io
from collections import Counter

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from reporting import ENCODERS, VARIANTS, as_variant, readable_text
from tests.conformance.sr_documents import FAILED, KINDS, LOCALISED, POSITIVE, PREVIOUS, PRODUCER, WITHDRAWN, encode, headers_of
from tests.conformance.sr_readback import concept, walk

OTHERS = (ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def regions() -> bytes:
    result = ENCODERS["sr-regions"](LOCALISED, headers_of(LOCALISED), producer=PRODUCER, previous=None)
    assert result is not None
    return result.data


@pytest.mark.parametrize("sop_class", VARIANTS)
def test_a_variant_made_twice_is_the_same_file(sop_class):
    stored = encode(POSITIVE).data
    assert as_variant(stored, sop_class) == as_variant(stored, sop_class)


def test_the_richest_variant_is_the_stored_file_itself():
    stored = encode(POSITIVE)
    assert as_variant(stored.data, Comprehensive3DSRStorage).data == stored.data


def test_each_variant_is_an_instance_of_its_own_in_the_same_series():
    stored = encode(POSITIVE)
    made = [as_variant(stored.data, sop_class) for sop_class in VARIANTS]
    assert len({one.sop_instance_uid for one in made}) == len(VARIANTS)
    assert {read(one.data).SeriesInstanceUID for one in made} == {read(stored.data).SeriesInstanceUID}
    for one in made:
        document = read(one.data)
        assert (document.SOPClassUID, document.SOPInstanceUID) == (one.sop_class_uid, one.sop_instance_uid)
        assert document.file_meta.MediaStorageSOPInstanceUID == one.sop_instance_uid
        assert one.kind == "sr-findings"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sop_class", [ComprehensiveSRStorage, EnhancedSRStorage])
def test_comprehensive_and_enhanced_hold_the_very_same_tree(kind, sop_class):
    stored = encode(KINDS[kind]).data
    assert read(as_variant(stored, sop_class).data).ContentSequence == read(stored).ContentSequence


@pytest.mark.parametrize("sop_class", OTHERS)
def test_status_evidence_and_identity_are_the_same_in_every_variant(sop_class):
    stored, variant = (read(data) for data in (encode(POSITIVE).data, as_variant(encode(POSITIVE).data, sop_class).data))
    own = {"SOPClassUID", "SOPInstanceUID", "ContentSequence", "ContentTemplateSequence"}
    assert {element.keyword: element.value for element in stored if element.keyword not in own} == {
        element.keyword: element.value for element in variant if element.keyword not in own
    }
    assert variant.VerificationFlag == "UNVERIFIED"


def test_a_variant_names_the_variant_of_its_predecessor():
    first, second = encode(POSITIVE), encode(FAILED, PREVIOUS)
    before = as_variant(second.data, EnhancedSRStorage)
    named = read(before.data).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPClassUID == EnhancedSRStorage
    assert named.ReferencedSOPInstanceUID not in {PREVIOUS.sop_instance_uid, first.sop_instance_uid}


def test_basic_text_holds_no_numbers_no_coordinates_and_claims_no_template():
    for stored in (encode(LOCALISED).data, regions()):
        document = read(as_variant(stored, BasicTextSRStorage).data)
        assert {"NUM", "SCOORD"} & {item.ValueType for item in walk(document)} == set()
        assert "ContentTemplateSequence" not in document


def test_basic_text_says_every_number_and_every_code_of_the_report():
    stored, basic = (read(data) for data in (encode(POSITIVE).data, as_variant(encode(POSITIVE).data, BasicTextSRStorage).data))
    assert Counter(map(concept, walk(stored))) == Counter(map(concept, walk(basic)))
    numbers = {concept(item): item.TextValue for item in walk(basic) if concept(item) in {"111012", "122411", "111026", "110910"}}
    assert numbers == {"111012": "41 %", "122411": "42 %", "111026": "0.7 mm", "110910": "512 pixels"}


def test_basic_text_begins_with_the_words_for_people():
    document = read(as_variant(encode(POSITIVE).data, BasicTextSRStorage).data)
    contained = [item for item in document.ContentSequence if item.RelationshipType == "CONTAINS"]
    first = contained[0].ContentSequence[0]
    assert (concept(contained[0]), concept(first)) == ("C0034375", "121111")
    assert first.TextValue.startswith("EMERGENCY REVIEW suggested. Pneumothorax: present (87.3 %, threshold 42 %).")


def test_basic_text_can_be_read_on_its_own():
    words = readable_text(as_variant(encode(POSITIVE).data, BasicTextSRStorage).data)
    assert "UNVERIFIED" in words
    assert "Pneumothorax: present (87.3 %, threshold 42 %)" in words
    assert "NOT verified by a radiologist" in words


def test_an_outline_becomes_words_where_there_are_no_coordinates():
    document = read(as_variant(regions(), BasicTextSRStorage).data)
    said = [item for item in walk(document) if concept(item) == "111030"]
    assert [item.TextValue for item in said] == [
        "polyline of 5 points, columns 300 to 420.5, rows 80 to 200",
        "polyline of 4 points, columns 10 to 60, rows 10 to 70",
    ]
    assert [item.ContentSequence[0].RelationshipType for item in said] == ["INFERRED FROM"] * 2


def test_a_withdrawal_says_so_in_every_variant():
    stored = encode(WITHDRAWN, PREVIOUS).data
    for sop_class in VARIANTS:
        assert "WITHDRAWN" in readable_text(as_variant(stored, sop_class).data)


def test_only_stored_reports_have_variants():
    variant = as_variant(encode(POSITIVE).data, EnhancedSRStorage).data
    with pytest.raises(ValueError, match="no report that this software stored"):
        as_variant(variant, BasicTextSRStorage)
    with pytest.raises(ValueError, match="no variant"):
        as_variant(encode(POSITIVE).data, "1.2.840.10008.5.1.4.1.1.7")

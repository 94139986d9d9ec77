"""Identity in every character set: what the archive wrote is what the report says, character by character."""

import io
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from reporting import encode_structured_report
from reporting.character_sets import UNDECODABLE, decode
from tests.conformance.sr_documents import CHARACTER_SETS, FAILED, PRODUCER, header

UNKNOWN_TO_DCMTK = {"Latin-9", "kanji", "katakana and kanji", "kanji with the byte of a delimiter", "half-width katakana"}
"""Its library here converts by the tables of the C library, which has none for these."""


def reported(name):
    result = encode_structured_report(FAILED, [CHARACTER_SETS[name].dataset], producer=PRODUCER, previous=None)
    return dcmread(io.BytesIO(result.data)), result.repairs


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_a_name_reads_in_the_report_as_it_was_written(name):
    document, repairs = reported(name)
    assert str(document.PatientName) == CHARACTER_SETS[name].reads
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert repairs == ()


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_an_identifier_and_its_issuer_read_as_they_were_written(name):
    document, _ = reported(name)
    family_name = CHARACTER_SETS[name].reads.partition("^")[0]
    assert (document.PatientID, document.IssuerOfPatientID) == (family_name, family_name)


def _element(tag, vr, value):
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", *tag, vr, len(value)) + value


@pytest.mark.parametrize("name", [name for name in CHARACTER_SETS if name not in UNKNOWN_TO_DCMTK])
def test_dcmtk_decodes_the_same_bytes_to_the_same_bytes(tmp_path, name):
    written = CHARACTER_SETS[name]
    meta = _element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1\0")
    file = bytes(128) + b"DICM" + _element((0x0002, 0x0000), b"UL", struct.pack("<I", len(meta))) + meta
    file += _element((0x0008, 0x0005), b"CS", "\\".join(written.terms).encode())
    file += _element((0x0010, 0x0010), b"PN", written.name) + _element((0x0010, 0x0020), b"LO", written.name.split(b"=")[0])
    source, converted = tmp_path / "source.dcm", tmp_path / "utf8.dcm"
    source.write_bytes(file)
    subprocess.run(["dcmconv", "--convert-to-utf8", str(source), str(converted)], check=True, capture_output=True)
    theirs = dcmread(converted).get_item("PatientName").value.rstrip(b" ").rstrip(b"=")
    document, _ = reported(name)
    assert document.get_item("PatientName").value.rstrip(b" ") == theirs


def test_several_values_and_leading_spaces_of_an_identifier_are_kept():
    source = header(PatientID=["CANARY-ID", "2"], AccessionNumber=" CANARY-ACC")
    document = dcmread(io.BytesIO(encode_structured_report(FAILED, [source], producer=PRODUCER, previous=None).data))
    assert list(document.PatientID) == ["CANARY-ID", "2"]
    assert document.get_item("AccessionNumber").value.rstrip(b" ") == b" CANARY-ACC"


@pytest.mark.parametrize(
    ("terms", "value", "expected"),
    [
        ((), b"CAN\xc4RY", "CANÄRY"),
        (("ISO_IR 100",), b"\x1b$B;3ED\x1b(B", "山田"),
        (("ISO 2022 IR 87",), b"\x1b$B;3E", "山" + UNDECODABLE),
        (("ISO_IR 192",), b"\xff\xfe", UNDECODABLE * 2),
        (("ISO_IR 100",), b"a\x1bZb", f"a{UNDECODABLE}Zb"),
        (("", "ISO 2022 IR 149"), b"\x1b$)C\xfb\xf3\nabc", "洪\nabc"),
        (("ISO_IR 13",), b"a\\b~\xd4", "a\\b‾ﾔ"),
    ],
)
def test_what_has_no_meaning_becomes_a_mark_and_nothing_is_lost_around_it(terms, value, expected):
    assert decode(value, terms, name=False) == expected


@given(st.binary(max_size=60), st.lists(st.sampled_from(["", "ISO_IR 100", "ISO 2022 IR 87", "ISO_IR 13", "GB18030", "X"]), max_size=3))
def test_no_bytes_can_break_the_decoder(value, terms):
    assert isinstance(decode(value, tuple(terms), name=True), str)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_ascii_is_itself_in_every_character_set_but_the_romaji_tilde(text):
    for written in CHARACTER_SETS.values():
        assert decode(text.encode(), written.terms, name=True).replace("\u203e", "~") == text

"""What reception reads of a header, and what hostile headers cannot do to it."""

import tracemalloc
import zlib
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.receiving.header_peek import peek
from dicom_node.receiving.instance_header import InstanceHeader, UnreadableHeaderError, is_valid_uid
from tests.receiving import INSTANCE, SERIES, STUDY, ct_slice, encoded


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def read(data: bytes, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> InstanceHeader:
    return peek(BytesIO(data), transfer_syntax_uid=transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_header_is_read_in_each_encoding(syntax: str) -> None:
    header = read(encoded(ct_slice(), syntax), syntax)
    assert (header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid) == (INSTANCE, STUDY, SERIES)
    assert (header.modality, header.expected_instances, header.high_priority) == ("CT", None, False)


def test_the_header_of_a_deflated_data_set_is_read_even_if_it_is_cut_short() -> None:
    whole = deflated(encoded(ct_slice(rows=64)))
    assert read(whole, DeflatedExplicitVRLittleEndian).study_instance_uid == STUDY
    assert read(whole[:-10], DeflatedExplicitVRLittleEndian).study_instance_uid == STUDY


def test_a_deflated_bomb_is_not_inflated_whole() -> None:
    deflater = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    header = encoded(ct_slice())[: -16 * 16 * 2 - 4] + (0xFFFFFFFE).to_bytes(4, "little")
    compressed = deflater.compress(header) + b"".join(deflater.compress(bytes(1 << 20)) for _ in range(128)) + deflater.flush()
    tracemalloc.start()
    assert read(compressed, DeflatedExplicitVRLittleEndian).study_instance_uid == STUDY
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 48 << 20


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_an_encoding_other_than_the_negotiated_one_is_recognised_as_pydicom_does() -> None:
    assert read(encoded(ct_slice(), ImplicitVRLittleEndian), ExplicitVRLittleEndian).study_instance_uid == STUDY


def test_sequences_of_any_kind_before_the_uids_do_not_hide_them() -> None:
    data_set = ct_slice()
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.StudyInstanceUID = "1.2.666"
    data_set.ReferencedImageSequence = Sequence([item, item])
    data_set["ReferencedImageSequence"].is_undefined_length = True
    assert read(encoded(data_set)).study_instance_uid == STUDY


@pytest.mark.parametrize("value", ["ct; DROP TABLE", "", "X" * 40, "ÄÖ"])
def test_an_impossible_modality_is_read_as_none(value: str) -> None:
    raw = value.encode()
    raw += b" " * (len(raw) % 2)
    data = encoded(ct_slice()).replace(b"CS\x02\x00CT", b"CS" + len(raw).to_bytes(2, "little") + raw)
    assert read(data).modality == ""
    assert read(data).study_instance_uid == STUDY


@pytest.mark.parametrize("data", [b"", b"DICM", b"\xff" * 1000, b"<html>" * 100])
def test_what_is_no_data_set_is_named_so_without_quoting_it(data: bytes) -> None:
    with pytest.raises(UnreadableHeaderError) as raised:
        read(data)
    assert "html" not in str(raised.value)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "0.1", "2.25.1", "1." + "2" * 62])
def test_a_uid_is_valid(uid: str) -> None:
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1.", ".1", "1..2", "1.02", "1.2 ", "1.2\n", "1.a", "1." + "2" * 63, "../1.2", "1.2\\1.3", "1.\uff12"]
)
def test_a_uid_is_not_valid(uid: str) -> None:
    assert not is_valid_uid(uid)

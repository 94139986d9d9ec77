"""Which fragments belong to which frame, whatever the offset tables say; and only the frames that are asked for are read."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGLSLossless, RLELossless

from inference.frames import UndecodableError, read_frames
from tests import encodings
from tests.builders import write_file
from tests.encodings import several, twelve_bits, waves

pytestmark = pytest.mark.filterwarnings("ignore")

PROJECT = Path(__file__).parents[2]
SHIFTS = (0, 100, 200)
ITEM = b"\xfe\xff\x00\xe0"


def frames():
    return [waves() // 2 + shift for shift in SHIFTS]


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """The three frames of `frames`, JPEG-LS."""
    folder = tmp_path_factory.mktemp("coded")
    path = encodings.by_pydicom(folder, several(frames(), RescaleSlope=1, RescaleIntercept=0), JPEGLSLossless)
    return encodings.codestreams(path)


def file_with(folder, value, **attributes):
    header = encodings.with_fragments(several(frames(), RescaleSlope=1, RescaleIntercept=0), value)
    for keyword, data in attributes.items():
        setattr(header, keyword, data)
    return write_file(folder / "x.dcm", header, transfer_syntax=JPEGLSLossless)


def read(path, numbers=(1, 2, 3)):
    return [frame.values for frame in read_frames(path, numbers, maximum_megapixels=1)]


def refusal(path, numbers=(1, 2, 3)):
    with pytest.raises(UndecodableError) as caught:
        read(path, numbers)
    return str(caught.value)


def table(*offsets):
    return ITEM + struct.pack("<L", 4 * len(offsets)) + struct.pack(f"<{len(offsets)}L", *offsets)


def items(*pieces):
    return b"".join(ITEM + struct.pack("<L", len(piece)) + piece for piece in pieces) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def halves(codestream):
    middle = len(codestream) // 2 // 2 * 2
    return codestream[:middle], codestream[middle:]


def even(codestream):
    return codestream + b"\0" * (len(codestream) % 2)


@pytest.mark.parametrize("fragments", [1, 2, 5])
@pytest.mark.parametrize("has_table", [True, False], ids=["basic offset table", "empty offset table"])
def test_one_or_several_fragments_a_frame(tmp_path, coded, fragments, has_table):
    path = file_with(tmp_path, encapsulate(coded, fragments_per_frame=fragments, has_bot=has_table))
    assert np.array_equal(read(path), frames())
    assert np.array_equal(read(path, (3, 1)), [frames()[2], frames()[0]])


def test_an_extended_offset_table(tmp_path, coded):
    value, offsets, lengths = encapsulate_extended(coded)
    path = file_with(tmp_path, value, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths)
    assert np.array_equal(read(path), frames())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda start: (0, start[1] + 2, start[2]),
        lambda start: (0, start[2], start[1]),
        lambda start: (8, start[1] + 8, start[2] + 8),
        lambda start: (0, start[1]),
        lambda start: (0, start[1], 1 << 31),
        lambda start: (0, 0, 0),
    ],
    ids=["into the middle", "exchanged", "all shifted", "one short", "beyond the file", "all nought"],
)
def test_a_wrong_offset_table_is_not_believed(tmp_path, coded, wrong):
    pieces = [even(one) for one in coded]
    starts = np.cumsum([0, *(len(piece) + 8 for piece in pieces)])
    value = table(*(int(offset) for offset in wrong(starts))) + items(*pieces)
    assert np.array_equal(read(file_with(tmp_path, value)), frames())


def test_an_offset_table_that_points_at_fragments_inside_frames_is_not_believed(tmp_path, coded):
    pieces = [half for one in coded for half in halves(even(one))]
    starts = np.cumsum([0, *(len(piece) + 8 for piece in pieces)])
    path = file_with(tmp_path, table(*(int(start) for start in starts[:3])) + items(*pieces))
    assert np.array_equal(read(path, (2, 3)), frames()[1:])


def test_a_wrong_extended_offset_table_falls_back_on_the_basic_one(tmp_path, coded):
    path = file_with(
        tmp_path,
        encapsulate(coded, fragments_per_frame=2),
        ExtendedOffsetTable=struct.pack("<3Q", 0, 2, 4),
        ExtendedOffsetTableLengths=struct.pack("<3Q", 1 << 40, 5, 0),
    )
    assert np.array_equal(read(path), frames())


def test_empty_fragments_are_passed_over(tmp_path, coded):
    assert np.array_equal(read(file_with(tmp_path, table() + items(coded[0], b"", coded[1], coded[2], b""))), frames())


def test_odd_lengths_with_and_without_the_byte_that_makes_them_even(tmp_path, coded):
    odd = [one if len(one) % 2 else one + b"\0" for one in coded]
    assert np.array_equal(read(file_with(tmp_path, table() + items(*odd))), frames())
    padded = b"".join(ITEM + struct.pack("<L", len(one)) + one + b"\0" for one in odd)
    assert np.array_equal(read(file_with(tmp_path, table() + padded + items())), frames())


def test_pixel_data_without_their_end(tmp_path, coded):
    path = file_with(tmp_path, table() + items(*(even(one) for one in coded)))
    path.write_bytes(path.read_bytes()[:-16])
    assert np.array_equal(read(path), frames())


def test_a_file_that_was_cut_off_gives_the_frames_that_are_whole(tmp_path, coded):
    path = file_with(tmp_path, encapsulate(coded))
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(read(path, (1, 2)), frames()[:2])
    assert "cut off" in refusal(path, (3,))


def test_fewer_fragments_than_frames(tmp_path, coded):
    assert "3 frames, and there are 2 fragments" in refusal(file_with(tmp_path, table() + items(*coded[:2])))


def test_fragments_that_nobody_can_tell_apart(tmp_path, coded):
    pieces = (coded[0][:40], coded[0][40:100], b"no codestream", b"none either")
    assert "nobody can tell which of the 4 fragments belong to which of the 3 frames" in refusal(
        file_with(tmp_path, table() + items(*pieces)), (2,)
    )


def test_pixel_data_that_begin_with_no_offset_table(tmp_path, coded):
    path = file_with(tmp_path, encapsulate(coded))
    data = bytearray(path.read_bytes())
    value = data.rindex(b"\xe0\x7f\x10\x00OB") + 12
    data[value : value + 4] = b"\xfe\xff\xdd\xe0"
    path.write_bytes(data)
    assert "no Basic Offset Table" in refusal(path)


def test_runs_that_cannot_hold_a_frame(tmp_path):
    header = encodings.with_fragments(twelve_bits(np.zeros((500, 500), np.uint16)), encapsulate([b"\1\0\0\0" + bytes(100)]))
    path = write_file(tmp_path / "x.dcm", header, transfer_syntax=RLELossless)
    assert "104 compressed bytes cannot hold a frame of 250000 pixels" in refusal(path, (1,))


MEASURED = """
import sys
from pathlib import Path
from inference.frames import read_frames
from tests.peak_memory import peak_kb
path, frames = Path(sys.argv[1]), int(sys.argv[2])
next(iter(read_frames(path, [1], maximum_megapixels=1)))
before = peak_kb()
total = sum(float(frame.values[0, 0]) for frame in read_frames(path, range(1, frames + 1), maximum_megapixels=1))
print(total, peak_kb() - before)
"""


@pytest.mark.parametrize("transfer_syntax", [JPEGLSLossless, None], ids=["JPEG-LS", "uncompressed"])
def test_a_thousand_frames_take_the_memory_of_a_few(tmp_path, transfer_syntax):
    picture = waves(256, 256)
    header = several([picture], RescaleSlope=1, RescaleIntercept=0)
    header.NumberOfFrames = 1000
    if transfer_syntax is None:
        header.PixelData = picture.tobytes() * 1000
        path = write_file(tmp_path / "x.dcm", header)
    else:
        (one,) = encodings.codestreams(encodings.by_pydicom(tmp_path, twelve_bits(picture), transfer_syntax))
        path = encodings.encapsulated(tmp_path, header, [one] * 1000, transfer_syntax)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, str(path), "1000"], capture_output=True, check=True, text=True, cwd=PROJECT
    )
    total, grown_kb = done.stdout.split()
    assert float(total) == 1000 * int(picture[0, 0])
    a_frame_kb = 256 * 256 * (2 + 4 + 4) / 1024
    assert int(grown_kb) < 64 * a_frame_kb, "decoders, threads and the few that wait; all frames together take 1,000 times that of one"

"""Frames are decoded ahead of whoever takes them: in order, in bounds, each error at its own file, and a crash costs one frame."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from inference.frames import UndecodableError, read_ahead, read_frames
from inference.in_order import WAITING_BYTES, Job, in_order
from inference.pixels.codecs import CodecError, EncodedFrame
from inference.pixels.decoding import Decoders
from tests import encodings
from tests.builders import ct_slice, write_file
from tests.encodings import twelve_bits, waves

pytestmark = pytest.mark.filterwarnings("ignore")


def slice_file(folder, number, transfer_syntax=None):
    header = ct_slice(pixels=waves() // 2 + number, RescaleSlope=1, RescaleIntercept=0)
    target = folder / str(number)
    target.mkdir()
    return write_file(target / "x.dcm", header) if transfer_syntax is None else encodings.by_pydicom(target, header, transfer_syntax)


def test_frames_come_in_the_order_of_the_files_however_they_are_encoded(tmp_path):
    kinds = [None, JPEG2000Lossless, JPEGLSLossless] * 4
    files = [(slice_file(tmp_path, number, kind), [1]) for number, kind in enumerate(kinds)]
    read = [[frame.values[0, 0] for frame in frames] for frames in read_ahead(files, maximum_megapixels=1)]
    assert read == [[waves()[0, 0] // 2 + number] for number in range(12)]


def test_ahead_and_one_at_a_time_give_the_same_bits(tmp_path):
    files = [(slice_file(tmp_path, number, kind), [1]) for number, kind in enumerate([JPEG2000Lossless, None, JPEGLSLossless])]
    ahead = [frame for frames in read_ahead(files, maximum_megapixels=1) for frame in frames]
    alone = [frame for path, numbers in files for frame in read_frames(path, numbers, maximum_megapixels=1)]
    assert [frame.pixels.tobytes() for frame in ahead] == [frame.pixels.tobytes() for frame in alone]
    assert [(frame.ref, frame.steps) for frame in ahead] == [(frame.ref, frame.steps) for frame in alone]


def test_an_error_is_told_at_its_own_file_and_the_others_are_read(tmp_path):
    files = [(slice_file(tmp_path, number), [1]) for number in range(4)]
    files[1][0].write_bytes(b"no DICOM file")
    files[2] = (files[2][0], [1, 7, 1])
    told = []
    for frames in read_ahead(files, maximum_megapixels=1):
        try:
            told.append([frame.values[0, 0] for frame in frames])
        except UndecodableError as exc:
            told.append(str(exc).rsplit(": ", 1)[-1])
    first = waves()[0, 0] // 2
    assert told[0] == [first]
    assert "PS3.10" in str(told[1]) or "preamble" in told[1]
    assert told[2] == "the header says 1"
    assert told[3] == [first + 3]


def test_frames_before_an_error_in_the_same_file_are_given(tmp_path):
    given = []
    with pytest.raises(UndecodableError, match="no frame 9"):
        given.extend(frame.ref.frame_number for frame in read_frames(slice_file(tmp_path, 0), [1, 1, 9, 1], maximum_megapixels=1))
    assert given == [1, 1]


def test_frames_that_are_taken_too_late_are_no_empty_file(tmp_path):
    (frames,) = read_ahead([(slice_file(tmp_path, 0), [1])], maximum_megapixels=1)
    with pytest.raises(RuntimeError, match="while their files"):
        next(frames)


def test_what_is_not_taken_of_a_file_is_left_out(tmp_path):
    files = [(slice_file(tmp_path, number), [1, 1, 1]) for number in range(3)]
    taken = [next(frames).values[0, 0] for frames in read_ahead(files, maximum_megapixels=1)]
    assert taken == [waves()[0, 0] // 2 + number for number in range(3)]


def test_no_more_jobs_wait_than_may():
    begun = 0

    def jobs():
        nonlocal begun
        for number in range(20):
            begun += 1
            yield Job(compute=lambda number=number: number, size=1)

    with ThreadPoolExecutor(2) as threads:
        results = in_order(jobs(), threads=threads, ahead=3)
        most = max(begun - taken for taken, _ in enumerate(results))
    assert begun == 20
    assert most <= 4


def test_no_more_bytes_wait_than_may():
    sizes = [WAITING_BYTES // 2, WAITING_BYTES // 2, WAITING_BYTES * 2, 10, 10]
    taken = 0
    waiting = []

    def jobs():
        for number, size in enumerate(sizes):
            waiting.append(sum(sizes[taken:number]))
            yield Job(compute=lambda: None, size=size)

    with ThreadPoolExecutor(2) as threads:
        for _ in in_order(jobs(), threads=threads, ahead=99):
            taken += 1
    assert max(waiting) <= 2 * WAITING_BYTES
    assert waiting[3] <= 2 * WAITING_BYTES


def encoded(folder, transfer_syntax):
    path = encodings.by_dcmtk(folder, twelve_bits(), transfer_syntax)
    return encodings.codestreams(path)[0]


@pytest.mark.skipif(not encodings.has("dcmcjpeg"), reason="DCMTK is not installed")
def test_a_frame_that_makes_its_decoder_abort_is_one_abstention(tmp_path):
    """GDCM ends its whole process over a lossless frame of fewer pixels than the header says."""
    codestream = encoded(tmp_path, JPEGLosslessSV1)
    header = encodings.with_fragments(twelve_bits(np.zeros((122, 67), np.uint16)), encapsulate([codestream]))
    broken = write_file(tmp_path / "broken.dcm", header, transfer_syntax=JPEGLosslessSV1)
    good = tmp_path / "by-dcmtk.dcm"
    with pytest.raises(UndecodableError, match="damaged"):
        list(read_frames(broken, [1], maximum_megapixels=1))
    assert len(list(read_frames(good, [1], maximum_megapixels=1))) == 1


def frame_of(codestream, rows, columns):
    return EncodedFrame(
        data=codestream,
        transfer_syntax="1.2.840.10008.1.2.4.80",
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        pixel_representation=0,
        planar_configuration=0,
        photometric_interpretation="MONOCHROME2",
        keyword="PixelData",
        vr="OB",
    )


def test_many_threads_share_few_decoders(tmp_path):
    (codestream,) = encodings.codestreams(encodings.by_pydicom(tmp_path, twelve_bits(), JPEGLSLossless))
    before = threading.active_count()
    decoders = Decoders(2)
    try:
        with ThreadPoolExecutor(6) as threads:
            decoded = list(threads.map(lambda _: decoders.decode(frame_of(codestream, 61, 67))[0], range(12)))
    finally:
        decoders.close()
    assert all(np.array_equal(one, waves()) for one in decoded)
    assert threading.active_count() == before


def test_a_decoder_that_was_killed_is_replaced(tmp_path):
    (codestream,) = encodings.codestreams(encodings.by_pydicom(tmp_path, twelve_bits(), JPEGLSLossless))
    decoders = Decoders(1)
    try:
        decoders.decode(frame_of(codestream, 61, 67))
        decoders.close()
        assert np.array_equal(decoders.decode(frame_of(codestream, 61, 67))[0], waves())
        with pytest.raises(CodecError, match="damaged"):
            decoders.decode(frame_of(b"\xff\xd8 nothing", 61, 67))
        assert np.array_equal(decoders.decode(frame_of(codestream, 61, 67))[0], waves())
    finally:
        decoders.close()

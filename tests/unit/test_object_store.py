"""Files in the store are complete and durable, or not there."""

import errno
import itertools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from dicom_node.keeping import incoming_file
from dicom_node.keeping.object_store import NamedFile, ObjectStore, received_path

NAME = Path("received/ab/one.dcm")


def test_a_written_file_is_there_whole_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    relative = Path("results/ab/one.dcm")
    assert store.write_atomic(relative, b"content") == relative
    assert store.absolute(relative).read_bytes() == b"content"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_the_first_complete_file_under_a_name_wins(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    store.write_atomic(Path("results/one.dcm"), b"first")
    store.write_atomic(Path("results/one.dcm"), b"second")
    assert (tmp_path / "results/one.dcm").read_bytes() == b"first"


def test_writers_of_one_name_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    contents = [bytes([number]) * 200_000 for number in range(8)]
    writers = [threading.Thread(target=store.write_atomic, args=(Path("results/one.dcm"), content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "results/one.dcm").read_bytes() in contents
    assert list((tmp_path / "incoming").iterdir()) == []


def test_the_digest_is_of_the_data_set_without_what_stands_before_it(tmp_path: Path) -> None:
    file = ObjectStore(tmp_path).incoming(b"preamble")
    file.write(b"data ")
    file.write(memoryview(b"set"))
    assert file.digest == blake3(b"data set").hexdigest()
    assert file.size_bytes == len(b"data set")
    with file.content() as content:
        assert content.read() == b"data set"
    file.discard()


def test_a_discarded_file_leaves_nothing_and_may_be_discarded_again(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    file = store.incoming()
    file.write(b"half an obj")
    file.discard()
    file.discard()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("hostile", ["../outside.dcm", "received/../../outside.dcm", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_store_is_an_error(tmp_path: Path, hostile: str) -> None:
    store = ObjectStore(tmp_path / "store")
    with pytest.raises(ValueError, match="not a path inside the object store"):
        store.write_atomic(Path(hostile), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("uid", ["1.2.3", "../../etc/cron.d/x", "1.2/3", "a\x00b", "1" * 5000])
def test_the_place_of_a_received_file_is_ours_whatever_the_uid(uid: str) -> None:
    path = received_path(study_instance_uid=uid, sop_instance_uid=uid, digest="0" * 64)
    assert path.parts[0] == "received"
    assert set(path.name.removesuffix(".dcm")) <= set("0123456789abcdef-")
    assert len(path.name) < 255


def test_two_versions_of_an_instance_have_two_places() -> None:
    first, second = (received_path(study_instance_uid="1.2", sop_instance_uid="1.2.3", digest=digit * 64) for digit in "ab")
    assert first != second
    assert first.parent == second.parent


def test_a_quarantined_file_is_out_of_the_way_and_kept(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    source = store.write_atomic(Path("received/ab/odd.dcm"), b"odd")
    moved = store.quarantine(source)
    assert moved.parts[0] == "quarantine"
    assert store.absolute(moved).read_bytes() == b"odd"
    assert list(store.received_files()) == []


def test_temporary_files_of_a_dead_process_are_removed_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    alive = store.incoming()
    dies = "import os, sys, pathlib; from dicom_node.keeping.object_store import ObjectStore; "
    dies += "f = ObjectStore(pathlib.Path(sys.argv[1])).incoming(); f.write(b'half'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", dies, str(tmp_path)], check=False, cwd=Path(__file__).parents[2])
    assert len(list((tmp_path / "incoming").iterdir())) == 2
    assert store.remove_abandoned() == 1
    alive.write(b"still good")
    store.keep(alive, Path("received/ab/good.dcm"))
    assert (tmp_path / "received/ab/good.dcm").read_bytes() == b"still good"


def test_free_space_is_what_the_file_system_says(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    free = ObjectStore(tmp_path).free_bytes()
    assert 0 < free <= state.f_blocks * state.f_frsize


@pytest.mark.parametrize("power_loss", [True, False])
def test_the_disk_begins_early_where_data_must_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power_loss: bool) -> None:
    begun: list[int] = []
    monkeypatch.setattr(incoming_file, "start_writing", lambda _descriptor, offset: begun.append(offset))
    file = ObjectStore(tmp_path, power_loss=power_loss).incoming()
    for _ in range(5):
        file.write(bytes(300_000))
    assert begun == ([0] if power_loss else []), "more than a mebibyte is not held back until the end"
    file.start_writing()
    assert begun == ([0, 1_200_000 // 65_536 * 65_536] if power_loss else []), "from the first byte that had not begun"
    file.discard()
    file.start_writing()
    assert len(begun) == (2 if power_loss else 0), "nor is a file that is gone"


def test_the_kernel_gets_whole_blocks_however_the_network_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    really_write = os.writev

    def write(descriptor: int, pieces: Sequence[memoryview]) -> int:
        count = really_write(descriptor, pieces)
        ends.append((ends[-1] if ends else 0) + count)
        return count

    monkeypatch.setattr(os, "writev", write)
    store = ObjectStore(tmp_path)
    file = store.incoming(b"preamble")
    sent = random.Random(1).randbytes(525_000)
    at = 0
    for count in itertools.cycle((1, 80_000, 7, 65_536, 131_060)):
        file.write(memoryview(sent)[at : at + count])
        at += count
        if at >= len(sent):
            break
    store.keep(file, Path("received/aa/one.dcm"))
    assert (tmp_path / "received/aa/one.dcm").read_bytes() == b"preamble" + sent
    assert all(end % 65_536 == 0 for end in ends[:-1])
    assert file.digest == blake3(sent).hexdigest()


def named(store: ObjectStore, content: bytes, relative: Path = NAME) -> NamedFile:
    file = store.incoming()
    file.write(content)
    return store.give_name(file, relative)


def test_named_files_are_made_durable_together(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    files = [named(store, bytes([number]), Path(f"received/a{number}/one.dcm")) for number in range(3)]
    assert list((tmp_path / "incoming").iterdir()) == [], "a file with its final name needs no other"
    store.synchronise_all(files)
    assert [file.failure for file in files] == [None] * 3
    assert [store.absolute(Path(f"received/a{number}/one.dcm")).read_bytes() for number in range(3)] == [b"\0", b"\1", b"\2"]


def test_a_file_that_somebody_left_under_a_name_is_not_relied_upon(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    named(store, b"torn by a power loss").file.discard()
    ours = named(store, b"whole")
    assert store.absolute(NAME).read_bytes() == b"torn by a power loss", "ours is not durable yet"
    store.synchronise_all([ours])
    assert store.absolute(NAME).read_bytes() == b"whole"
    ours.file.discard()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_who_was_first_does_not_take_the_place_of_another_that_is_durable(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    first, second = named(store, b"same"), named(store, b"same")
    store.synchronise_all([second])
    durable = store.absolute(NAME).stat().st_ino
    store.synchronise_all([first])
    assert store.absolute(NAME).stat().st_ino == durable


@pytest.mark.parametrize("ailing", ["the file", "the folder"])
def test_what_could_not_be_made_durable_is_said_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ailing: str) -> None:
    store = ObjectStore(tmp_path)
    files = [named(store, b"x", Path(f"received/a{number}/one.dcm")) for number in range(3)]
    target = Path(files[1].target)
    broken = (target if ailing == "the file" else target.parent).stat().st_ino
    really_synchronise = os.fsync

    def synchronise(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EIO, "the disk is broken")
        really_synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", synchronise)
    store.synchronise_all(files)
    assert [file.failure is None for file in files] == [True, False, True]


def test_what_was_held_back_can_be_read(tmp_path: Path) -> None:
    file = ObjectStore(tmp_path).incoming(b"preamble")
    file.write(b"data")
    assert file.read(0, 10) == b"data"
    file.write(b" set")
    assert file.read(3, 10) == b"a set"
    file.discard()


def test_a_write_that_comes_up_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda descriptor, pieces: os.write(descriptor, b"".join(pieces)[:1000]))
    store = ObjectStore(tmp_path)
    sent = random.Random(2).randbytes(200_000)
    store.write_atomic(Path("results/one.dcm"), sent)
    assert (tmp_path / "results/one.dcm").read_bytes() == sent

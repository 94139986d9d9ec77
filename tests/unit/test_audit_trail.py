"""The local audit trail: what it promises, and that it tells what was done to it."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.audit.trail import Trail, read_head, records, trail_files, write_cursor
from dicom_node.audit.verification import Anchor, verify

ROOT = Path(__file__).parents[2]
AT = "2026-01-05T12:00:00.000+00:00"
APPENDING = """
import os, signal, sys
from pathlib import Path
from dicom_node.audit.trail import Trail
folder, name, count, die = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "die"
trail = Trail(folder, file_bytes=20_000, maximum_bytes=10**9, forwarded=False)
for number in range(count):
    trail.append(f"<{name}-{number}/>", at="2026-01-05T12:00:00.000+00:00")
if die:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def trail_of(folder, *, file_bytes=1_000_000, maximum_bytes=10**9, forwarded=False):
    return Trail(folder, file_bytes=file_bytes, maximum_bytes=maximum_bytes, forwarded=forwarded)


def fill(folder, count=10, **sizes):
    trail = trail_of(folder, **sizes)
    for number in range(count):
        trail.append(f"<m{number}/>", at=AT)
    trail.close()


def words(folder, anchor=None):
    return [problem.words for problem in verify(folder, anchor).problems]


def lines_of(file):
    return file.read_text().splitlines(keepends=True)


def rewrite(file, lines):
    file.write_text("".join(lines))


def test_what_was_appended_is_there_in_order_and_whole(folder):
    fill(folder)
    (file,) = trail_files(folder)
    assert [placed.record.message for placed in records(file)] == [f"<m{number}/>" for number in range(10)]
    found = verify(folder)
    assert (found.first, found.last, found.records, found.problems) == (1, 10, 10, ())


def test_nobody_else_may_read_it(folder):
    fill(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(folder):
    fill(folder, 50, file_bytes=2000)
    assert len(trail_files(folder)) > 5
    assert words(folder) == []


def test_an_edited_record_is_named(folder):
    fill(folder)
    (file,) = trail_files(folder)
    rewrite(file, [line.replace("<m4/>", "<mX/>") for line in lines_of(file)])
    assert words(folder) == ["record 5 was changed: it does not have its digest"]


def test_a_record_that_was_replaced_with_a_fitting_digest_is_named(folder):
    fill(folder)
    other = folder.with_name("other")
    trail = trail_of(other)
    for number in range(10):
        trail.append("<forged/>" if number == 4 else f"<m{number}/>", at=AT)
    trail.close()
    (file,), (forged,) = trail_files(folder), trail_files(other)
    lines = lines_of(file)
    lines[4] = lines_of(forged)[4]
    rewrite(file, lines)
    assert words(folder) == ["record 5 is not the one that record 6 was written after: it was replaced"]


def test_an_unreadable_record_is_named(folder):
    fill(folder)
    (file,) = trail_files(folder)
    lines = lines_of(file)
    lines[4] = "\x00" * 40 + "\n"
    rewrite(file, lines)
    assert words(folder)[0] == "record 5 cannot be read: it was changed"


def test_a_removed_record_is_named(folder):
    fill(folder)
    (file,) = trail_files(folder)
    lines = lines_of(file)
    rewrite(file, lines[:4] + lines[5:])
    assert words(folder) == ["record 5 is missing"]


def test_records_in_another_order_are_named(folder):
    fill(folder)
    (file,) = trail_files(folder)
    lines = lines_of(file)
    lines[4], lines[5] = lines[5], lines[4]
    rewrite(file, lines)
    found = words(folder)
    assert "record 5 stands after record 6: records were put in another order, or twice" in found


def test_a_trail_that_was_cut_off_is_noticed(folder):
    fill(folder)
    (file,) = trail_files(folder)
    rewrite(file, lines_of(file)[:7])
    assert words(folder) == ["records 8 to 10 are missing at the end"]


def test_a_trail_that_was_cut_off_with_its_head_is_noticed_by_the_anchor(folder):
    fill(folder)
    anchor = verify(folder).anchor
    (file,) = trail_files(folder)
    lines = lines_of(file)[:7]
    rewrite(file, lines)
    last = json.loads(lines[-1])
    forged = {"n": last["n"], "digest": last["digest"], "file": file.name, "size": file.stat().st_size}
    (folder / "head.json").write_text(json.dumps(forged))
    assert words(folder) == []
    assert words(folder, anchor) == ["record 10, which the anchor names, is missing"]


def test_a_trail_that_was_written_anew_is_noticed_by_the_anchor(folder):
    fill(folder)
    anchor = verify(folder).anchor
    for path in folder.iterdir():
        path.unlink()
    fill(folder, 9)
    trail_of(folder).append("<another/>", at=AT)
    assert words(folder) == []
    assert words(folder, anchor) == ["record 10 is not the one that the anchor names: it was replaced"]


def test_a_removed_head_is_noticed(folder):
    fill(folder)
    (folder / "head.json").unlink()
    assert words(folder) == ["there is no head.json: it was removed, so records at the end may be missing"]


def test_a_removed_file_is_noticed_wherever_it_was(folder):
    for which in (0, 3, -1):
        fill(folder, 60, file_bytes=2000)
        removed = trail_files(folder)[which]
        removed.unlink()
        assert words(folder), f"file {which}"
        for path in folder.iterdir():
            path.unlink()


def test_a_trail_goes_on_after_its_end_was_cut_off_and_still_tells(folder):
    fill(folder)
    (file,) = trail_files(folder)
    content = file.read_bytes()
    file.write_bytes(content[:-700])
    fill(folder, 3)
    found = verify(folder)
    assert found.last == 13, "new records are kept all the same"
    assert any("missing" in problem.words for problem in found.problems)


def test_to_make_room_the_oldest_file_goes_and_the_chain_says_so(folder):
    fill(folder, 200, file_bytes=2000, maximum_bytes=10_000)
    found = verify(folder)
    assert found.problems == ()
    assert found.first > 1
    assert sum(file.stat().st_size for file in trail_files(folder)) <= 12_500


def test_a_file_that_somebody_else_removed_is_not_taken_for_making_room(folder):
    fill(folder, 200, file_bytes=2000, maximum_bytes=10_000)
    trail_files(folder)[0].unlink()
    assert any("the trail does not say that they were removed" in found for found in words(folder))


def test_making_room_tells_which_records_the_repository_never_got(folder):
    trail = trail_of(folder, file_bytes=2000, maximum_bytes=6000, forwarded=True)
    lost = []
    for number in range(40):
        if number == 5:
            write_cursor(folder, 3)
        lost.append(trail.append(f"<m{number}/>", at=AT)[1])
    told = [one for one in lost if one]
    assert told[0][0] == 4, "the repository has the first three"
    assert [after[0] for after in told[1:]] == [before[1] + 1 for before in told[:-1]]


def test_two_processes_append_and_the_chain_is_whole(folder):
    arguments = [(name, "120", "live") for name in ("a", "b")]
    running = [
        subprocess.Popen([sys.executable, "-c", APPENDING, folder, *rest], env=os.environ | {"PYTHONPATH": str(ROOT)}) for rest in arguments
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    found = verify(folder)
    assert (found.records, found.problems) == (240, ())
    messages = [placed.record.message for file in trail_files(folder) for placed in records(file)]
    for name, *_ in arguments:
        assert [message for message in messages if message.startswith(f"<{name}-")] == [f"<{name}-{number}/>" for number in range(120)]


def test_a_process_that_is_killed_after_appending_loses_nothing(folder):
    done = subprocess.run(
        [sys.executable, "-c", APPENDING, folder, "k", "5", "die"], check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    fill(folder, 2)
    assert (verify(folder).records, words(folder)) == (7, [])


@pytest.mark.parametrize("cut", [1, 30, 150])
def test_a_record_that_was_cut_off_by_a_crash_was_never_promised_and_is_removed(cut, folder):
    fill(folder, 5)
    (file,) = trail_files(folder)
    line = lines_of(file)[-1]
    with file.open("a") as half:
        half.write(line[:cut])
    assert words(folder) == []
    fill(folder, 2)
    assert (verify(folder).records, words(folder)) == (7, [])


def test_a_record_whose_head_was_not_written_before_the_crash_is_kept(folder):
    fill(folder, 5)
    before = (folder / "head.json").read_bytes()
    fill(folder, 1)
    (folder / "head.json").write_bytes(before)
    fill(folder, 1)
    assert (verify(folder).records, words(folder), read_head(folder).n) == (7, [], 7)


def test_a_crash_between_a_new_file_and_its_first_record_is_survived(folder):
    fill(folder, 5)
    (folder / "trail-000000000006.jsonl").write_bytes(b'{"n":6')
    fill(folder, 2)
    assert (verify(folder).records, words(folder)) == (7, [])


def test_an_anchor_of_records_that_were_removed_to_make_room_is_no_alarm(folder):
    fill(folder, 3, file_bytes=2000, maximum_bytes=10_000)
    anchor = verify(folder).anchor
    assert isinstance(anchor, Anchor)
    fill(folder, 200, file_bytes=2000, maximum_bytes=10_000)
    assert words(folder, anchor) == []


FULL = """
import resource, signal, sys
from pathlib import Path
from dicom_node.audit.trail import Trail
trail = Trail(Path(sys.argv[1]), file_bytes=1_000_000, maximum_bytes=10**9, forwarded=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
failed = 0
for number in range(30):
    try:
        trail.append(f"<m{number}/>", at="2026-01-05T12:00:00.000+00:00")
    except OSError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
trail.append("<after/>", at="2026-01-05T12:00:00.000+00:00")
print(30 - failed)
"""


def test_a_disk_that_is_full_refuses_records_and_damages_none(folder):
    done = subprocess.run(
        [sys.executable, "-c", FULL, folder],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    written = int(done.stdout)
    assert 0 < written < 30
    found = verify(folder)
    assert (found.records, found.problems) == (written + 1, ())

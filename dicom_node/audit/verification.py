"""Checking the trail: every record's digest, the chain between them, its end against the head, and against an anchor kept elsewhere.

What a chain cannot show is the removal of its last records together with the head. That is what an anchor is for: the number and
digest of a record, written down where nobody who can write here can write.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dicom_node.audit.trail import GENESIS, Head, Record, digest_of, first_number, read_head, trail_files


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """A record that the trail had: its number and digest."""

    n: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong with the trail; `record` is the number of the record, `file` and `line` (from 1) where it was seen."""

    record: int
    file: str
    line: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found. `first` and `last` are the numbers of the records that are there, 0 if there are none."""

    first: int
    last: int
    records: int
    anchor: Anchor | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    file: str
    number: int
    record: Record | None


_MOST_PROBLEMS = 1000
"""A trail that was rewritten would otherwise fill the memory with what is wrong with it."""


def verify(folder: Path, anchor: Anchor | None = None) -> Verification:
    """Check the trail up to the record that is its last one now; what is appended meanwhile is left for the next time."""
    head = read_head(folder)
    check = _Check(anchor)
    for line in _lines(folder):
        if line.record is None or not head.n or line.record.n <= head.n:
            check.line(line)
    check.end(head)
    last = check.last
    return Verification(
        first=check.first.record.n if check.first and check.first.record else 0,
        last=last.n if last else 0,
        records=check.records,
        anchor=Anchor(n=last.n, digest=last.digest) if last else None,
        problems=tuple(check.problems),
    )


def _lines(folder: Path) -> Iterator[_Line]:
    files = trail_files(folder)
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:  # removed to make room, just now
            continue
        whole, _, incomplete = content.rpartition(b"\n")
        rows = whole.split(b"\n") if whole else []
        for number, row in enumerate(rows, start=1):
            yield _Line(file=file.name, number=number, record=_record(row))
        if incomplete and file != files[-1]:  # in the last file it is being written now, or a crash cut it off: never promised
            yield _Line(file=file.name, number=len(rows) + 1, record=None)


def _record(row: bytes) -> Record | None:
    try:
        return msgspec.json.decode(row, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Check:
    """Takes the lines of a trail in order and gathers what is wrong."""

    def __init__(self, anchor: Anchor | None) -> None:
        self._anchor = anchor
        self._anchored: str | None = None
        self._removed: set[tuple[int, str]] = set()
        self._last_line: _Line | None = None
        self.first: _Line | None = None
        self.records = 0
        self.problems: list[Problem] = []

    @property
    def last(self) -> Record | None:
        """The last record that could be read."""
        return self._last_line.record if self._last_line else None

    def line(self, line: _Line) -> None:
        """Check one line against itself and the record before it."""
        record, before = line.record, self.last
        if record is None:
            number = before.n + 1 if before else first_number(Path(line.file)) + line.number - 1
            self._problem(line, number, f"record {number} cannot be read: it was changed")
            return
        self.records += 1
        if record.digest != digest_of(n=record.n, at=record.at, previous=record.previous, message=record.message, removed=record.removed):
            self._problem(line, record.n, f"record {record.n} was changed: it does not have its digest")
        elif before is not None:
            self._link(line, record, before)
        if record.removed is not None:
            self._removed.add((record.removed.through, record.removed.digest))
        if self._anchor is not None and record.n == self._anchor.n:
            self._anchored = record.digest
        self.first = self.first or line
        self._last_line = line

    def _link(self, line: _Line, record: Record, before: Record) -> None:
        if record.n > before.n + 1:
            missing = f"record {before.n + 1} is" if record.n == before.n + 2 else f"records {before.n + 1} to {record.n - 1} are"
            self._problem(line, before.n + 1, f"{missing} missing")
        elif record.n <= before.n:
            self._problem(line, record.n, f"record {record.n} stands after record {before.n}: records were put in another order, or twice")
        elif record.previous != before.digest:
            self._problem(line, before.n, f"record {before.n} is not the one that record {record.n} was written after: it was replaced")

    def end(self, head: Head) -> None:
        """Check what only the whole trail shows: its beginning, its end, and the anchor."""
        self._beginning()
        last, line = self.last, self._last_line
        if last is None or line is None:
            if head.n:
                self._problem(None, 1, f"records up to {head.n} are missing")
        elif not head.n:
            self._problem(line, last.n, "there is no head.json: it was removed, so records at the end may be missing")
        elif last.n < head.n:
            self._problem(line, last.n + 1, f"records {last.n + 1} to {head.n} are missing at the end")
        elif last.digest != head.digest:
            self._problem(line, last.n, f"record {last.n} is not the one that was written last: it was replaced")
        self._end_at_the_anchor()

    def _beginning(self) -> None:
        """The first record there is must be the first of all, or the one after those that the trail says it removed."""
        if self.first is None or self.first.record is None:
            return
        record = self.first.record
        if record.n == 1 and record.previous == GENESIS:
            return
        if (record.n - 1, record.previous) not in self._removed:
            words = f"records before {record.n} are missing, and the trail does not say that they were removed"
            self._problem(self.first, max(1, record.n - 1), words)

    def _end_at_the_anchor(self) -> None:
        anchor = self._anchor
        if anchor is None or self._anchored == anchor.digest:
            return
        if self._anchored is not None:
            self._problem(None, anchor.n, f"record {anchor.n} is not the one that the anchor names: it was replaced")
        elif not any(through >= anchor.n for through, _ in self._removed):
            self._problem(None, anchor.n, f"record {anchor.n}, which the anchor names, is missing")

    def _problem(self, line: _Line | None, record: int, words: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            place = (line.file, line.number) if line else ("", 0)
            self.problems.append(Problem(record=record, file=place[0], line=place[1], words=words))

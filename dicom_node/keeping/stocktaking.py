"""Taking stock: compares every row of the ledger with the object store, and every file with the ledger.

Reads only, unless it is asked to repair; then it does what loses nothing: it records files that have no row, finishes
removals, frees leases that nobody holds, and removes analyses and results that nothing can come to use.
"""

import enum
import hashlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from dicom_node.keeping.object_store import ObjectStore, data_set_digest
from dicom_node.keeping.part10 import NotDicomError, read_file_meta
from dicom_node.keeping.reconcile import reconcile
from dicom_node.ledger import ExpectedFile, FileKind, Ledger

_Value = TypeVar("_Value")
_FOLDERS = {
    FileKind.INSTANCE: "received",
    FileKind.ANALYSIS: "analyses",
    FileKind.RESULT: "results",
    FileKind.QUARANTINE: "quarantine",
}
_YOUNG = timedelta(minutes=1)
"""A younger file without a row may still be on its way to one."""
_SLOW_REMOVAL = timedelta(days=1)
_LONGEST_LEASE_S = 7 * 24 * 3600
"""No setting lets a lease be longer."""


class ProblemKind(enum.StrEnum):
    """What can be wrong. The value is what an operator reads."""

    DATABASE = "the database is damaged"
    MISSING = "a row has no file"
    DAMAGED = "a file is not what its row says"
    ORPHAN = "a file has no row"
    UNUSED = "an analysis or a result has no row"
    ABANDONED = "a temporary file has no writer"
    REMOVAL = "files of purged studies are still there"
    CONTRADICTION = "rows contradict each other"
    LEASE = "a lease is held by nobody"


REPAIRABLE = frozenset(
    {ProblemKind.ORPHAN, ProblemKind.UNUSED, ProblemKind.ABANDONED, ProblemKind.REMOVAL, ProblemKind.CONTRADICTION, ProblemKind.LEASE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; `subject` is a path in the object store, a UID or the owner of a lease."""

    kind: ProblemKind
    subject: str
    detail: str = ""
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocktaking:
    """What was looked at, and what was found."""

    files: int
    bytes_read: int
    problems: tuple[Problem, ...]

    @property
    def standing(self) -> tuple[Problem, ...]:
        """The problems that are left."""
        return tuple(problem for problem in self.problems if not problem.repaired)


def take_stock(ledger: Ledger, store: ObjectStore, *, now: datetime, digests: bool = True, repair: bool = False) -> Stocktaking:
    """Compare ledger and store. `digests` False only looks whether files are there. Safe while the node runs."""
    found = _Look(ledger, store, now, digests=digests).everything()
    return _repaired(found, ledger, store, now) if repair and found.problems else found


class _Look:
    def __init__(self, ledger: Ledger, store: ObjectStore, now: datetime, *, digests: bool) -> None:
        self._ledger, self._store, self._now, self._digests = ledger, store, now, digests
        self._files = self._bytes = 0

    def everything(self) -> Stocktaking:
        problems = tuple(self._problems())
        return Stocktaking(files=self._files, bytes_read=self._bytes, problems=problems)

    def unused(self) -> Iterator[Problem]:
        """Yield the analyses and results without a row."""
        for kind in (FileKind.ANALYSIS, FileKind.RESULT):
            yield from (problem for problem in self._folder(kind, _FOLDERS[kind]) if problem.kind is ProblemKind.UNUSED)

    def _problems(self) -> Iterator[Problem]:
        for line in self._ledger.damage():
            yield Problem(kind=ProblemKind.DATABASE, subject="ledger", detail=line)
        for kind, folder in _FOLDERS.items():
            yield from self._folder(kind, folder)
        for path in self._store.abandoned():
            yield Problem(kind=ProblemKind.ABANDONED, subject=path.as_posix())
        if waiting := self._ledger.removals_before(self._now - _SLOW_REMOVAL):
            yield Problem(kind=ProblemKind.REMOVAL, subject="removals", detail=f"{waiting} files for more than a day")
        for uid, words in self._ledger.contradictions():
            yield Problem(kind=ProblemKind.CONTRADICTION, subject=uid, detail=words)
        for lease in self._ledger.leases():
            if detail := _nobody_holds(lease.owner, lease.until, self._now):
                yield Problem(kind=ProblemKind.LEASE, subject=lease.owner, detail=detail)

    def _folder(self, kind: FileKind, folder: str) -> Iterator[Problem]:
        """Compare two ordered streams, so that a store of millions needs no more memory than one of its folders."""
        rows, files = _Ahead(self._rows(kind)), _Ahead(self._store.files_in_order(folder))
        while (row := rows.next) is not None or files.next is not None:
            path = files.next.as_posix() if files.next is not None else None
            if row is not None and (path is None or row.path <= path):
                yield from self._expected(row)
                rows.step()
                if row.path == path:
                    files.step()
            elif path is not None:
                yield from self._unexpected(kind, path)
                files.step()

    def _rows(self, kind: FileKind) -> Iterator[ExpectedFile]:
        last = ""
        while page := self._ledger.expected_files(kind, after_path=last):
            yield from page
            last = page[-1].path

    def _unexpected(self, kind: FileKind, path: str) -> Iterator[Problem]:
        # The row may have come after its page was read.
        if self._is_young(path) or self._ledger.is_due_for_removal(path) or self._ledger.is_expected(kind, path):
            return
        derived = kind in {FileKind.ANALYSIS, FileKind.RESULT}
        yield Problem(kind=ProblemKind.UNUSED if derived else ProblemKind.ORPHAN, subject=path)

    def _expected(self, row: ExpectedFile) -> Iterator[Problem]:
        try:
            size, digest = self._look_at(row)
        except FileNotFoundError:
            if self._ledger.is_expected(row.kind, row.path):  # not purged since its page was read
                yield Problem(kind=ProblemKind.MISSING, subject=row.path, detail=f"{row.kind} of {row.about}")
            return
        except (OSError, NotDicomError) as exc:
            yield Problem(kind=ProblemKind.DAMAGED, subject=row.path, detail=f"cannot be read: {type(exc).__name__}")
            return
        self._files += 1
        self._bytes += size
        if not size:
            yield Problem(kind=ProblemKind.DAMAGED, subject=row.path, detail=f"{row.kind} of {row.about} is empty")
        elif row.digest and digest and digest != row.digest:
            yield Problem(kind=ProblemKind.DAMAGED, subject=row.path, detail=f"{row.kind} of {row.about} has another digest")

    def _look_at(self, row: ExpectedFile) -> tuple[int, str]:
        """Return the size of a file, and its digest as rows have it, "" if it is not to be read."""
        path = self._store.absolute(Path(row.path))
        return _size_and_digest(path, row.kind) if self._digests else (path.stat().st_size, "")

    def _is_young(self, path: str) -> bool:
        try:
            return self._now - self._store.written_at(Path(path)) < _YOUNG
        except FileNotFoundError:
            return True


class _Ahead(Generic[_Value]):
    """An iterator whose next value can be seen; None at its end."""

    def __init__(self, values: Iterator[_Value]) -> None:
        self._values = values
        self.next: _Value | None = next(values, None)

    def step(self) -> None:
        self.next = next(self._values, None)


def _size_and_digest(path: Path, kind: FileKind) -> tuple[int, str]:
    """Return the size in bytes, and the digest as rows have it: BLAKE3 of a received data set, else SHA-256 of the file."""
    with path.open("rb") as file:
        if kind is FileKind.INSTANCE:
            read_file_meta(file)
            digest = data_set_digest(file)
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _nobody_holds(owner: str, until: datetime, now: datetime) -> str:
    host, _, pid = owner.rpartition("/")
    if host == socket.gethostname() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
        return "its process is gone"
    return "it ends later than any lease can" if until > now + timedelta(seconds=_LONGEST_LEASE_S) else ""


def _repaired(found: Stocktaking, ledger: Ledger, store: ObjectStore, now: datetime) -> Stocktaking:
    """Repair what can be, and say of each problem whether it is gone."""
    kinds = {problem.kind for problem in found.problems}
    if kinds & {ProblemKind.ORPHAN, ProblemKind.ABANDONED}:
        reconcile(store, ledger, now=now)
    if ProblemKind.UNUSED in kinds:
        remove_unused(ledger, store, [Path(problem.subject) for problem in found.problems if problem.kind is ProblemKind.UNUSED])
    if ProblemKind.REMOVAL in kinds:
        while due := ledger.due_removals():
            ledger.remove(due, store.remove)
    if ProblemKind.LEASE in kinds:
        ledger.release_impossible_leases(now=now, longest_s=_LONGEST_LEASE_S)
        for problem in found.problems:
            if problem.kind is ProblemKind.LEASE and problem.detail == "its process is gone":
                ledger.release_leases(owner=problem.subject, now=now)
    if ProblemKind.CONTRADICTION in kinds:
        ledger.finish_finished(now=now)
    left = {(problem.kind, problem.subject, problem.detail) for problem in _Look(ledger, store, now, digests=False).everything().problems}
    return replace(found, problems=tuple(_after_repair(problem, left) for problem in found.problems))


def _after_repair(problem: Problem, left: set[tuple[ProblemKind, str, str]]) -> Problem:
    gone = problem.kind in REPAIRABLE and (problem.kind, problem.subject, problem.detail) not in left
    return replace(problem, repaired=gone)


def tidy(ledger: Ledger, store: ObjectStore, *, now: datetime) -> int:
    """Remove the analyses and results that crashes left and nothing can come to use; return how many.

    One is left where a worker was killed between an analysis and its record, and a newer revision came before the next attempt.
    """
    look = _Look(ledger, store, now, digests=False)
    return remove_unused(ledger, store, [Path(problem.subject) for problem in look.unused()])


def remove_unused(ledger: Ledger, store: ObjectStore, paths: Sequence[Path]) -> int:
    """Remove analyses and results without a row that no work item can come to use any more; return how many."""
    written = []
    for path in paths:
        try:
            written.append((path, store.written_at(path)))
        except FileNotFoundError:
            continue
    return len(ledger.remove_unreferenced(written, store.remove))

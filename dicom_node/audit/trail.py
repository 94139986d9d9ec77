"""The local audit trail: files of records, each of which carries the digest of the one before.

A record is durable when `append` returns. Any number of threads and processes of one host may append: they take turns by a
file lock. `head.json` says how far the trail goes; it is written after the record, so that a trail that is shorter than its head
has lost records, while one that is longer was only cut off between the two. Everything here is readable for this user only.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import msgspec
import structlog

GENESIS = "0" * 64
"""What the first record carries for the digest of the one before."""
_FILES = "trail-*.jsonl"
_OWNER_ONLY = 0o600
_log = structlog.get_logger(__name__)


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Records up to `through` are no longer kept; `digest` is that of the last of them."""

    through: int
    digest: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trail. `message` is XML, empty in a record that only says what was removed. `at` is ISO 8601."""

    n: int
    at: str
    previous: str
    message: str
    digest: str
    removed: Removed | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last record of the trail, and the file (with its size in bytes after it) that holds it."""

    n: int
    digest: str
    file: str
    size: int


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far the repository has the trail."""

    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A record and where its line ends, in bytes."""

    record: Record
    file: Path
    end: int


EMPTY = Head(n=0, digest=GENESIS, file="", size=0)


def digest_of(*, n: int, at: str, previous: str, message: str, removed: Removed | None) -> str:
    """Return the digest of a record: SHA-256 (hexadecimal) of its canonical JSON without the digest."""
    values = [n, at, previous, message, None if removed is None else [removed.through, removed.digest]]
    return hashlib.sha256(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def trail_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of the trail, oldest first."""
    return tuple(sorted(folder.glob(_FILES)))


def first_number(file: Path) -> int:
    """Return the number of the first record of a file, which its name says."""
    return int(file.stem.rpartition("-")[2])


def read_head(folder: Path) -> Head:
    """Return the head; the empty one if there is none or it cannot be understood."""
    try:
        return msgspec.json.decode((folder / "head.json").read_bytes(), type=Head)
    except (FileNotFoundError, msgspec.DecodeError):
        return EMPTY


def read_cursor(folder: Path) -> int:
    """Return the number of the last record that the repository has; 0 if it has none."""
    try:
        return msgspec.json.decode((folder / "sent.json").read_bytes(), type=Cursor).n
    except (FileNotFoundError, msgspec.DecodeError):
        return 0


def write_cursor(folder: Path, n: int) -> None:
    """Remember that the repository has the trail up to record `n`."""
    replace_file(folder / "sent.json", msgspec.json.encode(Cursor(n=n)))


def records(file: Path, *, start: int = 0) -> Iterator[Placed]:
    """Yield the records of a file from byte `start` on. A line that is none is left out; one that is not whole is the end."""
    with file.open("rb") as lines:
        lines.seek(start)
        end = start
        for line in lines:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                record = msgspec.json.decode(line, type=Record)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            yield Placed(record=record, file=file, end=end)


def _opened(path: Path, flags: int) -> int:
    """Return a file descriptor; a new file belongs to whom the folder belongs, also if root gives a command beside a running node."""
    descriptor = os.open(path, flags | os.O_CREAT, _OWNER_ONLY)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def replace_file(path: Path, data: bytes) -> None:
    """Make `data` the whole content of a file that only its owner may read."""
    temporary = path.with_suffix(f".{os.getpid()}.part")
    with os.fdopen(_opened(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        file.write(data)
    temporary.replace(path)


class Trail:
    """Appends to the trail in `folder`. A file is full at `file_bytes`; beyond `maximum_bytes` in all, the oldest is removed.

    `forwarded`: a repository is to get every record, so that removing one that it has not got is a loss.
    """

    def __init__(self, folder: Path, *, file_bytes: int, maximum_bytes: int, forwarded: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._file_bytes = file_bytes
        self._maximum_bytes = maximum_bytes
        self._forwarded = forwarded
        self._thread_lock = Lock()
        self._lock_file = _opened(folder / "lock", os.O_RDWR)

    @property
    def folder(self) -> Path:
        return self._folder

    def close(self) -> None:
        os.close(self._lock_file)

    def append(self, message: str, *, at: str) -> tuple[Record, tuple[int, int] | None]:
        """Make a record durable and return it; and the first and last number of records that were lost to make room, if any were.

        Raises:
            OSError: it could not be written; the trail is as it was.
        """
        with self._turn():
            head = self._true_head()
            record = self._write(head, message, at=at, removed=None)
            return record, self._make_room(at)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _true_head(self) -> Head:
        """Return the head, after what a process left undone that was killed while it appended."""
        head = read_head(self._folder)
        files = trail_files(self._folder)
        if not files:
            if head.n:
                _log.error("audit_trail_damaged", reason=f"the files of records up to {head.n} are gone")
            return head
        if head.file == files[-1].name and head.size == files[-1].stat().st_size:
            return head
        return self._recovered(head, files[-1])

    def _recovered(self, head: Head, last: Path) -> Head:
        size = last.stat().st_size
        found = Head(n=first_number(last) - 1, digest=GENESIS, file=last.name, size=0)
        for placed in records(last):
            found = Head(n=placed.record.n, digest=placed.record.digest, file=last.name, size=placed.end)
        if found.size == 0 and found.n == head.n:  # killed before the first record of a new file was whole
            found = msgspec.structs.replace(head, file=last.name, size=0)
        if found.n < head.n:
            _log.error("audit_trail_damaged", first=found.n + 1, last=head.n, reason="records are gone: `dicom-node audit verify`")
            return msgspec.structs.replace(head, file="", size=0)  # in a new file the chain goes on from the last promised record
        if found.size < size:
            _log.warning("audit_record_incomplete", record=found.n + 1, consequence="it was never promised, and is removed")
            os.truncate(last, found.size)
        return found

    def _write(self, head: Head, message: str, *, at: str, removed: Removed | None) -> Record:
        n = head.n + 1
        digest = digest_of(n=n, at=at, previous=head.digest, message=message, removed=removed)
        record = Record(n=n, at=at, previous=head.digest, message=message, digest=digest, removed=removed)
        line = msgspec.json.encode(record) + b"\n"
        new = not head.file or (head.size > 0 and head.size + len(line) > self._file_bytes)
        name, before = (f"trail-{n:012d}.jsonl", 0) if new else (head.file, head.size)
        self._append_line(self._folder / name, line, before)
        if new:
            self._synchronise_folder()
        replace_file(self._folder / "head.json", msgspec.json.encode(Head(n=n, digest=digest, file=name, size=before + len(line))))
        return record

    @staticmethod
    def _append_line(path: Path, line: bytes, before: int) -> None:
        descriptor = _opened(path, os.O_WRONLY | os.O_APPEND)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)

    def _make_room(self, at: str) -> tuple[int, int] | None:
        """Remove the oldest files beyond the room there is. That is recorded before it is done, so that the chain says what is missing."""
        files = trail_files(self._folder)
        excess = sum(file.stat().st_size for file in files) - self._maximum_bytes
        doomed: list[Path] = []
        while excess > 0 and len(files) - len(doomed) > 1:
            doomed.append(files[len(doomed)])
            excess -= doomed[-1].stat().st_size
        if not doomed:
            return None
        last = self._last(doomed[-1], first_number(files[len(doomed)]) - 1)
        first, sent = first_number(doomed[0]), read_cursor(self._folder)
        self._write(read_head(self._folder), "", at=at, removed=last)
        for file in doomed:
            file.unlink(missing_ok=True)
        self._synchronise_folder()
        if not self._forwarded or sent >= last.through:
            return None
        return max(first, sent + 1), last.through

    @staticmethod
    def _last(file: Path, number: int) -> Removed:
        """What a removal says of the last record of a file, whose number the next file's name tells."""
        digest = GENESIS
        for placed in records(file):
            digest = placed.record.digest
        return Removed(through=number, digest=digest)

    def _synchronise_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

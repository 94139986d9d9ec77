"""The folder of Part 10 files, received and produced. Only this module writes there; every name is computed, none comes from a peer."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO

_INCOMING = Path("incoming")
_RECEIVED = Path("received")
_QUARANTINE = Path("quarantine")


def received_path(*, sop_instance_uid: str, digest: str) -> Path:
    """Return where a received data set lies: named by hashes of its UID and its bytes, so no two versions share a file."""
    name = hashlib.sha256(sop_instance_uid.encode("utf-8", errors="surrogateescape")).hexdigest()
    return _RECEIVED / name[:2] / f"{name}-{digest}.dcm"


def quarantine_path(*, digest: str) -> Path:
    """Return where bytes lie that are no instance."""
    return _QUARANTINE / f"{digest}.dcm"


class ObjectStore:
    """Files that are complete and durable, or not there.

    The folder must be on a file system with hard links. A file once in place is never overwritten.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._durable_folders: set[Path] = set()
        self._lock = Lock()
        for name in (_INCOMING, _RECEIVED, _QUARANTINE):
            self._make_folder(self._folder / name)

    def absolute(self, relative: Path) -> Path:
        """Return the place of a file in the file system.

        Raises:
            ValueError: the path leads out of the store.
        """
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"not a path inside the object store: {relative}")
        return self._folder / relative

    def free_bytes(self) -> int:
        """Return the space left for us, in bytes."""
        state = os.statvfs(self._folder)
        return state.f_bavail * state.f_frsize

    def incoming(self, prefix: bytes = b"") -> "IncomingFile":
        """Return a new temporary file that starts with `prefix`."""
        return IncomingFile(self, self._folder / _INCOMING / f"{secrets.token_hex(16)}.part", prefix)

    def write_atomic(self, relative: Path, data: bytes) -> Path:
        """Make `data` the durable content of `relative`, unless a complete file is there already; return `relative`."""
        file = self.incoming()
        try:
            file.write(data)
            return file.keep(relative)
        finally:
            file.discard()

    def quarantine(self, source: Path) -> Path:
        """Move a file of the store out of the way, durably; return its new relative path."""
        relative = _QUARANTINE / source.name
        self.place(self.absolute(source), relative)
        self.absolute(source).unlink()
        return relative

    def received_files(self) -> Iterator[Path]:
        """Yield the relative path of every received file."""
        for path in (self._folder / _RECEIVED).rglob("*.dcm"):
            yield path.relative_to(self._folder)

    def remove_abandoned(self) -> int:
        """Remove temporary files whose writer is dead; return how many. Those of a living process are locked, and stay."""
        removed = 0
        for path in (self._folder / _INCOMING).iterdir():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def place(self, source: Path, relative: Path) -> None:
        """Give a complete, synchronised file of this file system its final name. The first file under a name wins."""
        target = self.absolute(relative)
        self._make_folder(target.parent)
        # If another writer was first, it may not have synchronised the folder yet: we do, before anybody is told.
        with contextlib.suppress(FileExistsError):
            target.hardlink_to(source)
        _synchronise(target.parent)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and its name durable. Once a process and folder: one that exists may not be durable yet."""
        with self._lock:
            if folder in self._durable_folders:
                return
            folder.mkdir(parents=True, exist_ok=True)
            current = folder
            while current != self._folder.parent:
                _synchronise(current.parent)
                current = current.parent
            self._durable_folders.add(folder)


class IncomingFile:
    """A temporary file on its way into the store. Locked while it is open, so that a start-up scan leaves it alone."""

    def __init__(self, store: ObjectStore, path: Path, prefix: bytes) -> None:
        self._store = store
        self._path = path
        self._prefix_bytes = len(prefix)
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        # Unbuffered: on a full disk, closing must not try to write once more.
        self._file = path.open("xb", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._append(prefix)
        except OSError:
            self.discard()
            raise

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of what was written, without the prefix."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            OSError: the disk is full, for one; the file is useless then.
        """
        self._append(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def content(self) -> BinaryIO:
        """Return the file opened for reading, at the first byte after the prefix. The caller closes it."""
        file = self._path.open("rb")
        file.seek(self._prefix_bytes)
        return file

    def keep(self, relative: Path) -> Path:
        """Make the file durable under `relative` and return that; the temporary name is gone afterwards."""
        os.fsync(self._file.fileno())
        self._store.place(self._path, relative)
        self.discard()
        return relative

    def discard(self) -> None:
        """Remove the temporary name. Harmless when it is gone."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _append(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

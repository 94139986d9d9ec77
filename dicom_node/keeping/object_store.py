"""The folder of Part 10 files, received and produced. Only this module writes there; every name is computed, none comes from a peer."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from blake3 import blake3

from dicom_node.failpoints import failpoint
from dicom_node.keeping.incoming_file import IncomingFile
from dicom_node.keeping.kernel_synchroniser import KernelSynchroniser
from dicom_node.keeping.synchronising import synchronise

_INCOMING = Path("incoming")
_RECEIVED = Path("received")
_QUARANTINE = Path("quarantine")
_PIECE_BYTES = 1 << 20


def received_path(*, study_instance_uid: str, sop_instance_uid: str, digest: str) -> Path:
    """Return where a received data set lies: named by hashes of its UID and its bytes, so no two versions share a file.

    The instances of a study lie in one folder, which is synchronised once for all that arrive together.
    """
    return Path(f"{_RECEIVED}/{_hash(study_instance_uid)[:2]}/{_hash(sop_instance_uid)}-{digest}.dcm")


def data_set_digest(file: BinaryIO) -> str:
    """Return the BLAKE3 (hexadecimal) of the rest of an open file, as `IncomingFile.digest` has it of a data set."""
    digest = blake3()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode("utf-8", errors="surrogateescape")).hexdigest()


def quarantine_path(*, digest: str) -> Path:
    """Return where bytes lie that are no instance."""
    return _QUARANTINE / f"{digest}.dcm"


def _folder_of(place: str) -> str:
    return place.rpartition("/")[0]


class ObjectStore:
    """Files that are complete and durable, or not there.

    The folder must be on a file system with hard links. A file once in place is never overwritten.

    `power_loss` False keeps the order of things, and so all promises if a process dies, but leaves it to the operating system when
    they reach the disk.
    """

    def __init__(self, folder: Path, *, power_loss: bool = True) -> None:
        self._folder = folder.absolute()
        self._root = os.fspath(self._folder)
        self._incoming = os.fspath(self._folder / _INCOMING)
        self._power_loss = power_loss
        self._durable_folders: set[str] = set()
        self._lock = Lock()
        for name in (_INCOMING, _RECEIVED, _QUARANTINE):
            self._make_folder(os.fspath(self._folder / name))

    def absolute(self, relative: Path) -> Path:
        """Return the place of a file in the file system.

        Raises:
            ValueError: the path leads out of the store.
        """
        return Path(self._place(relative))

    def _place(self, relative: Path) -> str:
        """As `absolute`. What is done for each object goes by text: a Path costs more than the system call that it is for."""
        text = os.fspath(relative)
        if text.startswith("/") or ".." in text.split("/"):
            raise ValueError(f"not a path inside the object store: {relative}")
        return f"{self._root}/{text}"

    def free_bytes(self) -> int:
        """Return the space left for us, in bytes."""
        state = os.statvfs(self._folder)
        return state.f_bavail * state.f_frsize

    def incoming(self, prefix: bytes = b"") -> IncomingFile:
        """Return a new temporary file that starts with `prefix`."""
        return IncomingFile(f"{self._incoming}/{secrets.token_hex(16)}.part", prefix, power_loss=self._power_loss)

    def write_atomic(self, relative: Path, data: bytes) -> Path:
        """Make `data` the durable content of `relative`, unless a complete file is there already; return `relative`."""
        file = self.incoming()
        try:
            file.write(data)
            return self.keep(file, relative)
        finally:
            file.discard()

    def keep(self, file: IncomingFile, relative: Path) -> Path:
        """Make a file durable under `relative`, unless a complete file is there already; no temporary name is left."""
        try:
            file.synchronise()
            self.place(file.path, relative)
        finally:
            file.discard()
        return relative

    def has_folder_of(self, relative: Path) -> bool:
        """Say whether the folder is known to be durable, so that `give_name` waits for no disk."""
        return _folder_of(self._place(relative)) in self._durable_folders

    def give_name(self, file: IncomingFile, relative: Path) -> "NamedFile":
        """Give a file its final name, which must hold its digest; `synchronise_all` makes both durable.

        Named first and synchronised then, the folder's entry goes to the disk along with the file. So a file that was never finished may
        lie under a name; its digest tells. Whoever finds a name taken does not rely on that file, and puts its own in place of it.

        Raises:
            OSError: the disk is full, for one.
        """
        file.flush()
        target = self._place(relative)
        is_first = self._link(file.path, target)
        if is_first:
            file.drop_temporary_name()
        return NamedFile(file=file, target=target, is_first=is_first)

    def synchronise_all(self, files: Sequence["NamedFile"]) -> None:
        """Make named files durable, together, and set `failure` of those that could not be.

        It is faster if `IncomingFile.start_writing` was called of each before.
        """
        folders: dict[str, list[NamedFile]] = {}
        for named in files:
            try:
                self._synchronise_named(named)
                folders.setdefault(_folder_of(named.target), []).append(named)
            except OSError as exc:
                named.failure = exc
        for folder, in_folder in folders.items():
            try:
                self._synchronise(folder)
            except OSError as exc:
                for named in in_folder:
                    named.failure = exc

    @staticmethod
    def _synchronise_named(named: "NamedFile") -> None:
        named.file.synchronise()
        if not named.is_first:
            os.replace(named.file.path, named.target)  # noqa: PTH105 - as `_place`

    def synchronise_aside(self, named: "NamedFile", kernel: KernelSynchroniser | None, ended: Callable[[], None]) -> bool:
        """As `synchronise_all`, without waiting: `ended` is called when it is done. False if that cannot be, and nothing was done.

        Raises:
            OSError: as `IncomingFile.synchronise`, before anything was done.
        """

        def note(failure: OSError | None) -> None:
            named.failure = failure
            ended()

        if not named.is_first:
            return False
        failpoint("store.written")
        if not self._power_loss:
            ended()
            return True
        return kernel is not None and kernel.submit(named.file.descriptor, _folder_of(named.target), note)

    def quarantine(self, source: Path) -> Path:
        """Move a file of the store out of the way, durably; return its new relative path."""
        relative = _QUARANTINE / source.name
        self.place(self.absolute(source), relative)
        self.absolute(source).unlink()
        return relative

    def received_files(self) -> Iterator[Path]:
        """Yield the relative path of every received file."""
        for folder in self.received_folders():
            yield from self.files_in(folder)

    def received_folders(self) -> Iterator[str]:
        """Yield the folders that received files lie in, relative: few enough files in each to hold their names in memory."""
        for folder in sorted((self._folder / _RECEIVED).iterdir()):
            yield folder.relative_to(self._folder).as_posix()

    def has(self, relative: Path) -> bool:
        """Say whether a file is there."""
        return self.absolute(relative).exists()

    def written_at(self, relative: Path) -> datetime:
        """Return when a file was last written to."""
        return datetime.fromtimestamp(self.absolute(relative).stat().st_mtime, tz=UTC)

    def is_empty(self, relative: Path) -> bool:
        """Say whether a file holds nothing: not even what stands before every data set."""
        return self.absolute(relative).stat().st_size == 0

    def files_in(self, folder: str) -> Iterator[Path]:
        """Yield the relative path of every file below a folder of the store, folder by folder."""
        for path in (self._folder / folder).rglob("*"):
            if path.is_file():
                yield path.relative_to(self._folder)

    def files_in_order(self, folder: str) -> Iterator[Path]:
        """Yield the relative paths of all files in a folder of the store or in the folders in it, in the order of their names."""
        top = self._folder / folder
        if not top.is_dir():
            return
        for entry in sorted(top.iterdir()):
            found = sorted(entry.iterdir()) if entry.is_dir() else [entry]
            yield from (path.relative_to(self._folder) for path in found)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files, durably. What is not there is removed already."""
        folders = set()
        for path in map(self.absolute, paths):
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            if folder.exists():
                self._synchronise(folder)

    def abandoned(self) -> Iterator[Path]:
        """Yield temporary files whose writer is dead. Those of a living process are locked."""
        for path in sorted((self._folder / _INCOMING).iterdir()):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield path.relative_to(self._folder)

    @contextlib.contextmanager
    def scanned_alone(self) -> Iterator[None]:
        """Keep other processes from scanning the store meanwhile; waits for one that does. The death of a process ends it."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def remove_abandoned(self) -> int:
        """Remove temporary files whose writer is dead; return how many."""
        removed = 0
        for path in self.abandoned():
            self.absolute(path).unlink(missing_ok=True)
            removed += 1
        return removed

    def place(self, source: Path | str, relative: Path) -> None:
        """Give a complete, synchronised file of this file system its final name. The first file under a name wins."""
        target = self._place(relative)
        self._link(source, target)
        self._synchronise(_folder_of(target))

    def synchronise(self, relative: Path) -> None:
        """Make a file durable that is there, and its name."""
        place = self._place(relative)
        for part in (place, _folder_of(place)):
            self._synchronise(part)

    def _link(self, source: Path | str, target: str) -> bool:
        """Give a file its final name, unless it is taken: then say False. The folder is to be synchronised before anybody is told."""
        self._make_folder(_folder_of(target))
        try:
            os.link(source, target)
        except FileExistsError:  # by another writer, who may not have synchronised the folder yet
            return False
        failpoint("store.placed")
        return True

    def _synchronise(self, place: Path | str) -> None:
        if self._power_loss:
            synchronise(place)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and its name durable. Once a process and folder: one that exists may not be durable yet."""
        if folder in self._durable_folders:
            return
        with self._lock:
            current = Path(folder)
            current.mkdir(parents=True, exist_ok=True)
            while current != self._folder.parent:
                self._synchronise(current.parent)
                current = current.parent
            self._durable_folders.add(folder)


@dataclass(slots=True, kw_only=True)
class NamedFile:
    """A file that has its final name, or is to replace the one that has. `failure` is why it could not be made durable."""

    file: IncomingFile
    target: str
    is_first: bool
    failure: OSError | None = None

"""A file on its way into the object store: written and hashed as it comes, in whole blocks, and durable when asked."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from dicom_node.failpoints import failpoint
from dicom_node.keeping.synchronising import start_writing

# What may be in memory only of a file that is still arriving. A smaller one is left until it is complete.
_WRITE_BEHIND_BYTES = 1 << 20
# Written in whole blocks of the file: ext4 takes a quarter less CPU time for them than for pieces as the network cuts them.
_BLOCK_BYTES = 1 << 16


class IncomingFile:
    """A temporary file on its way into the store. Locked while it is open, so that a start-up scan leaves it alone."""

    __slots__ = (
        "_has_temporary_name",
        "_hash",
        "_held",
        "_open",
        "_power_loss",
        "_prefix_bytes",
        "_started_bytes",
        "descriptor",
        "path",
        "size_bytes",
    )

    def __init__(self, path: str, prefix: bytes, *, power_loss: bool) -> None:
        self.path = path
        self._power_loss = power_loss
        self._prefix_bytes = len(prefix)
        self._started_bytes = 0
        self._hash = blake3()
        self._held = bytearray(prefix)  # what does not fill a block yet
        self.size_bytes = 0
        # Unbuffered: on a full disk, closing must not try to write once more.
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._open = self._has_temporary_name = True
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            failpoint("store.opened")
        except OSError:
            self.discard()
            raise

    @property
    def digest(self) -> str:
        """BLAKE3 (hexadecimal) of what was written, without the prefix."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            OSError: the disk is full, for one; the file is useless then.
        """
        self._hash.update(data)
        self.size_bytes += len(data)
        held = len(self._held) + len(data)
        rest = held % _BLOCK_BYTES
        if rest == held:
            self._held += data
            return
        cut = len(data) - rest
        self._append(self._held, memoryview(data)[:cut])
        self._held = bytearray(memoryview(data)[cut:])
        if self.size_bytes - self._started_bytes >= _WRITE_BEHIND_BYTES:
            self.start_writing()

    def flush(self) -> None:
        """Write what is held back.

        Raises:
            OSError: as `write`.
        """
        if self._held:
            self._append(self._held)
            self._held = bytearray()

    def synchronise(self) -> None:
        """Make what was written durable.

        Raises:
            OSError: as `write`.
        """
        self.flush()
        failpoint("store.written")
        if self._power_loss:
            os.fsync(self.descriptor)
        failpoint("store.synchronised")

    def start_writing(self) -> None:
        """Let the kernel begin to write what it holds of the file in memory, without waiting for it."""
        if self._power_loss and self._open:
            start_writing(self.descriptor, self._started_bytes)
            self._started_bytes = self.size_bytes - len(self._held)

    def read(self, offset: int, count: int) -> bytes:
        """Return what was written there, counted from the first byte after the prefix; less at the end."""
        self.flush()
        return os.pread(self.descriptor, count, self._prefix_bytes + offset)

    def content(self) -> BinaryIO:
        """Return the file opened for reading, at the first byte after the prefix. The caller closes it."""
        self.flush()
        file = Path(self.path).open("rb")  # noqa: SIM115 - the caller closes it
        file.seek(self._prefix_bytes)
        return file

    def discard(self) -> None:
        """Close the file and remove its temporary name. Harmless when that is done."""
        if self._open:
            self._open = False
            self.drop_temporary_name()
            os.close(self.descriptor)

    def drop_temporary_name(self) -> None:
        """Remove the temporary name of a file that has its final one. What a file system does for a name, it does for fewer then."""
        if self._has_temporary_name:
            self._has_temporary_name = False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108 - a Path for each object costs more than the system call

    def _append(self, *pieces: bytearray | memoryview) -> None:
        failpoint("store.writing")
        written = os.writev(self.descriptor, pieces)
        if written < sum(map(len, pieces)):
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[self._written(rest) :]

    def _written(self, rest: memoryview) -> int:
        written = os.write(self.descriptor, rest)
        if written == 0:
            raise OSError(errno.ENOSPC, "nothing could be written")
        return written

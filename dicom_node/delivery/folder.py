"""Results into a folder, as Part 10 files named by their SOP Instance UID: whole or not at all, never overwritten."""

import errno
import os
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from config.destinations import FolderDestination
from dicom_node.delivery import Receipt
from dicom_node.failures import DestinationUnreachableError, ResultConflictError, ResultMissingError, ResultUnsuitableError

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_MAXIMUM_UID_LENGTH = 64
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderChannel:
    """Writes results as `<SOP Instance UID>.dcm`. The folder must exist: a missing one is taken for a share that is not mounted."""

    def __init__(self, destination: FolderDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._name = destination.name
        self._folder = destination.folder
        self._clock = clock

    def deliver(self, path: Path, sop_class_uid: str, sop_instance_uid: str) -> Receipt:
        """Return a receipt with status "written", or "present" if the same file was there already; it is on disk now."""
        if len(sop_instance_uid) > _MAXIMUM_UID_LENGTH or not _UID.fullmatch(sop_instance_uid):
            raise ResultUnsuitableError(f"a result has no valid SOP Instance UID to name its file in {self._name}; requeue the study")
        try:
            content = path.read_bytes()
        except FileNotFoundError as exc:
            raise ResultMissingError(f"the file of result {sop_instance_uid} is not in the object store; is it mounted?") from exc
        target = self._folder / f"{sop_instance_uid}.dcm"
        try:
            status = "written" if self._create(target, content) else "present"
        except OSError as exc:
            reason = errno.errorcode.get(exc.errno or 0, "unknown")
            raise DestinationUnreachableError(
                f"{self._name} takes no file ({reason}); is the folder mounted, writable and not full?"
            ) from exc
        return Receipt(destination=self._name, status=status, accepted=True, warning=False, at=self._clock())

    def _create(self, target: Path, content: bytes) -> bool:
        """Make `target` hold `content`, durably. Return False if it did already."""
        written = not self._holds(target, content) and self._write(target, content)
        _sync_folder(self._folder)
        return written

    def _write(self, target: Path, content: bytes) -> bool:
        temporary = self._folder / f".{target.name}.{uuid.uuid4().hex}.part"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _publish(temporary, target)
        except FileExistsError:
            return not self._holds(target, content)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _holds(self, target: Path, content: bytes) -> bool:
        if not target.exists():
            return False
        if target.read_bytes() != content:
            raise ResultConflictError(f"{self._name} holds another content under {target.name}; compare the two and remove the wrong one")
        return True


def _publish(temporary: Path, target: Path) -> None:
    """Give `temporary` the name `target`. A link, unlike a rename, never replaces a file.

    Raises:
        FileExistsError: somebody was faster.
    """
    try:
        os.link(temporary, target)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from exc
        temporary.rename(target)  # shares without hard links (SMB, FAT)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # some network file systems cannot sync a folder and say so with EINVAL
            raise
    finally:
        os.close(descriptor)

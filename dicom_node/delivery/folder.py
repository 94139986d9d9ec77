"""Results into a folder, as files named by their SOP Instance UID or identifier: whole or not at all, never overwritten."""

import errno
import os
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from config.destinations import FolderDestination
from dicom_node.delivery import Outgoing, Receipt
from dicom_node.delivery.pace import Pace
from dicom_node.delivery.variants import read_content
from dicom_node.failures import DestinationUnreachableError, ResultConflictError, ResultUnsuitableError

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_LONGEST = 64
_ENDINGS = frozenset({".dcm", ".hl7", ".json"})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderChannel:
    """Writes results under their SOP Instance UID or identifier, with the ending that says what they are (.dcm, .hl7, .json).

    The folder must exist: a missing one is taken for a share that is not mounted.
    """

    def __init__(self, destination: FolderDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._name = destination.name
        self._folder = destination.folder
        self._clock = clock
        self._pace = Pace(destination.maximum_bytes_per_s)

    def deliver(self, result: Outgoing) -> Receipt:
        """Return a receipt with status "written", or "present" if the same file was there already; it is on disk now."""
        target = self._folder / self._file_name(result)
        content = read_content(result)
        try:
            status = "written" if self._create(target, content) else "present"
        except OSError as exc:
            raise self._takes_no_file(exc) from exc
        return Receipt(destination=self._name, status=status, accepted=True, warning=False, at=self._clock())

    def probe(self) -> str:
        """Return that a file can be made; it raises as `DeliveryChannel` says."""
        trial = self._folder / f".probe.{uuid.uuid4().hex}.part"
        try:
            trial.touch(exist_ok=False)
            trial.unlink()
        except OSError as exc:
            raise self._takes_no_file(exc) from exc
        return "writable"

    def _file_name(self, result: Outgoing) -> str:
        form = _UID if result.sop_class_uid else _IDENTIFIER
        name = result.sop_instance_uid if result.sop_class_uid else result.sop_instance_uid.removeprefix("urn:uuid:")
        if len(name) > _LONGEST or not form.fullmatch(name) or result.path.suffix not in _ENDINGS:
            raise ResultUnsuitableError(f"a result has no valid SOP Instance UID to name its file in {self._name}; requeue the study")
        return name + result.path.suffix

    def _takes_no_file(self, exc: OSError) -> DestinationUnreachableError:
        reason = errno.errorcode.get(exc.errno or 0, "unknown")
        return DestinationUnreachableError(f"{self._name} takes no file ({reason}); is the folder mounted, writable and not full?")

    def _create(self, target: Path, content: bytes) -> bool:
        """Make `target` hold `content`, durably. Return False if it did already."""
        written = not self._holds(target, content) and self._write(target, content)
        _sync_folder(self._folder)
        return written

    def _write(self, target: Path, content: bytes) -> bool:
        temporary = self._folder / f".{target.name}.{uuid.uuid4().hex}.part"
        try:
            with temporary.open("xb") as file:
                for block in self._pace.blocks(content):
                    file.write(block)
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

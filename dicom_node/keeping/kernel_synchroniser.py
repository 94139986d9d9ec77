"""Files and folders made durable by the kernel's own threads: Linux AIO, fsync by io_submit(2). No thread of ours waits for the disk."""

import errno
import os
import select
from collections import deque
from collections.abc import Callable

import structlog
from caio import linux_aio

_AT_ONCE = 512
_NEGATIVE = 1 << 63  # results come as unsigned numbers of 64 bits
_log = structlog.get_logger(__name__)


class KernelSynchroniser:
    """What was submitted is synchronised in any order, all at once. To be used by one thread at a time."""

    def __init__(self) -> None:
        """Raises:
        OSError: this kernel, or what confines this process, has no such thing, or no more of it (fs.aio-max-nr); or `caio` has not.
        """
        if linux_aio is None:
            raise OSError(errno.ENOSYS, "caio has no compiled part for this kernel, machine and Python")
        try:
            self._context = linux_aio.Context(_AT_ONCE)
        except SystemError as exc:
            raise OSError(errno.EAGAIN, f"refused by the kernel: {exc}") from exc
        self._submitted = 0
        self._ended: deque[tuple[Callable[[OSError | None], None], OSError | None]] = deque()

    @classmethod
    def if_possible(cls) -> "KernelSynchroniser | None":
        """Return one, or None where there can be none."""
        try:
            return cls()
        except OSError as exc:
            _log.warning("kernel_synchronises_nothing", reason=exc.strerror)
            return None

    @property
    def descriptor(self) -> int:
        """Can be read from when something has ended: then it is time to `collect`."""
        return int(self._context.fileno)

    def submit(self, descriptor: int, folder: str, ended: Callable[[OSError | None], None]) -> bool:
        """Let an open file and the names in a folder be made durable.

        `collect` calls `ended` afterwards, with what went wrong. False, and nothing will be called, if there is no room: then it is for
        the caller to wait for the disk. A failure is told to one of them only, so nothing that was submitted may be tried again.
        """
        if self._submitted + 2 > _AT_ONCE:
            return False
        failure: OSError | None = None
        left = 2

        def one_ended(result: int) -> None:
            nonlocal failure, left
            self._submitted -= 1
            left -= 1
            if result >= _NEGATIVE:
                failure = _failure(2 * _NEGATIVE - result)
            if left == 0:
                self._ended.append((ended, failure))

        try:
            # Opened for each: of those that share an open folder, only one is told of a failure. The kernel keeps it open meanwhile.
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            operations = [linux_aio.Operation.fsync(place) for place in (descriptor, opened)]
            for operation in operations:
                operation.set_callback(one_ended)
            taken = self._context.submit(*operations)
        except (OverflowError, SystemError, ValueError):
            return False
        finally:
            os.close(opened)
        self._submitted += taken
        if taken < len(operations):
            left, failure = taken, _failure(errno.EAGAIN)
        return True

    def collect(self) -> None:
        """Call what is to be called of all that has ended. Waits for nothing."""
        try:
            self._context.poll()
        except BlockingIOError:
            return
        self._context.process_events()
        while self._ended:
            ended, failure = self._ended.popleft()
            ended(failure)

    def close(self) -> None:
        """Wait until all has ended, and `collect`."""
        waiting = select.poll()
        waiting.register(self.descriptor, select.POLLIN)
        while self._submitted:
            waiting.poll()
            self.collect()


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))

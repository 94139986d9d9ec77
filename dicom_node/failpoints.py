"""Named places between an effect and its record, where the durability tests stop the node or make a disk fail.

Off unless the environment variable `DICOM_NODE_FAILPOINT` is set, as `NAME:ACTION` or `NAME:ACTION:N`: ACTION (one of
`Action`) happens when the place is reached for the N-th time in a process, once. Never set it on a node that serves patients.
"""

import enum
import errno
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import NoReturn

VARIABLE = "DICOM_NODE_FAILPOINT"


class Action(enum.StrEnum):
    """What happens: the process ends as on a power cut of its own, or the operation fails."""

    KILL = "kill"
    ERROR = "error"
    ENOSPC = "ENOSPC"
    EROFS = "EROFS"
    EIO = "EIO"


POINTS: Mapping[str, str] = {
    "store.opened": "a temporary file is there, with nothing in it",
    "store.writing": "bytes are about to be written to a temporary file",
    "store.written": "a file is whole, and not synchronised",
    "store.synchronised": "a file is durable, and its final name is not, if it has one",
    "store.placed": "a file has its final name, and that is not synchronised; nor is the file, if it was received",
    "receive.kept": "a received file is durable, and has no row",
    "receive.answered": "the sender of a new instance was told that it is stored, and there is no row; of a known one, it was not told",
    "receive.recorded": "the row of an instance is committed, and the receiver does not know",
    "settle.begun": "a study counts as complete, and has no new revision",
    "settle.recorded": "a revision is committed",
    "route.selected": "it is known which route takes what, and there is no work item",
    "route.recorded": "the work items of a revision are committed",
    "analyse.begun": "a work item is leased, and nothing is computed",
    "analyse.kept": "an analysis is durable, and not recorded",
    "analyse.recorded": "an analysis is recorded",
    "encode.begun": "a work item is leased, and nothing is encoded",
    "encode.kept": "the results are durable, and not recorded",
    "encode.recorded": "the results are recorded and due",
    "deliver.claimed": "a delivery is leased, and nothing is sent",
    "deliver.sent": "the destination has taken a result, and that is not recorded",
    "deliver.recorded": "that a destination took a result is recorded",
    "purge.recorded": "a study is PURGED, and its files are still there",
    "purge.removed": "files of a purged study are removed, and still on the list of files to remove",
    "purge.done": "files of a purged study are removed and off the list",
    "ledger.commit": "a change of the ledger is about to be committed",
    "ledger.committed": "a change of the ledger is committed, and its caller does not know",
}
"""Every place, and what is true there."""


class FailpointError(Exception):
    """An operation failed because a test asked for it."""


@dataclass(slots=True, kw_only=True)
class _Armed:
    name: str
    action: Action
    passes_left: int


def parse(text: str) -> tuple[str, Action, int]:
    """Return name, action and number of `NAME:ACTION` or `NAME:ACTION:N`.

    Raises:
        ValueError: there is no such place, action or number.
    """
    name, _, rest = text.partition(":")
    action, _, number = rest.partition(":")
    if name not in POINTS:
        raise ValueError(f"{VARIABLE}: there is no failpoint {name!r}; there are {', '.join(POINTS)}")
    if number and (not number.isdigit() or int(number) < 1):
        raise ValueError(f"{VARIABLE}: {number!r} is no number from 1 on")
    return name, Action(action), int(number or 1)


def _armed() -> _Armed | None:
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    name, action, number = parse(text)
    return _Armed(name=name, action=action, passes_left=number)


_lock = Lock()
_state = _armed()


def arm_from_environment() -> None:
    """Read the environment variable anew: for a process that was forked with another one."""
    globals()["_state"] = _armed()


def failpoint(name: str) -> None:
    """Do here what the environment variable asks for; otherwise nothing.

    Raises:
        OSError: no space, read-only, or input and output error.
        FailpointError: a failure of another kind.
    """
    if _state is not None and _state.name == name:
        _reached(_state)


def _reached(armed: _Armed) -> None:
    with _lock:
        armed.passes_left -= 1
        if armed.passes_left != 0:
            return
    _ACTIONS[armed.action](armed.name)


def _kill(name: str) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(name)  # not reached


def _fail(name: str) -> NoReturn:
    raise FailpointError(f"failpoint {name}")


def _os_error(number: int) -> Callable[[str], NoReturn]:
    def fail(name: str) -> NoReturn:
        raise OSError(number, os.strerror(number), name)

    return fail


_ACTIONS: Mapping[Action, Callable[[str], NoReturn]] = {
    Action.KILL: _kill,
    Action.ERROR: _fail,
    Action.ENOSPC: _os_error(errno.ENOSPC),
    Action.EROFS: _os_error(errno.EROFS),
    Action.EIO: _os_error(errno.EIO),
}

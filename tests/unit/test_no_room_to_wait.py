"""The kernel may have no room to watch one more socket: that costs a connection, and never the node."""

import errno
import select
from pathlib import Path
from typing import Any

import pytest

from dicom_node.upper_layer import listener
from tests.associating import RELEASE_RQ, Requestor
from tests.receiving import receiving

_EPOLL = select.epoll


class CrampedPoll:
    """An epoll that refuses to watch anything more while `full`."""

    full = False

    def __init__(self) -> None:
        self._poll = _EPOLL()

    def register(self, watched: Any, events: int) -> None:
        if CrampedPoll.full:
            raise OSError(errno.ENOSPC, "no room (fs.epoll.max_user_watches)")
        self._poll.register(watched, events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)


def test_it_accepts_again_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.select, "epoll", CrampedPoll)
    with receiving(tmp_path) as node, Requestor(node.port) as before:
        assert before.associate().kind == 2
        monkeypatch.setattr(CrampedPoll, "full", True)
        with Requestor(node.port) as refused:
            assert refused.hear() is None, "closed at once"
        monkeypatch.setattr(CrampedPoll, "full", False)
        with Requestor(node.port) as after:
            assert after.associate().kind == 2
        before.say(RELEASE_RQ)
        answer = before.hear()
        assert answer is not None
        assert answer.kind == 6, "nobody else noticed"

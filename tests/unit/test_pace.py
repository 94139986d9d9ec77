"""The bandwidth limit of a destination."""

from dataclasses import dataclass

import pytest

from dicom_node.delivery.pace import SLOWEST_BYTES_PER_S, Pace


@dataclass
class Clock:
    """Time that passes only while somebody waits, or when it is told to."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds


@pytest.mark.parametrize(("rate", "size", "expected_s"), [(1000, 5000, 5), (1_000_000, 5_000_000, 5), (10**9, 5000, 0)])
def test_no_more_than_the_limit_leaves_in_a_second(rate: int, size: int, expected_s: float) -> None:
    clock = Clock()
    content = bytes(size)
    sent = b""
    for block in Pace(rate, clock=clock, wait=clock.wait).blocks(content):
        sent += block
        assert len(sent) <= rate * (clock.now_s - 100) + max(rate / 8, 1) + 1e-6, "never far ahead of the limit"
    assert sent == content
    assert clock.now_s - 100 == pytest.approx(expected_s, abs=0.1)


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    clock = Clock()
    pace = Pace(1000, clock=clock, wait=clock.wait)
    pace.sent(1000)
    clock.now_s += 3600
    started = clock.now_s
    pace.sent(1000)
    assert clock.now_s - started == pytest.approx(1)


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    assert b"".join(Pace(None, clock=clock, wait=clock.wait).blocks(b"x" * 200_000)) == b"x" * 200_000
    assert clock.now_s == 100


def test_time_outs_grow_with_the_size() -> None:
    assert Pace(1000).seconds_for(5000) == 5
    assert Pace(None).seconds_for(SLOWEST_BYTES_PER_S) == 1

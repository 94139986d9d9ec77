"""How long to wait before trying again."""

import random

import pytest

from dicom_node.backoff import Backoff


@pytest.mark.parametrize(("failures", "ceiling_s"), [(1, 5), (2, 10), (3, 20), (4, 40), (9, 900), (10**6, 900)])
def test_the_longest_wait_doubles_with_each_failure_up_to_the_maximum(failures: int, ceiling_s: float) -> None:
    assert Backoff(first_s=5, maximum_s=900).ceiling_s(failures) == ceiling_s


def test_waits_fill_the_whole_range_so_that_many_who_wait_do_not_come_back_together() -> None:
    rng = random.Random(1)
    waits = [Backoff(first_s=8, maximum_s=100).delay_s(2, rng) for _ in range(2000)]
    assert 0 <= min(waits) < 0.2
    assert 15.8 < max(waits) <= 16
    assert sum(waits) / len(waits) == pytest.approx(8, abs=0.4)


def test_the_same_seed_waits_the_same() -> None:
    backoff = Backoff(first_s=1, maximum_s=60)
    assert [backoff.delay_s(n, random.Random(7)) for n in (1, 5)] == [backoff.delay_s(n, random.Random(7)) for n in (1, 5)]


def test_a_first_wait_above_the_maximum_is_cut_to_it() -> None:
    assert Backoff(first_s=60, maximum_s=10).ceiling_s(1) == 10


def test_nothing_is_waited_for_before_the_first_failure() -> None:
    with pytest.raises(ValueError, match="first failure"):
        Backoff(first_s=1, maximum_s=2).delay_s(0, random.Random(1))


def test_a_negative_wait_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Backoff(first_s=-1, maximum_s=2)

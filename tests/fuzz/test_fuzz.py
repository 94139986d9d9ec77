"""A short run of the fuzzer with a fixed seed; `make fuzz` is the long one."""

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fuzz.campaign import run
from tests.fuzz.mutation import Mutator, split
from tests.fuzz.targets import Target, conversations, targets

SEED = 20261122
NAMES = (
    "upper layer",
    "listener",
    "listener, TLS",
    "listener, within TLS",
    "data-set header",
    "header, two ways",
    "Part 10",
    "pixel data",
    "PEM dates",
    "settings",
    "prompt set",
    "manifest",
)


@pytest.fixture(scope="module")
def found() -> Iterator[Sequence[Target]]:
    with tempfile.TemporaryDirectory() as folder, targets(Path(folder)) as all_of_them:
        yield all_of_them


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_stranger_sends_or_writes_crashes_hangs_or_leaks(found: Sequence[Target], name: str, tmp_path: Path) -> None:
    (target,) = [one for one in found if one.name == name]
    outcome = run(target, inputs=target.short, seed=SEED, crashes=tmp_path)
    assert outcome.left_open == 0
    assert outcome.outcomes > 1 or target.short < 10, "the inputs are all alike to it: they test nothing"


def test_every_target_is_in_the_short_run_and_the_shares_make_a_whole(found: Sequence[Target]) -> None:
    assert tuple(target.name for target in found) == NAMES
    assert sum(target.share for target in found) == pytest.approx(1)


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second = (Mutator(random.Random(SEED), conversations()) for _ in range(2))
    assert [first.conversation() for _ in range(200)] == [second.conversation() for _ in range(200)]


def test_recorded_conversations_are_whole_pdus() -> None:
    for conversation in conversations():
        assert b"".join(split(conversation)) == conversation
        assert all(len(pdu) == 6 + int.from_bytes(pdu[2:6], "big") for pdu in split(conversation))

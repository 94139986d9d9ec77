"""The limit of associations holds for all receivers of a node together."""

import time
from pathlib import Path

from config.receiving import ReceiveSection
from dicom_node.receiving.association_count import AssociationCount
from dicom_node.receiving.peers import Peers, Why


def peers(count: AssociationCount) -> Peers:
    settings = ReceiveSection(calling_ae_titles=("CT-1",), maximum_associations=3)
    return Peers(ae_title="NODE", settings=settings, monotonic=time.monotonic, count=count)


def admitted(by: Peers) -> Why | None:
    refusal = by.admit(calling_ae_title="CT-1", called_ae_title="NODE", address="127.0.0.1", certificate=None)
    return None if refusal is None else refusal.why


def test_what_is_open_in_one_receiver_counts_in_the_others(tmp_path: Path) -> None:
    first, second = (peers(AssociationCount(tmp_path / "associations", number)) for number in range(2))
    assert [admitted(first), admitted(second), admitted(first)] == [None, None, None]
    assert [admitted(first), admitted(second)] == [Why.TOO_MANY, Why.TOO_MANY]
    first.release(calling_ae_title="CT-1")
    assert admitted(second) is None


def test_the_successor_of_a_receiver_that_died_begins_with_none(tmp_path: Path) -> None:
    first, second = (AssociationCount(tmp_path / "associations", number) for number in range(2))
    first.say(2)
    second.say(1)
    assert (first.elsewhere(), second.elsewhere()) == (1, 2)
    AssociationCount(tmp_path / "associations", 0)
    assert second.elsewhere() == 0

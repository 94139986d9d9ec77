"""The table of the conformance statement: what each peer did and what the node did, run anew."""

from pathlib import Path

import pytest

from tests.peers.delivery_table import SCENARIOS, Scenario, run

STATEMENT = Path(__file__).parents[2] / "dicom_node" / "README.md"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.peer)
def test_the_statement_says_what_the_node_does(scenario: Scenario, tmp_path: Path) -> None:
    assert run(scenario, tmp_path).markdown() in STATEMENT.read_text()

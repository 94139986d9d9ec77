"""The table of the conformance statement: what each peer did and what the node did, run anew."""

from pathlib import Path

import pytest

from tests.peers.delivery_table import SCENARIOS, Scenario, run
from tests.peers.npm_hl7 import why_not

STATEMENT = Path(__file__).parents[2] / "dicom_node" / "README.md"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.peer)
def test_the_statement_says_what_the_node_does(scenario: Scenario, tmp_path: Path) -> None:
    if "node-hl7-server" in scenario.peer and (reason := why_not()):
        pytest.skip(reason)
    assert run(scenario, tmp_path).markdown() in STATEMENT.read_text()

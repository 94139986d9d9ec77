"""Every cell of PS3.8 Table 9-10 that an acceptor which never asks for the release can get to."""

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from dicom_node.upper_layer.machine import Action, Event, ImpossibleEventError, State, transition

# Transcribed from PS3.8 Table 9-10, columns Sta1, Sta2, Sta3, Sta6, Sta8, Sta13; the columns of the requestor are left out,
# and Sta7 and Sta9 to Sta12, which begin with an A-RELEASE request of one's own.
TABLE = """
        Sta1         Sta2         Sta3         Sta6         Sta8         Sta13
Evt3    -            AA-1/Sta13   AA-8/Sta13   AA-8/Sta13   AA-8/Sta13   AA-6/Sta13
Evt4    -            AA-1/Sta13   AA-8/Sta13   AA-8/Sta13   AA-8/Sta13   AA-6/Sta13
Evt5    AE-5/Sta2    -            -            -            -            -
Evt6    -            AE-6/Sta3    AA-8/Sta13   AA-8/Sta13   AA-8/Sta13   AA-7/Sta13
Evt7    -            -            AE-7/Sta6    -            -            -
Evt8    -            -            AE-8/Sta13   -            -            -
Evt9    -            -            -            DT-1/Sta6    AR-7/Sta8    -
Evt10   -            AA-1/Sta13   AA-8/Sta13   DT-2/Sta6    AA-8/Sta13   AA-6/Sta13
Evt12   -            AA-1/Sta13   AA-8/Sta13   AR-2/Sta8    AA-8/Sta13   AA-6/Sta13
Evt13   -            AA-1/Sta13   AA-8/Sta13   AA-8/Sta13   AA-8/Sta13   AA-6/Sta13
Evt14   -            -            -            -            AR-4/Sta13   -
Evt15   -            -            AA-1/Sta13   AA-1/Sta13   AA-1/Sta13   -
Evt16   -            AA-2/Sta1    AA-3/Sta1    AA-3/Sta1    AA-3/Sta1    AA-2/Sta1
Evt17   -            AA-5/Sta1    AA-4/Sta1    AA-4/Sta1    AA-4/Sta1    AR-5/Sta1
Evt18   -            AA-2/Sta1    -            -            -            AA-2/Sta1
Evt19   -            AA-1/Sta13   AA-8/Sta13   AA-8/Sta13   AA-8/Sta13   AA-7/Sta13
"""
HEADER, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], state, cell) for row in ROWS for state, cell in zip(HEADER, row[1:], strict=True)]


@pytest.mark.parametrize(("event", "state", "cell"), CELLS, ids=[f"{event} in {state}" for event, state, _ in CELLS])
def test_each_cell_is_that_of_the_standard(event: str, state: str, cell: str) -> None:
    if cell == "-":
        with pytest.raises(ImpossibleEventError):
            transition(State(state), Event(event))
        return
    action, following = transition(State(state), Event(event))
    assert f"{action.name.replace('_', '-')}/{following.value}" == cell


def test_the_transcription_covers_every_state_and_event() -> None:
    assert {state for _, state, _ in CELLS} == {state.value for state in State}
    assert {event for event, _, _ in CELLS} == {event.value for event in Event}
    assert len(CELLS) == len(State) * len(Event)
    assert len(Action) == len({action.value for action in Action})


@pytest.mark.parametrize(("event", "state", "cell"), CELLS, ids=[f"{event} in {state}" for event, state, _ in CELLS])
def test_pynetdicoms_table_has_the_same_actions(event: str, state: str, cell: str) -> None:
    assert TRANSITION_TABLE.get((event, state), "-") == cell.partition("/")[0]

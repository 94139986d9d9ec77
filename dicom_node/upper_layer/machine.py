"""The protocol machine of PS3.8 Table 9-10, as far as an acceptor that never asks for the release can get.

Sta4 and Sta5 belong to the requestor. Sta7 and Sta9 to Sta12 begin with an A-RELEASE request of our own, and this node makes none: it
answers releases, or aborts.
"""

import enum
from collections.abc import Mapping


class State(enum.Enum):
    """PS3.8 Tables 9-1 to 9-5."""

    __hash__ = object.__hash__  # members are the only ones of their kind; by name, as Enum does it, takes ten times as long

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_DECISION = "Sta3"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE_RESPONSE = "Sta8"
    AWAITING_CLOSE = "Sta13"


class Event(enum.Enum):
    """What can happen to an acceptor (the rows of Table 9-10). Evt1, 2 and 11 are a requestor's."""

    __hash__ = object.__hash__  # members are the only ones of their kind; by name, as Enum does it, takes ten times as long

    ACCEPT_PDU = "Evt3"
    REJECT_PDU = "Evt4"
    CONNECTED = "Evt5"
    REQUEST_PDU = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    DATA_PDU = "Evt10"
    RELEASE_REQUEST_PDU = "Evt12"
    RELEASE_RESPONSE_PDU = "Evt13"
    RELEASE_RESPONSE = "Evt14"
    ABORT = "Evt15"
    ABORT_PDU = "Evt16"
    CLOSED = "Evt17"
    TIMER_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(enum.Enum):
    """PS3.8 Tables 9-6 to 9-9. A-P-ABORT indications go to whoever uses the association."""

    __hash__ = object.__hash__  # members are the only ones of their kind; by name, as Enum does it, takes ten times as long

    AE_5 = "respond to the connection; start ARTIM"
    AE_6 = "stop ARTIM; indicate the request (or reject it ourselves)"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ; start ARTIM"
    DT_1 = "send P-DATA-TF"
    DT_2 = "indicate data"
    AR_2 = "indicate the release"
    AR_4 = "send A-RELEASE-RP; start ARTIM"
    AR_5 = "stop ARTIM"
    AR_7 = "send P-DATA-TF during the release"
    AA_1 = "send A-ABORT as the user (or as the provider, where no user is yet); restart ARTIM"
    AA_2 = "stop ARTIM; close the connection"
    AA_3 = "indicate the abort; close the connection"
    AA_4 = "indicate a provider abort"
    AA_5 = "stop ARTIM; nobody is there to be told"
    AA_6 = "ignore"
    AA_7 = "send A-ABORT again"
    AA_8 = "send A-ABORT as the provider; indicate a provider abort; start ARTIM"


class ImpossibleEventError(Exception):
    """The table has no cell for this: a mistake of ours, never of a peer."""


_S, _E, _A = State, Event, Action
_UNEXPECTED = (_A.AA_8, _S.AWAITING_CLOSE)
_TOO_EARLY = (_A.AA_1, _S.AWAITING_CLOSE)
_IGNORED = (_A.AA_6, _S.AWAITING_CLOSE)

# While it is decided about the request, and while a release waits for its answer, no PDU but A-ABORT may come.
_NOTHING_BUT_ABORT: Mapping[Event, tuple[Action, State]] = {
    _E.ACCEPT_PDU: _UNEXPECTED,
    _E.REJECT_PDU: _UNEXPECTED,
    _E.REQUEST_PDU: _UNEXPECTED,
    _E.DATA_PDU: _UNEXPECTED,
    _E.RELEASE_REQUEST_PDU: _UNEXPECTED,
    _E.RELEASE_RESPONSE_PDU: _UNEXPECTED,
    _E.INVALID_PDU: _UNEXPECTED,
    _E.ABORT: (_A.AA_1, _S.AWAITING_CLOSE),
    _E.ABORT_PDU: (_A.AA_3, _S.IDLE),
    _E.CLOSED: (_A.AA_4, _S.IDLE),
}

TRANSITIONS: Mapping[State, Mapping[Event, tuple[Action, State]]] = {
    _S.IDLE: {_E.CONNECTED: (_A.AE_5, _S.AWAITING_REQUEST)},
    _S.AWAITING_REQUEST: {
        _E.ACCEPT_PDU: _TOO_EARLY,
        _E.REJECT_PDU: _TOO_EARLY,
        _E.REQUEST_PDU: (_A.AE_6, _S.AWAITING_DECISION),
        _E.DATA_PDU: _TOO_EARLY,
        _E.RELEASE_REQUEST_PDU: _TOO_EARLY,
        _E.RELEASE_RESPONSE_PDU: _TOO_EARLY,
        _E.ABORT_PDU: (_A.AA_2, _S.IDLE),
        _E.CLOSED: (_A.AA_5, _S.IDLE),
        _E.TIMER_EXPIRED: (_A.AA_2, _S.IDLE),
        _E.INVALID_PDU: _TOO_EARLY,
    },
    _S.AWAITING_DECISION: {
        **_NOTHING_BUT_ABORT,
        _E.ACCEPT: (_A.AE_7, _S.ESTABLISHED),
        _E.REJECT: (_A.AE_8, _S.AWAITING_CLOSE),
    },
    _S.ESTABLISHED: {
        **_NOTHING_BUT_ABORT,
        _E.SEND_DATA: (_A.DT_1, _S.ESTABLISHED),
        _E.DATA_PDU: (_A.DT_2, _S.ESTABLISHED),
        _E.RELEASE_REQUEST_PDU: (_A.AR_2, _S.AWAITING_RELEASE_RESPONSE),
    },
    _S.AWAITING_RELEASE_RESPONSE: {
        **_NOTHING_BUT_ABORT,
        _E.SEND_DATA: (_A.AR_7, _S.AWAITING_RELEASE_RESPONSE),
        _E.RELEASE_RESPONSE: (_A.AR_4, _S.AWAITING_CLOSE),
    },
    _S.AWAITING_CLOSE: {
        _E.ACCEPT_PDU: _IGNORED,
        _E.REJECT_PDU: _IGNORED,
        _E.REQUEST_PDU: (_A.AA_7, _S.AWAITING_CLOSE),
        _E.DATA_PDU: _IGNORED,
        _E.RELEASE_REQUEST_PDU: _IGNORED,
        _E.RELEASE_RESPONSE_PDU: _IGNORED,
        _E.ABORT_PDU: (_A.AA_2, _S.IDLE),
        _E.CLOSED: (_A.AR_5, _S.IDLE),
        _E.TIMER_EXPIRED: (_A.AA_2, _S.IDLE),
        _E.INVALID_PDU: (_A.AA_7, _S.AWAITING_CLOSE),
    },
}


def transition(state: State, event: Event) -> tuple[Action, State]:
    """Return what to do and the next state.

    Raises:
        ImpossibleEventError: the table's cell is empty.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError as exc:
        raise ImpossibleEventError(f"{event.value} cannot happen in {state.value}") from exc

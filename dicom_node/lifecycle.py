"""The life cycle of everything the ledger holds, as three tables: state -> event -> state.

A state is named for what is durably true. "In progress" is no state: it is a lease in the ledger, so that a crash needs
no repair. What is not in a table is illegal, and only the ledger asks.
"""

import enum
from collections.abc import Mapping
from typing import TypeVar

_State = TypeVar("_State", bound=enum.StrEnum)
_Event = TypeVar("_Event", bound=enum.StrEnum)


class StudyState(enum.StrEnum):
    """RECEIVING: instances may still be on their way. SETTLED: the revision is fixed. PURGED: its files are gone."""

    RECEIVING = "RECEIVING"
    SETTLED = "SETTLED"
    PURGED = "PURGED"


class StudyEvent(enum.StrEnum):
    INSTANCE_RECEIVED = "instance received"
    QUIET = "quiet"
    PURGE = "purge"


class WorkItemState(enum.StrEnum):
    """One study revision under one route (a work item, PS3.4 Annex CC)."""

    ROUTED = "ROUTED"
    ANALYSED = "ANALYSED"
    ENCODED = "ENCODED"
    DELIVERED = "DELIVERED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"


class WorkItemEvent(enum.StrEnum):
    FINDINGS_RECORDED = "findings recorded"
    RESULTS_ENCODED = "results encoded"
    ALL_ACCEPTED = "all accepted"
    NEWER_REVISION = "newer revision"
    ATTEMPTS_EXHAUSTED = "attempts exhausted"
    REQUEUED = "requeued"


class DeliveryState(enum.StrEnum):
    """One result object and one destination. COMMITTED: the archive took over the duty to keep it (PS3.4 Annex J).

    FAILED: parked until an operator retries or drops it. DROPPED: an operator decided that it is not to be sent; final.
    """

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"
    DROPPED = "DROPPED"


class DeliveryEvent(enum.StrEnum):
    ACCEPTED = "accepted"
    COMMITTED = "committed"
    NOT_KEPT = "not kept"
    COMMITMENT_REFUSED = "commitment refused"
    ATTEMPTS_EXHAUSTED = "attempts exhausted"
    REQUEUED = "requeued"
    DROPPED = "dropped"


class CircuitState(enum.StrEnum):
    """One destination (a circuit breaker). OPEN: nothing is sent until its time has come. HALF_OPEN: one result is sent, to see."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class CircuitEvent(enum.StrEnum):
    TOO_MANY_FAILURES = "too many failures"
    PROBED = "probed"
    CLOSED = "closed"


STUDY: Mapping[StudyState, Mapping[StudyEvent, StudyState]] = {
    StudyState.RECEIVING: {
        StudyEvent.INSTANCE_RECEIVED: StudyState.RECEIVING,
        StudyEvent.QUIET: StudyState.SETTLED,
    },
    StudyState.SETTLED: {
        StudyEvent.INSTANCE_RECEIVED: StudyState.RECEIVING,
        StudyEvent.PURGE: StudyState.PURGED,
    },
    StudyState.PURGED: {
        StudyEvent.INSTANCE_RECEIVED: StudyState.RECEIVING,
    },
}

WORK_ITEM: Mapping[WorkItemState, Mapping[WorkItemEvent, WorkItemState]] = {
    WorkItemState.ROUTED: {
        WorkItemEvent.FINDINGS_RECORDED: WorkItemState.ANALYSED,
        WorkItemEvent.NEWER_REVISION: WorkItemState.SUPERSEDED,
        WorkItemEvent.ATTEMPTS_EXHAUSTED: WorkItemState.FAILED,
    },
    WorkItemState.ANALYSED: {
        WorkItemEvent.RESULTS_ENCODED: WorkItemState.ENCODED,
        WorkItemEvent.ATTEMPTS_EXHAUSTED: WorkItemState.FAILED,
    },
    WorkItemState.ENCODED: {
        WorkItemEvent.ALL_ACCEPTED: WorkItemState.DELIVERED,
    },
    WorkItemState.DELIVERED: {},
    WorkItemState.SUPERSEDED: {},
    WorkItemState.FAILED: {
        WorkItemEvent.REQUEUED: WorkItemState.ROUTED,
    },
}

DELIVERY: Mapping[DeliveryState, Mapping[DeliveryEvent, DeliveryState]] = {
    DeliveryState.PENDING: {
        DeliveryEvent.ACCEPTED: DeliveryState.ACCEPTED,
        DeliveryEvent.ATTEMPTS_EXHAUSTED: DeliveryState.FAILED,
        DeliveryEvent.DROPPED: DeliveryState.DROPPED,
    },
    DeliveryState.ACCEPTED: {
        DeliveryEvent.COMMITTED: DeliveryState.COMMITTED,
        DeliveryEvent.NOT_KEPT: DeliveryState.PENDING,
        DeliveryEvent.COMMITMENT_REFUSED: DeliveryState.FAILED,
    },
    DeliveryState.COMMITTED: {},
    DeliveryState.FAILED: {
        DeliveryEvent.REQUEUED: DeliveryState.PENDING,
        DeliveryEvent.ACCEPTED: DeliveryState.ACCEPTED,  # the answer to an attempt that was given up came after all
        DeliveryEvent.DROPPED: DeliveryState.DROPPED,
    },
    DeliveryState.DROPPED: {},
}


CIRCUIT: Mapping[CircuitState, Mapping[CircuitEvent, CircuitState]] = {
    CircuitState.CLOSED: {
        CircuitEvent.TOO_MANY_FAILURES: CircuitState.OPEN,
    },
    CircuitState.OPEN: {
        CircuitEvent.PROBED: CircuitState.HALF_OPEN,
        CircuitEvent.CLOSED: CircuitState.CLOSED,
    },
    CircuitState.HALF_OPEN: {
        CircuitEvent.PROBED: CircuitState.HALF_OPEN,
        CircuitEvent.TOO_MANY_FAILURES: CircuitState.OPEN,
        CircuitEvent.CLOSED: CircuitState.CLOSED,
    },
}


class IllegalTransitionError(Exception):
    """An event came in a state that has no place for it: a bug, never a peer's fault."""


def after(table: Mapping[_State, Mapping[_Event, _State]], state: _State, event: _Event) -> _State:
    """Return the state that follows `state` on `event`.

    Raises:
        IllegalTransitionError: the table has no such transition.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransitionError(f"{event.value!r} is not possible in state {state.value}") from None

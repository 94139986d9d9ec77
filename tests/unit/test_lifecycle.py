"""The life cycle tables, and the ledger that alone may ask them."""

import pytest
from sqlalchemy import CheckConstraint

from dicom_node.ledger import tables
from dicom_node.lifecycle import (
    DELIVERY,
    STUDY,
    WORK_ITEM,
    DeliveryState,
    IllegalTransitionError,
    StudyEvent,
    StudyState,
    WorkItemEvent,
    WorkItemState,
    after,
)


@pytest.mark.parametrize(("table", "states"), [(STUDY, StudyState), (WORK_ITEM, WorkItemState), (DELIVERY, DeliveryState)])
def test_every_state_has_a_row_and_every_target_is_a_state(table, states):
    assert set(table) == set(states)
    assert all(target in states for events in table.values() for target in events.values())


def test_a_late_instance_reopens_a_settled_study():
    assert after(STUDY, StudyState.SETTLED, StudyEvent.INSTANCE_RECEIVED) is StudyState.RECEIVING


def test_a_delivered_report_never_changes():
    for event in WorkItemEvent:
        with pytest.raises(IllegalTransitionError, match="DELIVERED"):
            after(WORK_ITEM, WorkItemState.DELIVERED, event)


@pytest.mark.parametrize(
    ("table", "states"),
    [(tables.studies, StudyState), (tables.work_items, WorkItemState), (tables.deliveries, DeliveryState)],
)
def test_the_check_constraint_equals_the_enum(table, states):
    (check,) = [c for c in table.constraints if isinstance(c, CheckConstraint)]
    assert str(check.sqltext) == f"state IN ({', '.join(repr(s.value) for s in states)})"

"""The rows of instances that nobody has sent before, in studies that are being received: nearly all, so this way has to be short."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from operator import attrgetter

from sqlalchemy import Integer, and_, bindparam, func, insert, or_, select, update

from dicom_node.ledger.prepared import DriverTransaction, Prepared
from dicom_node.ledger.tables import instances, studies
from dicom_node.lifecycle import StudyState
from dicom_node.study import Arrival, ReceivedInstance

_COLUMNS = tuple(field.name for field in fields(ReceivedInstance) if field.name in instances.c)

_values = attrgetter(*_COLUMNS)

_SAME_TIME = timedelta(milliseconds=100)
"""Arrivals so close to each other need not be told apart to know when a study is quiet, and so most of them leave its row alone."""

_while_received = and_(studies.c.study_instance_uid == bindparam("uid"), studies.c.state == bindparam("while_state"))
_urgent = studies.c.urgent.bitwise_or(bindparam("urgently"))
_expected = func.coalesce(bindparam("expected", type_=Integer), studies.c.expected_instances)
_grow_study = Prepared(
    update(studies)
    .where(
        _while_received,
        or_(
            studies.c.last_arrival <= bindparam("before"),
            studies.c.urgent != _urgent,
            studies.c.expected_instances.is_distinct_from(_expected),
        ),
    )
    .values(urgent=_urgent, expected_instances=_expected, last_arrival=bindparam("at"))
)
_is_received = Prepared(select(studies.c.revision).where(_while_received))
_begin_study = Prepared(
    insert(studies).values(
        {
            name: bindparam(name)
            for name in (
                "study_instance_uid",
                "state",
                "revision",
                "routed_revision",
                "urgent",
                "expected_instances",
                "first_arrival",
                "last_arrival",
            )
        }
    )
)
_is_known = Prepared(select(instances.c.version).where(instances.c.sop_instance_uid == bindparam("uid")))
_add_instances = Prepared(insert(instances).values({name: bindparam(name) for name in _COLUMNS}))


def is_known(transaction: DriverTransaction, sop_instance_uid: str) -> bool:
    """Say whether an instance has a row."""
    return _is_known.finds(transaction, uid=sop_instance_uid)


def record_newcomers(transaction: DriverTransaction, arrivals: Sequence[Arrival]) -> None:
    """Record instances whose SOP Instance UIDs are unknown, in studies that are unknown or being received.

    Raises:
        IntegrityError: of the driver; one of them is none such, and another way must be gone. The transaction is to be rolled back.
    """
    by_study: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        by_study.setdefault(arrival.instance.study_instance_uid, []).append(arrival)
    for uid, of_study in by_study.items():
        _study_received(transaction, uid, of_study)
    # The first of an instance is version 1, and rows are never deleted: one that is known violates the primary key.
    _add_instances.execute_many(transaction, [_row(arrival.instance) for arrival in arrivals])


def _study_received(transaction: DriverTransaction, uid: str, arrivals: Sequence[Arrival]) -> None:
    urgent = int(any(arrival.urgent for arrival in arrivals))
    expected = next((one.instance.expected_instances for one in reversed(arrivals) if one.instance.expected_instances), None)
    first, last = arrivals[0].instance.received_at, arrivals[-1].instance.received_at
    receiving = StudyState.RECEIVING.value
    growing = _grow_study.execute(
        transaction, uid=uid, while_state=receiving, urgently=urgent, expected=expected, at=last, before=last - _SAME_TIME
    )
    if not growing and not _is_received.finds(transaction, uid=uid, while_state=receiving):
        _begin_study.execute(
            transaction,
            study_instance_uid=uid,
            state=receiving,
            revision=0,
            routed_revision=0,
            urgent=urgent,
            expected_instances=expected,
            first_arrival=first,
            last_arrival=last,
        )


def _row(instance: ReceivedInstance) -> Mapping[str, object]:
    return dict(zip(_COLUMNS, _values(instance), strict=True)) | {"version": 1, "path": instance.path.as_posix()}

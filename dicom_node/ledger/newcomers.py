"""The rows of instances that nobody has sent before: nearly all of them, so this is the way that has to be short."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from dicom_node.ledger.prepared import Prepared
from dicom_node.ledger.tables import instances, studies
from dicom_node.lifecycle import STUDY, StudyEvent, StudyState, after
from dicom_node.study import Arrival, ReceivedInstance

_COLUMNS = (
    "sop_instance_uid",
    "version",
    "study_instance_uid",
    "series_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "modality",
    "calling_ae_title",
    "received_at",
    "digest",
    "size_bytes",
    "path",
)

_known = Prepared(select(instances.c.version).where(instances.c.sop_instance_uid == bindparam("uid")))
_study = Prepared(select(studies.c.state, studies.c.expected_instances).where(studies.c.study_instance_uid == bindparam("uid")))
_add_study = Prepared(
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
_of_study = studies.c.study_instance_uid == bindparam("uid")
_grow_study = Prepared(
    update(studies)
    .where(_of_study)
    .values(state=bindparam("new_state"), expected_instances=bindparam("expected"), last_arrival=bindparam("at"))
)
_reopen_study = Prepared(update(studies).where(_of_study).values(first_arrival=bindparam("at")))
_hurry_study = Prepared(update(studies).where(_of_study).values(urgent=bindparam("urgently")))
_add_instances = Prepared(insert(instances).values({name: bindparam(name) for name in _COLUMNS}))


def record_newcomers(connection: Connection, arrivals: Sequence[Arrival]) -> frozenset[int]:
    """Record those whose SOP Instance UID is unknown, each once, and return their places in `arrivals`."""
    seen: set[str] = set()
    new: list[int] = []
    by_study: dict[str, list[Arrival]] = {}
    for place, arrival in enumerate(arrivals):
        uid = arrival.instance.sop_instance_uid
        if uid not in seen and not _known.rows(connection, uid=uid):
            new.append(place)
            by_study.setdefault(arrival.instance.study_instance_uid, []).append(arrival)
        seen.add(uid)
    for uid, of_study in by_study.items():
        _study_received(connection, uid, of_study)
    if new:
        _add_instances.execute_many(connection, [_row(arrivals[place].instance) for place in new])
    return frozenset(new)


def _study_received(connection: Connection, uid: str, arrivals: Sequence[Arrival]) -> None:
    urgent = any(arrival.urgent for arrival in arrivals)
    expected = next((one.instance.expected_instances for one in reversed(arrivals) if one.instance.expected_instances), None)
    first: datetime = arrivals[0].instance.received_at
    last: datetime = arrivals[-1].instance.received_at
    found = _study.rows(connection, uid=uid)
    if not found:
        _add_study.execute(
            connection,
            study_instance_uid=uid,
            state=StudyState.RECEIVING.value,
            revision=0,
            routed_revision=0,
            urgent=int(urgent),
            expected_instances=expected,
            first_arrival=first,
            last_arrival=last,
        )
        return
    ((state, expected_before),) = found
    new_state = after(STUDY, StudyState(state), StudyEvent.INSTANCE_RECEIVED)
    _grow_study.execute(connection, uid=uid, new_state=new_state.value, expected=expected or expected_before, at=last)
    if state != StudyState.RECEIVING:
        _reopen_study.execute(connection, uid=uid, at=first)
    if urgent:
        _hurry_study.execute(connection, uid=uid, urgently=1)


def _row(instance: ReceivedInstance) -> Mapping[str, object]:
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "version": 1,
        "study_instance_uid": instance.study_instance_uid,
        "series_instance_uid": instance.series_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "modality": instance.modality,
        "calling_ae_title": instance.calling_ae_title,
        "received_at": instance.received_at,
        "digest": instance.digest,
        "size_bytes": instance.size_bytes,
        "path": instance.path.as_posix(),
    }

"""Withdrawing what was reported: a new revision under each route whose result is taken back, without analysing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, ScalarSelect, and_, exists, insert, or_, select, update

from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, events, results, studies, work_items
from dicom_node.lifecycle import DELIVERY, WORK_ITEM, DeliveryEvent, DeliveryState, WorkItemEvent, WorkItemState, after

WITHDRAWN = "withdrawn"
"""The event that marks a work item as a withdrawal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedItem:
    """The newest work item under a route that was reported, and not withdrawn since. `analysis_path` is None if that was purged."""

    route: str
    selection: bytes
    inputs_digest: str
    analysis_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a study before it is withdrawn. `routed`: every revision that settled has its work items."""

    revision: int
    routed: bool
    reported: tuple[ReportedItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWithdrawal:
    """A withdrawal under one route, its analysis (which says that there is none any more) in the object store."""

    route: str
    selection: bytes
    inputs_digest: str
    analysis_path: Path


class Withdrawals(Rows):
    """Making results void. What was sent stays where it is; a document that says so follows it."""

    def standing(self, study_instance_uid: str) -> Standing | None:
        """Return what could be withdrawn of a study; None if it never arrived."""
        with self._read() as connection:
            study = connection.execute(select(studies).where(studies.c.study_instance_uid == study_instance_uid)).one_or_none()
            if study is None:
                return None
            items = connection.execute(
                select(work_items, _is_withdrawal().label("withdrawal"), _has_result().label("has_result"))
                .where(work_items.c.study_instance_uid == study_instance_uid, work_items.c.state != WorkItemState.SUPERSEDED)
                .order_by(work_items.c.revision.desc())
            ).all()
        reported = []
        for route in dict.fromkeys(item.route for item in items):
            newest_first = [item for item in items if item.route == route]
            latest = next((item for item in newest_first if item.has_result), None)
            if latest is not None and not newest_first[0].withdrawal and not latest.withdrawal:
                reported.append(
                    ReportedItem(
                        route=route,
                        selection=latest.selection,
                        inputs_digest=latest.inputs_digest,
                        analysis_path=Path(latest.analysis_path) if latest.analysis_path else None,
                    )
                )
        return Standing(revision=study.revision, routed=study.routed_revision >= study.revision, reported=tuple(reported))

    def record_withdrawal(
        self, study_instance_uid: str, withdrawals: Sequence[NewWithdrawal], *, revision: int, who: str, why: str, now: datetime
    ) -> bool:
        """Make `withdrawals` the work items of a new `revision`, to be encoded as they are; False if the study changed meanwhile.

        What was not sent yet of the results that they withdraw is not sent any more.
        """
        with self._write() as connection:
            of_study = studies.c.study_instance_uid == study_instance_uid
            row = connection.execute(select(studies).where(of_study)).one()
            if row.revision != revision - 1 or row.routed_revision != row.revision:
                return False
            connection.execute(update(studies).where(of_study).values(revision=revision, routed_revision=revision))
            for withdrawal in withdrawals:
                self._supersede_unstarted(connection, study_instance_uid, withdrawal.route, now)
                self._drop_unsent(connection, study_instance_uid, withdrawal.route, now)
                key = connection.execute(
                    insert(work_items)
                    .values(
                        study_instance_uid=study_instance_uid,
                        revision=revision,
                        route=withdrawal.route,
                        state=WorkItemState.ANALYSED,
                        urgent=1,
                        selection=withdrawal.selection,
                        inputs_digest=withdrawal.inputs_digest,
                        analysis_path=withdrawal.analysis_path.as_posix(),
                        attempts=0,
                        not_before=now,
                        created_at=now,
                        updated_at=now,
                    )
                    .returning(work_items.c.id)
                ).scalar_one()
                self._log(connection, at=now, study=study_instance_uid, name=WITHDRAWN, detail=f"by {who}: {why}", work_item_id=key)
            return True

    @staticmethod
    def _supersede_unstarted(connection: Connection, uid: str, route: str, now: datetime) -> None:
        unstarted = and_(
            work_items.c.study_instance_uid == uid,
            work_items.c.route == route,
            work_items.c.state == WorkItemState.ROUTED,
            or_(work_items.c.lease_until.is_(None), work_items.c.lease_until < now),
        )
        state = after(WORK_ITEM, WorkItemState.ROUTED, WorkItemEvent.NEWER_REVISION)
        connection.execute(update(work_items).where(unstarted).values(state=state, updated_at=now))

    def _drop_unsent(self, connection: Connection, uid: str, route: str, now: datetime) -> None:
        """Drop what waits or is parked; what is on its way at this moment goes through, and is then superseded like the rest."""
        of_route = select(work_items.c.id).where(work_items.c.study_instance_uid == uid, work_items.c.route == route)
        for state in (DeliveryState.PENDING, DeliveryState.FAILED):
            unsent = and_(
                deliveries.c.work_item_id.in_(of_route),
                deliveries.c.state == state,
                or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now),
            )
            dropped = {"state": after(DELIVERY, state, DeliveryEvent.DROPPED), "error": "the result was withdrawn", "updated_at": now}
            connection.execute(update(deliveries).where(unsent).values(**dropped, lease_owner=None, lease_until=None))
        done = (DeliveryState.ACCEPTED, DeliveryState.COMMITTED, DeliveryState.DROPPED)
        waiting = exists().where(deliveries.c.work_item_id == work_items.c.id, deliveries.c.state.not_in(done))
        delivered = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
        finished = and_(work_items.c.id.in_(of_route), work_items.c.state == WorkItemState.ENCODED, ~waiting)
        connection.execute(update(work_items).where(finished).values(state=delivered, updated_at=now))


def _is_withdrawal() -> ScalarSelect[bool]:
    mark = and_(events.c.work_item_id == work_items.c.id, events.c.event == WITHDRAWN)
    return select(exists().where(mark)).scalar_subquery()


def _has_result() -> ScalarSelect[bool]:
    return select(exists().where(results.c.work_item_id == work_items.c.id)).scalar_subquery()

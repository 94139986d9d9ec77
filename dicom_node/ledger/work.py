"""Work items: leases, and the steps from ROUTED to DELIVERED."""

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, insert, or_, select, update

from dicom_node.ledger.rows import CLOCK_SKEW, Rows
from dicom_node.ledger.tables import deliveries, results, work_items
from dicom_node.lifecycle import WORK_ITEM, DeliveryState, WorkItemEvent, WorkItemState, after


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One study revision under one route, leased to whoever holds this value. `attempts` counts this one."""

    id: int
    study_instance_uid: str
    revision: int
    route: str
    state: WorkItemState
    urgent: bool
    selection: bytes
    analysis_path: Path | None
    attempts: int
    lease_owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """An encoded result that lies in the object store, and who is to get it."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    digest: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupersededResult:
    """The newest result of a kind before the one that is to be made. `number` counts those up to it; `sent_to` names who may have one.

    Series Instance UID and Instance Number are known of a SOP Instance that was purged; otherwise they stand in its file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    number: int
    sent_to: tuple[str, ...]
    series_instance_uid: str | None = None
    instance_number: int | None = None


_IN_WORK = (WorkItemState.ROUTED, WorkItemState.ANALYSED)


class Line(enum.StrEnum):
    """Which work a lane of the worker asks for."""

    ALL = "all"
    URGENT = "urgent only"


class LeaseLostError(Exception):
    """Another worker took over the item while this one was silent; what was computed stays in the store for it."""


def _due(now: datetime, lease_s: float, longest_wait_s: float | None) -> Select[Any]:
    """Work items that may be claimed."""
    older = work_items.alias("older")
    unfinished = exists().where(
        older.c.study_instance_uid == work_items.c.study_instance_uid,
        older.c.route == work_items.c.route,
        older.c.revision < work_items.c.revision,
        older.c.state.in_(_IN_WORK),
    )
    waited = work_items.c.not_before <= now
    if longest_wait_s is not None:
        waited = or_(waited, work_items.c.not_before > now + timedelta(seconds=longest_wait_s) + CLOCK_SKEW)
    columns = select(work_items.c.id, work_items.c.created_at, work_items.c.urgent)
    return columns.where(work_items.c.state.in_(_IN_WORK), waited, _is_free(now, lease_s), ~unfinished)


def _heads(due: Select[Any], line: Line) -> Iterator[Select[Any]]:
    """The oldest of each state and urgency: each is found by the index at once, however many wait."""
    for urgent in (1,) if line is Line.URGENT else (1, 0):
        for state in _IN_WORK:
            head = due.where(work_items.c.state == state, work_items.c.urgent == urgent)
            yield head.order_by(work_items.c.created_at, work_items.c.id).limit(1).with_for_update(skip_locked=True)


def _turn(head: Row[Any], now: datetime, patience_s: float | None) -> tuple[bool, bool, datetime, int]:
    """Sorts work items: what has waited too long by age, then what is urgent, then the rest."""
    patient = patience_s is None or head.created_at > now - timedelta(seconds=patience_s)
    return patient, patient and not head.urgent, head.created_at, head.id


def _is_free(now: datetime, lease_s: float) -> ColumnElement[bool]:
    until = work_items.c.lease_until
    return or_(until.is_(None), until < now, until > now + timedelta(seconds=lease_s) + CLOCK_SKEW)


def _work_item(row: Row[tuple[object, ...]]) -> WorkItem:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name
    return WorkItem(
        **{name: values[name] for name in ("id", "study_instance_uid", "revision", "route", "selection", "attempts", "lease_owner")},
        state=WorkItemState(values["state"]),
        urgent=bool(values["urgent"]),
        analysis_path=Path(values["analysis_path"]) if values["analysis_path"] else None,
    )


class WorkItems(Rows):
    """Claiming and advancing work items."""

    def claim_work(
        self,
        *,
        owner: str,
        now: datetime,
        lease_s: float,
        line: Line = Line.ALL,
        patience_s: float | None = None,
        longest_wait_s: float | None = None,
    ) -> WorkItem | None:
        """Lease the next work item, urgent first, then oldest first; the claim counts as an attempt.

        What has waited for `patience_s` goes before everything newer, urgent or not, so that routine work is never starved.
        An item waits while an older revision under the same route is unfinished, so that reports follow each other.
        A lease, or a wait after a failure, that ends later than one begun now would (`lease_s`, `longest_wait_s`) is from
        before the clock went back, and is over.
        """
        due = _due(now, lease_s, longest_wait_s)
        if line is Line.URGENT:
            due = due.where(work_items.c.urgent == 1)
        if not self._any(due.limit(1)):
            return None
        with self._write() as connection:
            heads = [head for wanted in _heads(due, line) if (head := connection.execute(wanted).one_or_none()) is not None]
            if not heads:
                return None
            key = min(heads, key=lambda head: _turn(head, now, patience_s)).id
            row = connection.execute(
                update(work_items)
                .where(work_items.c.id == key)
                .values(lease_owner=owner, lease_until=now + timedelta(seconds=lease_s), attempts=work_items.c.attempts + 1, updated_at=now)
                .returning(*work_items.c)
            ).one()
            return _work_item(row)

    def waiting_studies(self, at_most: int) -> int:
        """Return how many studies wait for an analysis, counted up to `at_most`."""
        waiting = select(work_items.c.study_instance_uid).where(work_items.c.state == WorkItemState.ROUTED).distinct().limit(at_most)
        with self._read() as connection:
            return int(connection.execute(select(func.count()).select_from(waiting.subquery())).scalar_one())

    def renew_work_leases(self, items: Collection[int], *, owner: str, now: datetime, lease_s: float) -> None:
        """Keep these work items. One that `owner` leased and knows nothing of, because the claim failed as it ended, runs out."""
        with self._write() as connection:
            held = and_(work_items.c.lease_owner == owner, work_items.c.id.in_(items))
            connection.execute(update(work_items).where(held).values(lease_until=now + timedelta(seconds=lease_s)))

    def renew_leases(self, *, owner: str, now: datetime, lease_s: float) -> None:
        """Keep the deliveries that `owner` holds."""
        held = deliveries.c.lease_owner == owner
        with self._write() as connection:
            connection.execute(update(deliveries).where(held).values(lease_until=now + timedelta(seconds=lease_s)))

    def release_leases(self, *, owner: str, now: datetime) -> int:
        """Make what a process that is known to be dead held claimable at once; the attempt stays counted."""
        with self._write() as connection:
            return sum(
                connection.execute(
                    update(table).where(table.c.lease_owner == owner).values(lease_owner=None, lease_until=None, updated_at=now)
                ).rowcount
                for table in (work_items, deliveries)
            )

    def record_analysis(self, item: WorkItem, *, path: Path, now: datetime) -> None:
        """The findings are durable at `path`."""
        with self._write() as connection:
            self._advance(connection, item, WorkItemEvent.FINDINGS_RECORDED, now, analysis_path=path.as_posix())

    def record_results(self, item: WorkItem, encoded: Sequence[NewResult], *, omitted: Sequence[str] = (), now: datetime) -> None:
        """The results are durable; each is now due at each of its destinations. If none has any there is nothing left to do.

        `omitted` says which kinds could not be made, and why.
        """
        with self._write() as connection:
            self._advance(connection, item, WorkItemEvent.RESULTS_ENCODED, now)
            for reason in omitted:
                self._log(connection, at=now, study=item.study_instance_uid, name="result left out", detail=reason, work_item_id=item.id)
            for result in encoded:
                connection.execute(
                    insert(results).values(
                        sop_instance_uid=result.sop_instance_uid,
                        work_item_id=item.id,
                        kind=result.kind,
                        sop_class_uid=result.sop_class_uid,
                        path=result.path.as_posix(),
                        digest=result.digest,
                        created_at=now,
                    )
                )
                for destination in result.destinations:
                    connection.execute(
                        insert(deliveries).values(
                            sop_instance_uid=result.sop_instance_uid,
                            work_item_id=item.id,
                            destination=destination,
                            state=DeliveryState.PENDING,
                            attempts=0,
                            not_before=now,
                            updated_at=now,
                        )
                    )
            if not any(result.destinations for result in encoded):
                done = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
                connection.execute(update(work_items).where(work_items.c.id == item.id).values(state=done))

    def record_work_failure(self, item: WorkItem, *, error: str, attempts: int, retry_at: datetime | None, now: datetime) -> None:
        """The attempt failed, after `attempts` that count: claimable again at `retry_at`, or FAILED for an operator if that is None."""
        with self._write() as connection:
            if retry_at is None:
                self._advance(connection, item, WorkItemEvent.ATTEMPTS_EXHAUSTED, now, error=error)
                return
            held = and_(work_items.c.id == item.id, work_items.c.lease_owner == item.lease_owner)
            connection.execute(
                update(work_items)
                .where(held)
                .values(attempts=attempts, lease_owner=None, lease_until=None, not_before=retry_at, error=error, updated_at=now)
            )

    def _advance(self, connection: Connection, item: WorkItem, event: WorkItemEvent, now: datetime, **values: str) -> None:
        state = after(WORK_ITEM, item.state, event)
        held = and_(work_items.c.id == item.id, work_items.c.state == item.state, work_items.c.lease_owner == item.lease_owner)
        changed = connection.execute(
            update(work_items)
            .where(held)
            .values(
                **({"error": None} | values), state=state, attempts=0, not_before=now, lease_owner=None, lease_until=None, updated_at=now
            )
        )
        if changed.rowcount != 1:
            raise LeaseLostError(f"work item {item.id} of study {item.study_instance_uid} is no longer held by {item.lease_owner}")
        self._log(connection, at=now, study=item.study_instance_uid, name=event.value, detail=values.get("error", ""), work_item_id=item.id)

    def superseded_result(self, item: WorkItem, kind: str) -> SupersededResult | None:
        """Return the newest result of this kind under this route of an older revision."""
        older = and_(
            work_items.c.study_instance_uid == item.study_instance_uid,
            work_items.c.route == item.route,
            work_items.c.revision < item.revision,
            results.c.kind == kind,
            or_(results.c.purged_at.is_(None), results.c.sop_class_uid == "", results.c.series_instance_uid.is_not(None)),
        )
        with self._read() as connection:
            rows = connection.execute(
                select(results)
                .join(work_items, work_items.c.id == results.c.work_item_id)
                .where(older)
                .order_by(work_items.c.revision.desc())
            ).all()
            if not rows:
                return None
            may_have_it = and_(
                deliveries.c.sop_instance_uid.in_([row.sop_instance_uid for row in rows]),
                or_(deliveries.c.state != DeliveryState.DROPPED, deliveries.c.attempts > 0),
            )
            sent_to = select(deliveries.c.destination).where(may_have_it).order_by(deliveries.c.id)
            return SupersededResult(
                sop_class_uid=rows[0].sop_class_uid,
                sop_instance_uid=rows[0].sop_instance_uid,
                path=Path(rows[0].path),
                number=len(rows),
                series_instance_uid=rows[0].series_instance_uid,
                instance_number=rows[0].instance_number,
                sent_to=tuple(dict.fromkeys(connection.execute(sent_to).scalars())),
            )

"""Revisions of studies: from the last instance to what is settled and routed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from dicom_node.ledger.rows import CLOCK_SKEW, Rows
from dicom_node.ledger.tables import events, instances, results, studies, work_items
from dicom_node.lifecycle import STUDY, WORK_ITEM, StudyEvent, StudyState, WorkItemEvent, WorkItemState, after
from dicom_node.study import ReceivedInstance, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study that is still being received: what the settling rule asks about."""

    study_instance_uid: str
    urgent: bool
    modalities: tuple[str, ...]
    instances: int
    expected_instances: int | None
    first_arrival: datetime
    last_arrival: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkItem:
    """A work item to be made: `selection` as the steps encode it, `inputs_digest` over the selected data sets."""

    route: str
    selection: bytes
    inputs_digest: str


def _instance(row: Row[tuple[object, ...]]) -> ReceivedInstance:
    fields = {name: row._mapping[name] for name in ReceivedInstance.__dataclass_fields__ if name in row._mapping}  # noqa: SLF001 - SQLAlchemy's public name
    return ReceivedInstance(**{**fields, "path": Path(fields["path"])})


def _asked_for(revision: int, route: str | None) -> str:
    """How the history says which work items of a revision an operator asked for."""
    return f"revision {revision}:" if route is None else f"revision {revision}, route {route}:"


class Revisions(Rows):
    """Fixing revisions, and making their work items."""

    def restamp_arrivals(self, now: datetime) -> int:
        """After the clock went back, let what arrived in the future have arrived now; return of how many studies."""
        ahead = and_(studies.c.state == StudyState.RECEIVING, studies.c.last_arrival > now + CLOCK_SKEW)
        if not self._any(select(studies.c.study_instance_uid).where(ahead).limit(1)):
            return 0
        with self._write() as connection:
            connection.execute(update(studies).where(ahead, studies.c.first_arrival > now).values(first_arrival=now))
            return connection.execute(update(studies).where(ahead).values(last_arrival=now)).rowcount

    def open_studies(self) -> tuple[OpenStudy, ...]:
        """Return every study that is being received."""
        with self._read() as connection:
            rows = connection.execute(
                select(
                    studies,
                    func.count(func.distinct(instances.c.sop_instance_uid)).label("instance_count"),
                    func.group_concat(func.distinct(instances.c.modality)).label("modalities")
                    if connection.dialect.name == "sqlite"
                    else func.string_agg(func.distinct(instances.c.modality), ",").label("modalities"),
                )
                .join(instances)
                .where(studies.c.state == StudyState.RECEIVING)
                .group_by(studies.c.study_instance_uid)
            ).all()
        return tuple(
            OpenStudy(
                study_instance_uid=row.study_instance_uid,
                urgent=bool(row.urgent),
                modalities=tuple(sorted(row.modalities.split(","))),
                instances=row.instance_count,
                expected_instances=row.expected_instances,
                first_arrival=row.first_arrival,
                last_arrival=row.last_arrival,
            )
            for row in rows
        )

    def settle(self, study: OpenStudy, *, why: str, now: datetime) -> bool:
        """Fix the next revision of `study`; False if an instance arrived since it was looked at."""
        with self._write() as connection:
            uid = study.study_instance_uid
            row = connection.execute(select(studies).where(studies.c.study_instance_uid == uid)).one()
            if row.state != StudyState.RECEIVING or row.last_arrival != study.last_arrival:
                return False
            state = after(STUDY, StudyState(row.state), StudyEvent.QUIET)
            self._new_revision(connection, uid, row.revision + 1, state)
            self._log(connection, at=now, study=uid, name="settled", detail=f"revision {row.revision + 1}: {why}")
            return True

    def renew_revision(self, study_instance_uid: str, *, why: str, now: datetime, route: str | None = None) -> int | None:
        """Make a new revision of a settled study with the instances it has, so that it is analysed again, under one route or all.

        Returns:
            The new revision, or None if the study is unknown or still being received.
        """
        with self._write() as connection:
            row = connection.execute(select(studies).where(studies.c.study_instance_uid == study_instance_uid)).one_or_none()
            if row is None or row.state != StudyState.SETTLED:
                return None
            revision = int(row.revision) + 1
            self._new_revision(connection, study_instance_uid, revision, StudyState.SETTLED)
            self._log(connection, at=now, study=study_instance_uid, name="requeued", detail=f"{_asked_for(revision, route)} {why}")
            return revision

    @staticmethod
    def _new_revision(connection: Connection, uid: str, revision: int, state: StudyState) -> None:
        connection.execute(update(studies).where(studies.c.study_instance_uid == uid).values(state=state, revision=revision))
        unassigned = and_(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
        connection.execute(update(instances).where(unassigned).values(revision=revision))

    def unrouted_studies(self, limit: int = 16) -> tuple[Study, ...]:
        """Return settled revisions that have no work items yet, urgent ones first, without our own results among the instances.

        A study that is already being received again still gets the report on the revision before.
        """
        with self._read() as connection:
            rows = connection.execute(
                select(studies)
                .where(studies.c.state != StudyState.PURGED, studies.c.routed_revision < studies.c.revision)
                .order_by(studies.c.urgent.desc(), studies.c.last_arrival)
                .limit(limit)
            ).all()
            return tuple(
                Study(
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    urgent=bool(row.urgent),
                    instances=self._instances_of(connection, row.study_instance_uid, row.revision, purged=False),
                    purged=self._instances_of(connection, row.study_instance_uid, row.revision, purged=True),
                    first_arrival=row.first_arrival,
                    last_arrival=row.last_arrival,
                )
                for row in rows
            )

    @staticmethod
    def _instances_of(connection: Connection, uid: str, revision: int, *, purged: bool) -> tuple[ReceivedInstance, ...]:
        """The newest versions in a revision: those whose files are here, or those whose files were purged."""
        newest = (
            select(instances.c.sop_instance_uid, func.max(instances.c.version).label("version"))
            .where(instances.c.study_instance_uid == uid, instances.c.revision <= revision)
            .group_by(instances.c.sop_instance_uid)
            .subquery()
        )
        ours = select(results.c.sop_instance_uid)
        rows = connection.execute(
            select(instances)
            .join(newest, and_(instances.c.sop_instance_uid == newest.c.sop_instance_uid, instances.c.version == newest.c.version))
            .where(instances.c.sop_instance_uid.not_in(ours), instances.c.purged_at.is_not(None) == purged)
            .order_by(instances.c.received_at, instances.c.sop_instance_uid)
        ).all()
        return tuple(_instance(row) for row in rows)

    def newest_selection(self, study_instance_uid: str, route: str) -> bytes | None:
        """Return what the newest work item of a study under a route is about, as the steps encoded it."""
        of_route = and_(work_items.c.study_instance_uid == study_instance_uid, work_items.c.route == route)
        with self._read() as connection:
            newest = select(work_items.c.selection).where(of_route).order_by(work_items.c.revision.desc()).limit(1)
            found: bytes | None = connection.execute(newest).scalar_one_or_none()
            return found

    def record_routing(self, study: Study, items: Sequence[NewWorkItem], *, now: datetime) -> int:
        """Make the work items of a revision and say how many are new.

        A route whose inputs are byte for byte those of its newest work item gets no new one, unless the revision was
        asked for by an operator; an older item that nobody analysed yet is superseded.
        """
        with self._write() as connection:
            row = connection.execute(select(studies).where(studies.c.study_instance_uid == study.study_instance_uid)).one()
            if row.routed_revision >= study.revision:
                return 0
            asked = connection.execute(
                select(events.c.detail).where(events.c.study_instance_uid == study.study_instance_uid, events.c.event == "requeued")
            ).scalars()
            again = tuple(asked)
            made = 0
            for item in items:
                marks = (_asked_for(study.revision, None), _asked_for(study.revision, item.route))
                forced = any(detail.startswith(marks) for detail in again)
                made += self._add_work_item(connection, study, item, forced=forced, now=now)
            connection.execute(
                update(studies).where(studies.c.study_instance_uid == study.study_instance_uid).values(routed_revision=study.revision)
            )
            return made

    def _add_work_item(self, connection: Connection, study: Study, item: NewWorkItem, *, forced: bool, now: datetime) -> bool:
        same_route = and_(work_items.c.study_instance_uid == study.study_instance_uid, work_items.c.route == item.route)
        newest = connection.execute(select(work_items).where(same_route).order_by(work_items.c.revision.desc()).limit(1)).one_or_none()
        if newest is not None and newest.inputs_digest == item.inputs_digest and not forced:
            self._log(
                connection,
                at=now,
                study=study.study_instance_uid,
                name="inputs unchanged",
                detail=f"revision {study.revision}, route {item.route}: revision {newest.revision} stands",
            )
            return False
        connection.execute(
            update(work_items)
            .where(
                same_route,
                work_items.c.state == WorkItemState.ROUTED,
                or_(work_items.c.lease_until.is_(None), work_items.c.lease_until < now),
            )
            .values(state=after(WORK_ITEM, WorkItemState.ROUTED, WorkItemEvent.NEWER_REVISION), updated_at=now)
        )
        key = connection.execute(
            insert(work_items)
            .values(
                study_instance_uid=study.study_instance_uid,
                revision=study.revision,
                route=item.route,
                state=WorkItemState.ROUTED,
                urgent=int(study.urgent),
                selection=item.selection,
                inputs_digest=item.inputs_digest,
                attempts=0,
                not_before=now,
                created_at=now,
                updated_at=now,
            )
            .returning(work_items.c.id)
        ).scalar_one()
        self._log(
            connection,
            at=now,
            study=study.study_instance_uid,
            name="routed",
            detail=f"revision {study.revision} to {item.route}",
            work_item_id=key,
        )
        return True

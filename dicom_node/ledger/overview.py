"""Reading the ledger: what became of everything that arrived."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, events, instances, quarantine, results, studies, work_items


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One delivery as an operator sees it."""

    destination: str
    state: str
    status: str | None
    attempts: int
    error: str | None
    accepted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItemRow:
    """One work item as an operator sees it; `results` are object-store paths. What was purged has no path any more."""

    id: int
    revision: int
    route: str
    state: str
    attempts: int
    error: str | None
    analysis_path: Path | None
    results: tuple[Path, ...]
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One study as an operator sees it."""

    study_instance_uid: str
    state: str
    revision: int
    urgent: bool
    modalities: tuple[str, ...]
    instances: int
    last_arrival: datetime
    held_because: str | None
    work_items: tuple[WorkItemRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One entry of a study's history."""

    at: datetime
    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """Bytes that were kept although nothing could be done with them."""

    at: datetime
    path: Path
    reason: str
    calling_ae_title: str
    sop_instance_uid: str


class Overview(Rows):
    """Questions of operators, the status command and the metrics."""

    def study_rows(self, study_instance_uid: str | None = None) -> tuple[StudyRow, ...]:
        """Return all studies, or the one asked for, newest first."""
        wanted = select(studies).order_by(studies.c.last_arrival.desc(), studies.c.study_instance_uid)
        if study_instance_uid is not None:
            wanted = wanted.where(studies.c.study_instance_uid == study_instance_uid)
        with self._read() as connection:
            return tuple(
                StudyRow(
                    study_instance_uid=row.study_instance_uid,
                    state=row.state,
                    revision=row.revision,
                    urgent=bool(row.urgent),
                    modalities=self._modalities(connection, row.study_instance_uid),
                    instances=self._instance_count(connection, row.study_instance_uid),
                    last_arrival=row.last_arrival,
                    held_because=row.held_because,
                    work_items=self._work_item_rows(connection, row.study_instance_uid),
                )
                for row in connection.execute(wanted).all()
            )

    @staticmethod
    def _modalities(connection: Connection, uid: str) -> tuple[str, ...]:
        of_study = select(instances.c.modality).distinct().where(instances.c.study_instance_uid == uid)
        return tuple(sorted(connection.execute(of_study).scalars()))

    @staticmethod
    def _instance_count(connection: Connection, uid: str) -> int:
        of_study = select(func.count(func.distinct(instances.c.sop_instance_uid))).where(instances.c.study_instance_uid == uid)
        return int(connection.execute(of_study).scalar_one())

    def _work_item_rows(self, connection: Connection, uid: str) -> tuple[WorkItemRow, ...]:
        rows = connection.execute(select(work_items).where(work_items.c.study_instance_uid == uid).order_by(work_items.c.id)).all()
        return tuple(
            WorkItemRow(
                id=row.id,
                revision=row.revision,
                route=row.route,
                state=row.state,
                attempts=row.attempts,
                error=row.error,
                analysis_path=Path(row.analysis_path) if row.analysis_path else None,
                results=tuple(
                    Path(path)
                    for path in connection.execute(
                        select(results.c.path).where(results.c.work_item_id == row.id, results.c.purged_at.is_(None))
                    ).scalars()
                ),
                deliveries=self._delivery_rows(connection, row.id),
            )
            for row in rows
        )

    @staticmethod
    def _delivery_rows(connection: Connection, work_item_id: int) -> tuple[DeliveryRow, ...]:
        rows = connection.execute(select(deliveries).where(deliveries.c.work_item_id == work_item_id).order_by(deliveries.c.id)).all()
        return tuple(
            DeliveryRow(
                destination=row.destination,
                state=row.state,
                status=row.status,
                attempts=row.attempts,
                error=row.error,
                accepted_at=row.accepted_at,
            )
            for row in rows
        )

    def history(self, study_instance_uid: str) -> tuple[EventRow, ...]:
        """Return what happened to a study, oldest first."""
        with self._read() as connection:
            rows = connection.execute(select(events).where(events.c.study_instance_uid == study_instance_uid).order_by(events.c.id)).all()
        return tuple(EventRow(at=row.at, event=row.event, detail=row.detail) for row in rows)

    def quarantine_rows(self) -> tuple[QuarantineRow, ...]:
        """Return what lies in quarantine."""
        with self._read() as connection:
            rows = connection.execute(select(quarantine).order_by(quarantine.c.id)).all()
        return tuple(
            QuarantineRow(
                at=row.at,
                path=Path(row.path),
                reason=row.reason,
                calling_ae_title=row.calling_ae_title,
                sop_instance_uid=row.sop_instance_uid,
            )
            for row in rows
        )

    def lease_owners(self) -> tuple[str, ...]:
        """Return who holds leases."""
        with self._read() as connection:
            held = [connection.execute(select(table.c.lease_owner).distinct()).scalars().all() for table in (work_items, deliveries)]
        return tuple(sorted({owner for owners in held for owner in owners if owner is not None}))

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of studies, work items and deliveries in each state: the queue depths."""
        with self._read() as connection:
            return {
                table.name: dict(connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).tuples().all())
                for table in (studies, work_items, deliveries)
            }

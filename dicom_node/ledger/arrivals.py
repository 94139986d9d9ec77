"""Arrivals: what was received and is not in the audit trail yet."""

from pathlib import Path

from sqlalchemy import Connection, and_, func, select, update

from dicom_node.audit.arrivals import Arrival, UntoldStudy
from dicom_node.audit.message import SopClassCount
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import instances, studies


class Arrivals(Rows):
    """Telling the audit trail what arrived."""

    def untold_studies(self, limit: int = 100) -> tuple[UntoldStudy, ...]:
        """Return studies with a revision that the audit trail does not know of."""
        with self._read() as connection:
            rows = connection.execute(
                select(studies.c.study_instance_uid, studies.c.revision, studies.c.audited_revision)
                .where(studies.c.audited_revision < studies.c.revision)
                .limit(limit)
            ).all()
            return tuple(
                UntoldStudy(
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    arrivals=self._arrivals(connection, row.study_instance_uid, row.audited_revision, row.revision),
                )
                for row in rows
            )

    @staticmethod
    def _arrivals(connection: Connection, uid: str, told: int, revision: int) -> tuple[Arrival, ...]:
        new = and_(instances.c.study_instance_uid == uid, instances.c.revision > told, instances.c.revision <= revision)
        sender, sop_class = instances.c.calling_ae_title, instances.c.sop_class_uid
        counted = (
            select(
                sender,
                sop_class,
                func.count().label("number"),
                func.max(instances.c.received_at).label("last"),
                func.min(instances.c.path).label("path"),
            )
            .where(new)
            .group_by(sender, sop_class)
            .order_by(sender, sop_class)
        )
        arrivals: list[Arrival] = []
        rows = connection.execute(counted).all()
        for title in dict.fromkeys(row.calling_ae_title for row in rows):
            own = [row for row in rows if row.calling_ae_title == title]
            arrivals.append(
                Arrival(
                    calling_ae_title=title,
                    sop_classes=tuple(SopClassCount(sop_class_uid=row.sop_class_uid, instances=row.number) for row in own),
                    last_arrival=max(row.last for row in own),
                    path=Path(own[0].path),
                )
            )
        return tuple(arrivals)

    def record_told(self, study: UntoldStudy) -> None:
        """What arrived up to this revision is in the audit trail."""
        with self._write() as connection:
            connection.execute(
                update(studies)
                .where(studies.c.study_instance_uid == study.study_instance_uid, studies.c.audited_revision < study.revision)
                .values(audited_revision=study.revision)
            )

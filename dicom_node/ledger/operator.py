"""What an operator may do to the ledger."""

from datetime import datetime

from sqlalchemy import and_, select, update

from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, work_items
from dicom_node.lifecycle import DELIVERY, WORK_ITEM, DeliveryEvent, DeliveryState, WorkItemEvent, WorkItemState, after


class Operator(Rows):
    """Giving what FAILED a new start."""

    def requeue_failed(self, study_instance_uid: str, *, now: datetime) -> int:
        """Make FAILED work items and deliveries of a study claimable again; return how many there were."""
        fresh = {"attempts": 0, "not_before": now, "error": None, "updated_at": now}
        of_study = select(work_items.c.id).where(work_items.c.study_instance_uid == study_instance_uid)
        with self._write() as connection:
            items = connection.execute(
                update(work_items)
                .where(work_items.c.study_instance_uid == study_instance_uid, work_items.c.state == WorkItemState.FAILED)
                .values(state=after(WORK_ITEM, WorkItemState.FAILED, WorkItemEvent.REQUEUED), **fresh)
            ).rowcount
            sends = connection.execute(
                update(deliveries)
                .where(and_(deliveries.c.work_item_id.in_(of_study), deliveries.c.state == DeliveryState.FAILED))
                .values(state=after(DELIVERY, DeliveryState.FAILED, DeliveryEvent.REQUEUED), **fresh)
            ).rowcount
            if items or sends:
                detail = f"{items} work items, {sends} deliveries"
                self._log(connection, at=now, study=study_instance_uid, name="started anew", detail=detail)
            return int(items + sends)

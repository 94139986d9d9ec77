"""After the clock of the machine went back: moments that lie further ahead than anything is ever put off are over."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, or_, select, update

from dicom_node.ledger.rows import CLOCK_SKEW, Rows
from dicom_node.ledger.tables import deliveries, destination_circuits
from dicom_node.lifecycle import DeliveryState


class Setback(Rows):
    """What claims do not notice by themselves."""

    def restamp_deliveries(self, *, now: datetime, longest_wait_s: float, lease_s: float) -> int:
        """Let deliveries be due now that wait, or are leased, for longer than can be; return how many there were, of circuits too."""
        waits = now + timedelta(seconds=longest_wait_s) + CLOCK_SKEW
        leased = now + timedelta(seconds=max(lease_s, longest_wait_s)) + CLOCK_SKEW
        pending = deliveries.c.state == DeliveryState.PENDING
        ahead = and_(pending, or_(deliveries.c.not_before > waits, deliveries.c.lease_until > leased))
        free: Mapping[str, datetime | None] = {"not_before": now, "lease_owner": None, "lease_until": None}
        changed = self._set_where(deliveries, ahead, free)
        return changed + self._set_where(destination_circuits, destination_circuits.c.not_before > leased, {"not_before": now})

    def _set_where(self, table: Table, condition: ColumnElement[bool], values: Mapping[str, datetime | None]) -> int:
        if not self._any(select(table.c.destination).where(condition).limit(1)):
            return 0
        with self._write() as connection:
            return connection.execute(update(table).where(condition).values(values)).rowcount

"""What is known of destinations: their circuits, and as what they take results."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from dicom_node.delivery.circuit import Circuit, unbroken
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, destination_capabilities, destination_circuits, results
from dicom_node.lifecycle import CIRCUIT, CircuitEvent, CircuitState, DeliveryState, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a destination has not got yet. `oldest_s` is the age of the oldest pending result, in seconds."""

    pending: int = 0
    parked: int = 0
    oldest_s: float = 0.0


class Destinations(Rows):
    """Circuits and capabilities."""

    def circuit(self, destination: str, *, now: datetime) -> Circuit:
        """Return the circuit of a destination."""
        return self.circuits().get(destination) or unbroken(now)

    def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits of all destinations that failed at least once, by name."""
        with self._read() as connection:
            return {
                row.destination: Circuit(
                    state=CircuitState(row.state),
                    failures=row.failures,
                    not_before=row.not_before,
                    reason=row.reason,
                    changed_at=row.changed_at,
                )
                for row in connection.execute(select(destination_circuits)).all()
            }

    def record_circuit(self, destination: str, circuit: Circuit) -> None:
        """The destination failed."""
        values = {
            "state": circuit.state,
            "failures": circuit.failures,
            "not_before": circuit.not_before,
            "reason": circuit.reason,
            "changed_at": circuit.changed_at,
        }
        with self._write() as connection:
            held = destination_circuits.c.destination == destination
            if connection.execute(update(destination_circuits).where(held).values(**values)).rowcount == 0:
                connection.execute(insert(destination_circuits).values(destination=destination, **values))

    def close_circuit(self, destination: str, *, now: datetime) -> bool:
        """The destination is well, or an operator says so. Return whether its circuit was not CLOSED."""
        with self._write() as connection:
            held = destination_circuits.c.destination == destination
            state = connection.execute(select(destination_circuits.c.state).where(held)).scalar_one_or_none()
            if state is None:
                return False
            was_closed = state == CircuitState.CLOSED
            closed = CircuitState.CLOSED if was_closed else after(CIRCUIT, CircuitState(state), CircuitEvent.CLOSED)
            connection.execute(
                update(destination_circuits).where(held).values(state=closed, failures=0, not_before=now, reason="", changed_at=now)
            )
            return not was_closed

    def begin_probe(self, destination: str, *, now: datetime, lease_s: float) -> bool:
        """Take the one attempt that an open circuit allows now; False if another sender has it, or it is not time."""
        with self._write() as connection:
            half_open = after(CIRCUIT, CircuitState.OPEN, CircuitEvent.PROBED)
            taken = connection.execute(
                update(destination_circuits)
                .where(
                    destination_circuits.c.destination == destination,
                    destination_circuits.c.state != CircuitState.CLOSED,
                    destination_circuits.c.not_before <= now,
                )
                .values(state=half_open, not_before=now + timedelta(seconds=lease_s))
            )
            return taken.rowcount == 1

    def capabilities(self) -> Mapping[tuple[str, str], tuple[str, datetime]]:
        """Return (destination, kind) -> (SOP class as which it takes results of that kind, when that was learnt)."""
        with self._read() as connection:
            rows = connection.execute(select(destination_capabilities)).all()
        return {(row.destination, row.kind): (row.sop_class_uid, row.learnt_at) for row in rows}

    def forget_capabilities(self, destination: str) -> None:
        """Have everything offered anew."""
        with self._write() as connection:
            connection.execute(delete(destination_capabilities).where(destination_capabilities.c.destination == destination))

    @staticmethod
    def _learn(connection: Connection, *, destination: str, kind: str, sop_class_uid: str, now: datetime) -> None:
        held = (destination_capabilities.c.destination == destination) & (destination_capabilities.c.kind == kind)
        values = {"sop_class_uid": sop_class_uid, "learnt_at": now}
        if connection.execute(update(destination_capabilities).where(held).values(**values)).rowcount == 0:
            connection.execute(insert(destination_capabilities).values(destination=destination, kind=kind, **values))

    def waiting(self, *, now: datetime) -> Mapping[str, Waiting]:
        """Return what waits for each destination for which anything does."""
        of_state = {DeliveryState.PENDING: "pending", DeliveryState.FAILED: "parked"}
        with self._read() as connection:
            rows = connection.execute(
                select(deliveries.c.destination, deliveries.c.state, func.count(), func.min(results.c.created_at))
                .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
                .where(deliveries.c.state.in_(list(of_state)))
                .group_by(deliveries.c.destination, deliveries.c.state)
            ).all()
        found: dict[str, Waiting] = {}
        for destination, state, number, oldest in rows:
            age_s = (now - oldest).total_seconds() if state == DeliveryState.PENDING else 0.0
            so_far = found.get(destination, Waiting())
            found[destination] = replace(so_far, oldest_s=max(so_far.oldest_s, age_s), **{of_state[state]: number})
        return found

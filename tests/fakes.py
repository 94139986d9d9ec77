"""Fakes of our own Protocols, for tests that need no database and no model."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from config import Catalogue
from config.heads import ANY_IMAGE
from dicom_node.delivery import ClaimedDelivery, Receipt
from dicom_node.delivery.circuit import Circuit, unbroken
from dicom_node.lifecycle import CircuitState
from dicom_node.study import Arrival, ReceivedInstance
from inference.findings import ImageRef, Score
from inference.frames import Frame


class FakeScorer:
    """A model that says of each image what the test says; of any other that it is a chest radiograph, and 0.1 to every label."""

    device = "none"
    precision = "float32"

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kinds: dict[ImageRef | str, tuple[str, float]] = {}
        self._scores: dict[ImageRef | str, Mapping[str, float]] = {}
        self.embedded: list[ImageRef] = []
        self.asked: list[str] = []

    def says(self, image: ImageRef, *, kind: str = "chest-radiograph", probability: float = 0.95, **scores: float) -> None:
        """Say what an image (an instance, or one frame of it) is taken for and how it scores; a label's hyphens are underscores here."""
        key = image if image.frame_number else image.sop_instance_uid
        self._kinds[key] = (kind, probability)
        self._scores[key] = {label.replace("_", "-"): value for label, value in scores.items()}

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]:
        refs = [frame.ref for frame in frames]
        self.embedded += refs
        return np.zeros((len(refs), 2), dtype=np.float32)

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]:
        assert views == ANY_IMAGE, "this model sees whole images"
        assert len(embeddings) == len(images), "one row an image"
        self.asked.append(prompt_set)
        asked = self._catalogue.prompt_set(prompt_set)
        value = self._share if asked.recipe == "multi-class-softmax" else self._score
        return tuple(
            tuple(Score(label=label.name, value=value(label.name, image), image=image) for label in asked.labels) for image in images
        )

    def _share(self, label: str, image: ImageRef) -> float:
        kind, probability = _of(self._kinds, image, ("chest-radiograph", 0.95))
        return probability if label == kind else 0.0

    def _score(self, label: str, image: ImageRef) -> float:
        nothing: Mapping[str, float] = {}
        return _of(self._scores, image, nothing).get(label, 0.1)


_A = TypeVar("_A")


def _of(answers: Mapping[ImageRef | str, _A], image: ImageRef, otherwise: _A) -> _A:
    return answers.get(image, answers.get(image.sop_instance_uid, otherwise))


class FakeDeliveryLedger:
    """Deliveries in memory, claimed in the order of their id once they are due, as the real ledger does."""

    def __init__(self, *deliveries: ClaimedDelivery) -> None:
        self._lock = threading.Condition()
        self._waiting = {delivery.id: delivery for delivery in deliveries}
        self._due: dict[int, datetime] = {}
        self._leased: dict[int, datetime] = {}
        self.receipts: list[tuple[int, Receipt]] = []
        self.failures: list[tuple[int, str, str, datetime | None]] = []
        self.claims: list[int] = []
        self.circuits: dict[str, Circuit] = {}
        self.capabilities: dict[tuple[str, str], str] = {}

    def claim_delivery(
        self, *, destination: str, owner: str, now: datetime, lease_s: float, learnt_since: datetime
    ) -> ClaimedDelivery | None:
        with self._lock:
            for key, delivery in sorted(self._waiting.items()):
                due = self._due.get(key, now) <= now and self._leased.get(key, now) <= now
                if delivery.destination == destination and due:
                    accepted_as = self.capabilities.get((destination, delivery.kind), "")
                    claimed = self._waiting[key] = replace(delivery, attempts=delivery.attempts + 1, accepted_as=accepted_as)
                    self._leased[key] = now + timedelta(seconds=lease_s)
                    self.claims.append(key)
                    return claimed
            return None

    def hand_back_delivery(self, claimed: ClaimedDelivery, *, now: datetime) -> None:
        with self._lock:
            self._leased.pop(claimed.id)
            self._waiting[claimed.id] = replace(claimed, attempts=claimed.attempts - 1)

    def circuit(self, destination: str, *, now: datetime) -> Circuit:
        with self._lock:
            return self.circuits.get(destination) or unbroken(now)

    def record_circuit(self, destination: str, circuit: Circuit) -> None:
        with self._lock:
            self.circuits[destination] = circuit

    def close_circuit(self, destination: str, *, now: datetime) -> bool:
        with self._lock:
            before = self.circuits.pop(destination, None)
            return before is not None and before.state is not CircuitState.CLOSED

    def begin_probe(self, destination: str, *, now: datetime, lease_s: float) -> bool:
        with self._lock:
            before = self.circuits[destination]
            not_before = now + timedelta(seconds=lease_s)
            self.circuits[destination] = replace(before, state=CircuitState.HALF_OPEN, not_before=not_before)
            return before.not_before <= now

    def renew_leases(self, *, owner: str, now: datetime, lease_s: float) -> None:
        with self._lock:
            self._leased = dict.fromkeys(self._leased, now + timedelta(seconds=lease_s))

    def record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, *, now: datetime, commit_at: datetime | None = None) -> None:
        with self._lock:
            if receipt.sop_class_uid:
                self.capabilities[claimed.destination, claimed.kind] = receipt.sop_class_uid
            self.receipts.append((claimed.id, receipt))
            self._waiting.pop(claimed.id)
            self._lock.notify_all()

    def record_delivery_failure(
        self, claimed: ClaimedDelivery, *, reason: str, status: str, retry_at: datetime | None, now: datetime, counted: bool = True
    ) -> None:
        with self._lock:
            if not counted:
                self._waiting[claimed.id] = replace(claimed, attempts=claimed.attempts - 1)
            self.failures.append((claimed.id, reason, status, retry_at))
            self._leased.pop(claimed.id)
            if retry_at is None:
                self._waiting.pop(claimed.id)
            else:
                self._due[claimed.id] = retry_at
            self._lock.notify_all()

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 10) -> bool:
        """Return True as soon as `condition()` holds after a record, False if it does not within `timeout_s` seconds."""
        with self._lock:
            return self._lock.wait_for(condition, timeout=timeout_s)


class FakeInstanceRecorder:
    """Remembers what it is given, as the ledger would; `failure`, if set, is raised instead."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._lock = threading.Lock()
        self.failure = failure
        self.failed = 0
        self.instances: list[ReceivedInstance] = []
        self.urgent: list[bool] = []
        self.quarantined: list[tuple[str, str, str]] = []

    def may_know(self, sop_instance_uid: str) -> bool:
        with self._lock:
            return any(instance.sop_instance_uid == sop_instance_uid for instance in self.instances)

    def record_newcomers(self, arrivals: Sequence[Arrival]) -> bool:
        uids = [arrival.instance.sop_instance_uid for arrival in arrivals]
        with self._lock:
            known = {instance.sop_instance_uid for instance in self.instances}
            if self.failure is not None or len(set(uids)) < len(uids) or known & set(uids):
                return False
        self.record_instances(arrivals)
        return True

    def checkpoint(self) -> None:
        pass

    def record_instances(self, arrivals: Sequence[Arrival]) -> list[str]:
        return [self.record_instance(arrival.instance, urgent=arrival.urgent) for arrival in arrivals]

    def record_instance(self, instance: ReceivedInstance, *, urgent: bool) -> str:
        with self._lock:
            if self.failure is not None:
                self.failed += 1
                raise self.failure
            self.urgent.append(urgent)
            versions = [known for known in self.instances if known.sop_instance_uid == instance.sop_instance_uid]
            if any(known.digest == instance.digest for known in versions):
                return "duplicate"
            self.instances.append(replace(instance, version=len(versions) + 1))
            return "new version" if versions else "new"

    def record_quarantine(self, *, path: str, reason: str, calling_ae_title: str, sop_instance_uid: str, at: datetime) -> None:
        with self._lock:
            self.quarantined.append((path, reason, calling_ae_title))

    def known_paths(self, folder: str = "") -> frozenset[str]:
        known = [instance.path.as_posix() for instance in self.instances] + [path for path, _, _ in self.quarantined]
        return frozenset(path for path in known if path.startswith(folder))

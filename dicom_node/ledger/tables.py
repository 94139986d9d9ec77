"""The tables of the ledger. Every state column has a CHECK constraint equal to its enum in `lifecycle`."""

import enum
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect

from dicom_node.lifecycle import DeliveryState, StudyState, WorkItemState


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC; a naive one is refused."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def one_of(column: str, states: type[enum.StrEnum]) -> CheckConstraint:
    """Return the CHECK constraint that lets `column` hold the members of `states` and nothing else."""
    names = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({names})", name=f"{column}_is_known")


metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

studies = Table(
    "studies",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False, comment="0 until the study settles for the first time"),
    Column("routed_revision", Integer, nullable=False, comment="the newest revision whose work items exist"),
    Column("urgent", Integer, nullable=False),
    Column("expected_instances", Integer),
    Column("first_arrival", UtcDateTime, nullable=False, comment="of the revision that is being received"),
    Column("last_arrival", UtcDateTime, nullable=False),
    one_of("state", StudyState),
)

instances = Table(
    "instances",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("study_instance_uid", ForeignKey("studies.study_instance_uid"), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("path", String(255), nullable=False, unique=True),
    Column("revision", Integer, comment="the revision that first contains it; NULL until the study settles"),
    UniqueConstraint("sop_instance_uid", "digest"),
    Index("ix_instances_study", "study_instance_uid", "revision"),
)

work_items = Table(
    "work_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", ForeignKey("studies.study_instance_uid"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("route", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("urgent", Integer, nullable=False),
    Column("selection", LargeBinary, nullable=False, comment="which instances, and which were left out and why"),
    Column("inputs_digest", String(64), nullable=False),
    Column("analysis_path", String(255)),
    Column("attempts", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    one_of("state", WorkItemState),
    UniqueConstraint("study_instance_uid", "revision", "route"),
    Index("ix_work_items_state", "state", "urgent", "created_at"),
)

results = Table(
    "results",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("work_item_id", ForeignKey("work_items.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("path", String(255), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("work_item_id", "kind"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("work_item_id", ForeignKey("work_items.id"), nullable=False),
    Column("destination", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("status", String(64), comment="as the peer gave it"),
    Column("attempts", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("error", Text),
    Column("accepted_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    one_of("state", DeliveryState),
    ForeignKeyConstraint(["sop_instance_uid"], ["results.sop_instance_uid"]),
    UniqueConstraint("sop_instance_uid", "destination"),
    Index("ix_deliveries_lane", "destination", "state", "not_before"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("path", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("work_item_id", Integer),
    Column("event", String(64), nullable=False),
    Column("detail", Text, nullable=False),
)

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

from dicom_node.flags.flagging import FlagReason
from dicom_node.lifecycle import CircuitState, DeliveryState, StudyState, WorkItemState


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
    Column("audited_revision", Integer, nullable=False, server_default="0", comment="the newest whose arrival is in the audit trail"),
    Column("held_because", Text, comment="why an operator keeps it from being purged"),
    one_of("state", StudyState),
    Index("ix_studies_state", "state", "last_arrival"),
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
    Column("purged_at", UtcDateTime),
    Index("ix_instances_study", "study_instance_uid", "revision"),
    sqlite_with_rowid=False,  # a row lies in its primary key's tree: one page less to write for an instance that comes
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
    Index("ix_work_items_analysis_path", "analysis_path"),
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
    Column("purged_at", UtcDateTime),
    Column("series_instance_uid", String(64), comment="of a purged SOP Instance"),
    Column("instance_number", Integer, comment="of a purged SOP Instance"),
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
    Column("sent_sop_class_uid", String(64), comment="as what the destination has it, where that is another variant of the result"),
    Column("sent_sop_instance_uid", String(64), index=True),
    Column("commit_at", UtcDateTime, comment="when storage commitment is asked for, again if it was; NULL: not, or no more"),
    Column("commit_requests", Integer, nullable=False, server_default="0"),
    Column("committed_at", UtcDateTime),
    one_of("state", DeliveryState),
    ForeignKeyConstraint(["sop_instance_uid"], ["results.sop_instance_uid"]),
    UniqueConstraint("sop_instance_uid", "destination"),
    Index("ix_deliveries_lane", "destination", "state", "not_before"),
    Index("ix_deliveries_work_item_id", "work_item_id"),
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

destination_capabilities = Table(
    "destination_capabilities",
    metadata,
    Column("destination", String(63), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False, comment="as what it takes results of this kind"),
    Column("learnt_at", UtcDateTime, nullable=False),
)

destination_circuits = Table(
    "destination_circuits",
    metadata,
    Column("destination", String(63), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("failures", Integer, nullable=False, comment="in a row"),
    Column("not_before", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    one_of("state", CircuitState),
)

commitment_transactions = Table(
    "commitment_transactions",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("destination", String(63), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False, index=True),
    Column("reported_at", UtcDateTime),
)

removals = Table(
    "removals",
    metadata,
    Column("path", String(255), primary_key=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

flag_decisions = Table(
    "flag_decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("route", String(63), nullable=False),
    Column("finding", String(63), nullable=False, comment="label of the prompt set"),
    Column("model", String(63), nullable=False),
    Column("level", Integer, nullable=False),
    Column("reason", String(24), nullable=False),
    Column("detail", Text, nullable=False),
    one_of("reason", FlagReason),
    UniqueConstraint("study_instance_uid", "revision", "route", "finding"),
    Index("ix_flag_decisions_model", "model", "reason", "at"),
)

flag_charts = Table(
    "flag_charts",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("studies", Integer, nullable=False, comment="since the chart began, or began anew"),
    Column("wanted", Integer, nullable=False, comment="studies of these that the model wanted to flag"),
    Column("rising_points", Integer, nullable=False),
    Column("falling_points", Integer, nullable=False),
)

flag_suspensions = Table(
    "flag_suspensions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(63), nullable=False, comment="empty: every model"),
    Column("since", UtcDateTime, nullable=False),
    Column("suspended_by", String(128), nullable=False),
    Column("why", Text, nullable=False),
    Column("until", UtcDateTime, comment="NULL: it holds"),
    Column("resumed_by", String(128)),
    Column("resumed_why", Text),
    Index("ix_flag_suspensions_model", "model", "until"),
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

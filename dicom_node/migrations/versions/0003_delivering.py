"""what destinations take, their circuits, storage commitment, and results that an operator dropped"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHECK = "ck_deliveries_state_is_known"
BEFORE = "state IN ('PENDING', 'ACCEPTED', 'COMMITTED', 'FAILED')"
AFTER = "state IN ('PENDING', 'ACCEPTED', 'COMMITTED', 'FAILED', 'DROPPED')"


def upgrade() -> None:
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "sent_sop_class_uid",
                sa.String(length=64),
                nullable=True,
                comment="as what the destination has it, where that is another variant of the result",
            )
        )
        batch_op.add_column(sa.Column("sent_sop_instance_uid", sa.String(length=64), nullable=True))
        batch_op.add_column(
            sa.Column(
                "commit_at",
                sa.DateTime(),
                nullable=True,
                comment="when storage commitment is asked for, again if it was; NULL: not, or no more",
            )
        )
        batch_op.add_column(sa.Column("commit_requests", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("committed_at", sa.DateTime(), nullable=True))
        batch_op.create_index("ix_deliveries_sent_sop_instance_uid", ["sent_sop_instance_uid"], unique=False)
    _check(AFTER)
    op.create_table(
        "destination_capabilities",
        sa.Column("destination", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False, comment="as what it takes results of this kind"),
        sa.Column("learnt_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "kind"),
    )
    op.create_table(
        "destination_circuits",
        sa.Column("destination", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="in a row"),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("state IN ('CLOSED', 'OPEN', 'HALF_OPEN')", name=op.f("ck_destination_circuits_state_is_known")),
        sa.PrimaryKeyConstraint("destination"),
    )
    op.create_table(
        "commitment_transactions",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=63), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("reported_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_uid"),
    )
    with op.batch_alter_table("commitment_transactions", schema=None) as batch_op:
        batch_op.create_index("ix_commitment_transactions_requested_at", ["requested_at"], unique=False)


def downgrade() -> None:
    op.drop_table("commitment_transactions")
    op.drop_table("destination_circuits")
    op.drop_table("destination_capabilities")
    op.execute("UPDATE deliveries SET state = 'FAILED' WHERE state = 'DROPPED'")
    _check(BEFORE)
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_deliveries_sent_sop_instance_uid")
        for column in ("committed_at", "commit_requests", "commit_at", "sent_sop_instance_uid", "sent_sop_class_uid"):
            batch_op.drop_column(column)


def _check(condition: str) -> None:
    """Replace the CHECK constraint. On SQLite the table is copied, with the old one only where SQLAlchemy reflects it (2.1 does)."""
    connection = op.get_bind()
    reflected = sa.Table("deliveries", sa.MetaData(), autoload_with=connection)
    known = any(isinstance(found, sa.CheckConstraint) and found.name == CHECK for found in reflected.constraints)
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        if known or connection.dialect.name != "sqlite":
            batch_op.drop_constraint(op.f(CHECK), type_="check")
        batch_op.create_check_constraint(op.f(CHECK), sa.text(condition))

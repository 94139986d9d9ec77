"""decisions about flags, suspensions of models, and how far arrivals are in the audit trail"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "flag_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("route", sa.String(length=63), nullable=False),
        sa.Column("finding", sa.String(length=63), nullable=False, comment="label of the prompt set"),
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('raised', 'not present', 'not calibrated', 'non-diagnostic', 'suspended', 'budget spent')",
            name=op.f("ck_flag_decisions_reason_is_known"),
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "study_instance_uid", "revision", "route", "finding", name=op.f("uq_flag_decisions_study_instance_uid_revision_route_finding")
        ),
    )
    with op.batch_alter_table("flag_decisions", schema=None) as batch_op:
        batch_op.create_index("ix_flag_decisions_model", ["model", "reason", "at"], unique=False)
    op.create_table(
        "flag_charts",
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("studies", sa.Integer(), nullable=False, comment="since the chart began, or began anew"),
        sa.Column("wanted", sa.Integer(), nullable=False, comment="studies of these that the model wanted to flag"),
        sa.Column("rising_points", sa.Integer(), nullable=False),
        sa.Column("falling_points", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_table(
        "flag_suspensions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=63), nullable=False, comment="empty: every model"),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("suspended_by", sa.String(length=128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True, comment="NULL: it holds"),
        sa.Column("resumed_by", sa.String(length=128), nullable=True),
        sa.Column("resumed_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("flag_suspensions", schema=None) as batch_op:
        batch_op.create_index("ix_flag_suspensions_model", ["model", "until"], unique=False)
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "audited_revision",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="the newest whose arrival is in the audit trail",
            )
        )
    op.execute("UPDATE studies SET audited_revision = revision")  # what arrived before there was an audit trail is not told now


def downgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_column("audited_revision")
    op.drop_table("flag_suspensions")
    op.drop_table("flag_charts")
    op.drop_table("flag_decisions")

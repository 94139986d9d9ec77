"""holding and purging of studies, and the files that are still to be removed"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("held_because", sa.Text(), nullable=True, comment="why an operator keeps it from being purged"))
        batch_op.create_index("ix_studies_state", ["state", "last_arrival"], unique=False)
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.add_column(sa.Column("purged_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.add_column(sa.Column("purged_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("series_instance_uid", sa.String(length=64), nullable=True, comment="of a purged SOP Instance"))
        batch_op.add_column(sa.Column("instance_number", sa.Integer(), nullable=True, comment="of a purged SOP Instance"))
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_deliveries_work_item_id", ["work_item_id"], unique=False)
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        batch_op.create_index("ix_work_items_analysis_path", ["analysis_path"], unique=False)
    op.create_table(
        "removals",
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )


def downgrade() -> None:
    op.drop_table("removals")
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        batch_op.drop_index("ix_work_items_analysis_path")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_deliveries_work_item_id")
    with op.batch_alter_table("results", schema=None) as batch_op:
        for column in ("instance_number", "series_instance_uid", "purged_at"):
            batch_op.drop_column(column)
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_column("purged_at")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_index("ix_studies_state")
        batch_op.drop_column("held_because")

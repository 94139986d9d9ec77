"""a new instance changes fewer pages of the database"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SAME_BYTES = "uq_instances_sop_instance_uid_digest"  # the path, which is unique, holds both


def upgrade() -> None:
    with op.batch_alter_table("instances", recreate="always", table_kwargs={"sqlite_with_rowid": False}) as batch_op:
        batch_op.drop_constraint(_SAME_BYTES, type_="unique")


def downgrade() -> None:
    with op.batch_alter_table("instances", recreate="always", table_kwargs={"sqlite_with_rowid": True}) as batch_op:
        batch_op.create_unique_constraint(_SAME_BYTES, ["sop_instance_uid", "digest"])

"""Alembic's entry point: runs on the connection that the ledger hands over."""

from alembic import context

from dicom_node.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

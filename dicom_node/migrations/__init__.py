"""Alembic migrations of the ledger: one file a step in `versions`, never edited once released."""

HEAD = "0005"
"""The newest step."""

"""The connection to the ledger's database, and the event log that every change writes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, insert, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import migrations
from dicom_node.ledger import tables

BUSY_TIMEOUT_MS = 30_000


def _open(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    if make_url(url).get_backend_name() != "sqlite":
        return engine

    # pysqlite opens transactions late and lazily; a claim must hold the write lock from its first read.
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


class LedgerError(Exception):
    """The ledger cannot be opened. The message says why and what to do."""


class Rows:
    """The one owner of the ledger's rows. A write is durable when its method returns."""

    def __init__(self, url: str) -> None:
        """Open the ledger at `url` (an SQLAlchemy URL) and bring its schema up to date.

        Raises:
            LedgerError: the database cannot be opened or migrated.
        """
        self._engine = _open(url)
        try:
            if self._version() != migrations.HEAD:
                self._migrate()
        except SQLAlchemyError as exc:
            raise LedgerError(f"{getattr(exc, 'orig', exc)}; is it readable for this user, and whole? Else restore a backup") from exc

    def close(self) -> None:
        self._engine.dispose()

    def _version(self) -> str | None:
        """Return the step that the schema is at, None for an empty database."""
        with self._read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

    def _migrate(self) -> None:
        # Alembic takes half a second to import, and only the first start of a version needs it.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        try:
            with self._engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as exc:
            raise LedgerError(f"{exc}; it was made by a newer dicom-node: use that version") from exc

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(read_only=True) as connection:
            yield connection

    def _any(self, wanted: Select[tuple[int]]) -> bool:
        """Look without the write lock first: an idle claimer must not hold up the receiver."""
        with self._read() as connection:
            return connection.execute(wanted).first() is not None

    @staticmethod
    def _log(connection: Connection, *, at: datetime, study: str, name: str, detail: str = "", work_item_id: int | None = None) -> None:
        connection.execute(
            insert(tables.events).values(at=at, study_instance_uid=study, work_item_id=work_item_id, event=name, detail=detail)
        )

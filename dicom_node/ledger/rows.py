"""The connection to the ledger's database, and the event log that every change writes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Select, create_engine, event, insert
from sqlalchemy.engine import make_url

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


class Rows:
    """The one owner of the ledger's rows. A write is durable when its method returns."""

    def __init__(self, url: str) -> None:
        """Open the ledger at `url` (an SQLAlchemy URL) and bring its schema up to date.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database cannot be opened or migrated.
        """
        self._engine = _open(url)
        self._migrate()

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

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

"""The connection to the ledger's database, and the event log that every change writes to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, Select, create_engine, event, insert, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import migrations
from dicom_node.failpoints import failpoint
from dicom_node.ledger import tables
from dicom_node.ledger.prepared import DriverTransaction

BUSY_TIMEOUT_MS = 30_000
_BEGIN_WRITING = "BEGIN IMMEDIATE"  # pysqlite opens transactions late and lazily; a claim must hold the write lock from its first read
CLOCK_SKEW = timedelta(seconds=5)
"""What clocks of several hosts may differ by."""


def _open(url: str, *, power_loss: bool) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    if make_url(url).get_backend_name() != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        synchronous = "FULL" if power_loss else "NORMAL"
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.connection.cursor().execute("BEGIN" if read_only else _BEGIN_WRITING)

    return engine


def _commit_by_driver(connection: PoolProxiedConnection, transaction: DriverTransaction) -> None:
    failpoint("ledger.commit")
    connection.commit()
    transaction.cursor.close()


class LedgerError(Exception):
    """The ledger cannot be opened. The message says why and what to do."""


class Rows:
    """The one owner of the ledger's rows. A write is durable when its method returns, except for `record_newcomers`."""

    def __init__(self, url: str, *, is_there: Callable[[Path], bool] = lambda _: True, power_loss: bool = True) -> None:
        """Open the ledger at `url` (an SQLAlchemy URL) and bring its schema up to date.

        `is_there` says whether the object store has a file: asked, under the write lock, when a purged instance comes again.

        `power_loss` False leaves it to the operating system when a commit of SQLite reaches the disk; no process's death undoes it.

        Raises:
            LedgerError: the database cannot be opened or migrated.
        """
        self._is_there = is_there
        self._kept: PoolProxiedConnection | None = None
        self._kept_lock = Lock()
        self._engine = _open(url, power_loss=power_loss)
        try:
            if self._version() != migrations.HEAD:
                self._migrate()
        except SQLAlchemyError as exc:
            raise LedgerError(f"{getattr(exc, 'orig', exc)}; is it readable for this user, and whole? Else restore a backup") from exc

    def close(self) -> None:
        with self._kept_lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None
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
            failpoint("ledger.commit")
        failpoint("ledger.committed")

    @contextmanager
    def _write_by_driver(self) -> Iterator[DriverTransaction]:
        """As `_write`, without SQLAlchemy, which takes longer than SQLite to write a few rows."""
        connection = self._engine.raw_connection()
        try:
            transaction = self._begin_by_driver(connection)
            yield transaction
            _commit_by_driver(connection, transaction)
        finally:
            connection.close()  # back to the pool, which rolls back what is left
        failpoint("ledger.committed")

    @contextmanager
    def _write_often(self) -> Iterator[DriverTransaction]:
        """As `_write_by_driver`, for rows that can be made again from synchronised files, should the power fail before the disk has them.

        On a kept connection, and nobody is waited for: the driver's OperationalError says that another is writing.
        """
        with self._kept_lock:
            connection = self._kept = self._kept or self._connection_to_keep()
            transaction = self._begin_by_driver(connection)
            self._kept = None
            try:
                yield transaction
                _commit_by_driver(connection, transaction)
            except BaseException:
                connection.close()  # which rolls back
                raise
            self._kept = connection
        failpoint("ledger.committed")

    @contextmanager
    def _read_often(self) -> Iterator[DriverTransaction]:
        """Read on the connection of `_write_often`; nobody is waited for here either."""
        with self._kept_lock:
            connection = self._kept = self._kept or self._connection_to_keep()
            cursor = connection.cursor()
            try:
                yield DriverTransaction(cursor=cursor, dialect=self._engine.dialect)
            finally:
                cursor.close()  # ends what was read, and so the transaction that SQLite makes of it

    def _begin_by_driver(self, connection: PoolProxiedConnection) -> DriverTransaction:
        cursor = connection.cursor()
        if self._engine.dialect.name == "sqlite":  # other drivers begin with the first statement
            cursor.execute(_BEGIN_WRITING)
        return DriverTransaction(cursor=cursor, dialect=self._engine.dialect)

    def _connection_to_keep(self) -> PoolProxiedConnection:
        connection = self._engine.raw_connection()
        if self._engine.dialect.name == "sqlite":
            connection.detach()  # never back to the pool, for others to write with
            # The next commit of anybody that is synchronised takes these along: what follows from a row outlives no power loss without it.
            for pragma in ("synchronous=NORMAL", "busy_timeout=0", "wal_autocheckpoint=0"):
                connection.cursor().execute(f"PRAGMA {pragma}")
        return connection

    def checkpoint(self) -> None:
        """Move rows from SQLite's write-ahead log to the database, which `_write_often` leaves to others; waits for the disk.

        Raises:
            SQLAlchemyError: not now; the log grows until it is possible.
        """
        if self._engine.dialect.name == "sqlite":
            with self._read() as connection:
                connection.rollback()  # out of the transaction that every connection begins with
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

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

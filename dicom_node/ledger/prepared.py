"""Statements that are compiled once: SQLAlchemy takes longer to look at a statement than SQLite to execute it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update


class Prepared:
    """A statement for many executions, by the database driver itself, whose errors it raises.

    All its parameters are `bindparam`s, and each has its column's type; what a SELECT returns is as the driver gives it.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete) -> None:
        self._statement = statement
        self._of_dialect: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: object) -> Sequence[tuple[Any, ...]]:
        """Execute a SELECT and return what the database driver gives."""
        cursor = connection.connection.cursor()
        cursor.execute(*self._ready(connection, values))
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows

    def execute(self, connection: Connection, **values: object) -> None:
        """Execute."""
        cursor = connection.connection.cursor()
        cursor.execute(*self._ready(connection, values))
        cursor.close()

    def execute_many(self, connection: Connection, values: Sequence[Mapping[str, object]]) -> None:
        """Execute once for each mapping."""
        compiled = self._compiled(connection.dialect)
        cursor = connection.connection.cursor()
        rows: Any = [compiled.parameters(one) for one in values]
        cursor.executemany(compiled.sql, rows)
        cursor.close()

    def _ready(self, connection: Connection, values: Mapping[str, object]) -> tuple[str, Any]:
        compiled = self._compiled(connection.dialect)
        return compiled.sql, compiled.parameters(values)

    def _compiled(self, dialect: Dialect) -> "_Compiled":
        found = self._of_dialect.get(dialect.name)
        if found is None:
            found = self._of_dialect[dialect.name] = _Compiled(self._statement, dialect)
        return found


class _Compiled:
    def __init__(self, statement: Select[Any] | Insert | Update | Delete, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._positions: tuple[str, ...] | None = tuple(compiled.positiontup) if compiled.positiontup is not None else None
        self._processors: dict[str, Callable[[Any], Any]] = {}
        for name, bind in compiled.binds.items():
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if processor is not None:
                self._processors[name] = processor

    def parameters(self, values: Mapping[str, object]) -> tuple[object, ...] | dict[str, object]:
        processed = {name: self._processors[name](value) if name in self._processors else value for name, value in values.items()}
        return processed if self._positions is None else tuple(processed[name] for name in self._positions)

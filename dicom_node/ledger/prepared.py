"""Statements that are compiled once: SQLAlchemy takes longer to look at a statement than SQLite to execute it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, Insert, Select, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverTransaction:
    """A transaction of the database driver itself, whose errors it raises, and the dialect that its statements are in."""

    cursor: Any
    dialect: Dialect


class Prepared:
    """A statement for many executions. All its parameters are `bindparam`s, and each has its column's type."""

    def __init__(self, statement: Insert | Update | Select[tuple[int]]) -> None:
        self._statement = statement
        self._of_dialect: dict[str, _Compiled] = {}

    def execute(self, transaction: DriverTransaction, **values: object) -> int:
        """Execute, and return how many rows that made or changed."""
        compiled = self._compiled(transaction.dialect)
        transaction.cursor.execute(compiled.sql, compiled.parameters(values))
        return int(transaction.cursor.rowcount)

    def finds(self, transaction: DriverTransaction, **values: object) -> bool:
        """Execute, and say whether that found a row."""
        compiled = self._compiled(transaction.dialect)
        transaction.cursor.execute(compiled.sql, compiled.parameters(values))
        return transaction.cursor.fetchone() is not None

    def execute_many(self, transaction: DriverTransaction, values: Sequence[Mapping[str, object]]) -> None:
        """Execute once for each mapping."""
        compiled = self._compiled(transaction.dialect)
        transaction.cursor.executemany(compiled.sql, [compiled.parameters(one) for one in values])

    def _compiled(self, dialect: Dialect) -> "_Compiled":
        found = self._of_dialect.get(dialect.name)
        if found is None:
            found = self._of_dialect[dialect.name] = _Compiled(self._statement, dialect)
        return found


class _Compiled:
    def __init__(self, statement: Insert | Update | Select[tuple[int]], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._by_position = compiled.positiontup is not None
        self._names: tuple[str, ...] = tuple(compiled.positiontup or compiled.binds)
        self._pick = _picker(self._names)
        # What turns a value into one that the driver takes, by its place.
        processors = [compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names]
        self._processors: list[tuple[int, Callable[[Any], Any]]] = [
            (place, process) for place, process in enumerate(processors) if process is not None
        ]

    def parameters(self, values: Mapping[str, object]) -> Sequence[object] | Mapping[str, object]:
        ready = list(self._pick(values))
        for place, process in self._processors:
            ready[place] = process(ready[place])
        return ready if self._by_position else dict(zip(self._names, ready, strict=True))


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, object]], Sequence[object]]:
    if len(names) == 1:  # of which `itemgetter` would return the value alone
        return lambda values: (values[names[0]],)
    return itemgetter(*names)

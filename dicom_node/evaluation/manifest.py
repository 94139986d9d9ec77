"""Labelled data: a CSV table with one row an image, and what it says about the labels of each prompt set."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.labelling import ANYTHING, ColumnsSection, Condition, LabelRules, label_rule_mistakes, load_label_rules
from config.mistakes import ConfigurationError, Mistake, suggestion
from config.prompt_sets import PromptSet
from inference.damage.degradations import KINDS

Row: TypeAlias = Mapping[str, str]

TRUE, FALSE, UNKNOWN = 1, 0, -1
NONE_OF_THESE = "none-of-these"  # in a multi-class column: an image of which no label is true
LABEL_COLUMN, CLEAN_COLUMN, UNUSABLE_COLUMN = "label", "clean", "unusable_for"
_PRESENCE = {"": UNKNOWN, "1": TRUE, "0": FALSE}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """One row. `line` is its line in the file (1-based, the header is the first); texts are empty where nothing is known.

    `clean`: the picture has no fault of its own, but for the kinds in `unusable_for`, of which nobody knows.
    """

    line: int
    path: Path
    frame_number: int
    patient: str
    source: str
    modality: str
    clean: bool
    unusable_for: frozenset[str]

    @property
    def group(self) -> tuple[str, str]:
        """What must be kept together: the patient of one source, else the image itself."""
        return (self.source, self.patient) if self.patient else ("", f"line {self.line}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of the labels of one prompt set: int8 `(images, labels)`, TRUE, FALSE or UNKNOWN.

    `exclusive`: of each image one label is true (or, of a picture of something else, none).
    """

    prompt_set: str
    labels: tuple[str, ...]
    exclusive: bool
    values: NDArray[np.int8]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which images something is known of."""
        return np.asarray((self.values != UNKNOWN).any(axis=1))

    def of(self, rows: NDArray[np.intp]) -> "Truth":
        """Return what is known of some of the images, in the given order."""
        return Truth(prompt_set=self.prompt_set, labels=self.labels, exclusive=self.exclusive, values=self.values[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """The rows of a table that are used, and the truth of each prompt set of which it says anything. `rows`: all that the file has."""

    path: Path
    sha256: str
    rows: int
    images: tuple[LabelledImage, ...]
    truths: tuple[Truth, ...]

    def truth(self, prompt_set: str) -> Truth | None:
        return next((truth for truth in self.truths if truth.prompt_set == prompt_set), None)

    def of(self, rows: NDArray[np.intp]) -> "LabelledData":
        """Return the data with some of its images, in the given order."""
        return LabelledData(
            path=self.path,
            sha256=self.sha256,
            rows=self.rows,
            images=tuple(self.images[row] for row in rows),
            truths=tuple(truth.of(rows) for truth in self.truths),
        )


def read_labelled_data(
    path: Path, prompt_sets: Sequence[PromptSet], *, installed: Sequence[PromptSet], rules_file: Path | None, split: str | None
) -> LabelledData:
    """Return what a table says about the labels of these prompt sets.

    Without `rules_file` the columns are `path`, and optionally `frame`, `patient`, `source`, `modality`, `split`, `clean` (1 or empty:
    yes) and `unusable_for` (kinds of degradation, separated by `;`). The labels: for a multi-class-softmax prompt set a column named as
    the prompt set, or `label`, that holds a label or `none-of-these`; for a pair-softmax prompt set a column named as each label, that
    holds 1, 0 or nothing. Label rules may name any of the `installed` prompt sets.

    Raises:
        ConfigurationError: with every mistake in the table or the rules.
    """
    table = _read_table(path)
    rules, mistakes = _rules(rules_file, table, installed)
    if mistakes:
        raise ConfigurationError(mistakes)
    reader = _Reader(table=table, rules=rules)
    columns = rules.columns if rules else ColumnsSection()
    reader.need(columns.path)
    if split is not None:
        reader.need(columns.split)
    if reader.all_mistakes():
        raise ConfigurationError(reader.all_mistakes())
    where = rules.where if rules else ()
    used = [(line, row) for line, row in table.rows if (not where or _holds(where, row)) and split in {None, row.get(columns.split)}]
    images = tuple(image for line, row in used if (image := reader.image(line, row, columns)) is not None)
    truths = tuple(truth for prompt_set in prompt_sets if (truth := reader.truth(prompt_set, prompt_sets, used)) is not None)
    if reader.all_mistakes():
        raise ConfigurationError(reader.all_mistakes())
    if not images:
        splits = sorted({row.get(columns.split, "") for _, row in table.rows})
        what = (
            f"no row of the split {split!r}; there are: {', '.join(splits)}" if split else "no row is used; check where in the label rules"
        )
        raise ConfigurationError([Mistake(file=str(path), line=1, field=columns.split if split else "file", message=what)])
    return LabelledData(path=path, sha256=table.sha256, rows=len(table.rows), images=images, truths=truths)


def with_something_known(data: LabelledData) -> LabelledData:
    """Return the data without the images that no truth says anything about."""
    return data.of(np.flatnonzero(np.logical_or.reduce([truth.known for truth in data.truths])))


def sampled(data: LabelledData, limit: int | None, *, seed: int) -> LabelledData:
    """Return the data with at most `limit` images, drawn at random, in the order of the table."""
    if limit is None or limit >= len(data.images):
        return data
    return data.of(np.sort(np.random.default_rng(seed).choice(len(data.images), limit, replace=False)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    path: Path
    sha256: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Row], ...]


def _read_table(path: Path) -> _Table:
    def stop(line: int, message: str) -> ConfigurationError:
        return ConfigurationError([Mistake(file=str(path), line=line, field="file", message=message)])

    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise stop(1, f"cannot be read: {exc.strerror}; give a readable CSV file") from exc
    except UnicodeDecodeError as exc:
        raise stop(1, "is not UTF-8 text; save it as UTF-8") from exc
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as exc:
        raise stop(reader.line_num, f"is not CSV: {exc}; mind quotes and separators (commas)") from exc
    if len(lines) < 2:  # noqa: PLR2004 - a header and a row
        raise stop(1, "has no rows; the first line names the columns, each other line is an image")
    header = tuple(name.strip() for name in lines[0][1])
    if len(set(header)) != len(header):
        raise stop(1, "names a column twice; rename one")
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise stop(line, f"the row has {len(cells)} cells, the header {len(header)}; mind quotes and separators (commas)")
    rows = tuple((line, dict(zip(header, cells, strict=True))) for line, cells in lines[1:])
    return _Table(path=path, sha256=hashlib.sha256(data).hexdigest(), columns=header, rows=rows)


def _rules(path: Path | None, table: _Table, prompt_sets: Sequence[PromptSet]) -> tuple[LabelRules | None, list[Mistake]]:
    if path is None:
        return None, []
    rules, document = load_label_rules(path)
    found = label_rule_mistakes(rules, document, columns=table.columns, prompt_sets=prompt_sets, kinds=KINDS, other=NONE_OF_THESE)
    return rules, list(found)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads rows and gathers what is wrong with them; the same mistake in many rows is told once."""

    table: _Table
    rules: LabelRules | None
    mistakes: list[Mistake] = field(default_factory=list)
    cells: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def need(self, column: str) -> None:
        if column not in self.table.columns:
            message = f"there is no such column{suggestion(column, self.table.columns)}"
            self.mistakes.append(Mistake(file=str(self.table.path), line=1, field=column, message=message))

    def all_mistakes(self) -> list[Mistake]:
        file = str(self.table.path)
        told = [
            Mistake(
                file=file, line=lines[0], field=column, message=message + (f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else "")
            )
            for (column, message), lines in self.cells.items()
        ]
        return self.mistakes + told

    def wrong(self, column: str, line: int, message: str) -> None:
        self.cells.setdefault((column, message), []).append(line)

    def image(self, line: int, row: Row, columns: ColumnsSection) -> LabelledImage | None:
        path, frame = row[columns.path], row.get(columns.frame, "").strip() or "1"
        if not path:
            self.wrong(columns.path, line, "is empty; give the file of the image")
            return None
        if not frame.isdecimal() or int(frame) < 1:
            self.wrong(columns.frame, line, f"{frame!r} is no frame number; frames count from 1")
            return None
        return LabelledImage(
            line=line,
            path=self.table.path.parent / path,
            frame_number=int(frame),
            patient=row.get(columns.patient, ""),
            source=row.get(columns.source, ""),
            modality=row.get(columns.modality, "").strip().upper(),
            clean=self._clean(line, row),
            unusable_for=frozenset(self._unusable_for(line, row)),
        )

    def _clean(self, line: int, row: Row) -> bool:
        if self.rules is not None:
            return not self.rules.clean or _holds(self.rules.clean, row)
        cell = row.get(CLEAN_COLUMN, "").strip()
        if cell not in _PRESENCE:
            self.wrong(CLEAN_COLUMN, line, f"{cell!r} is neither 1, 0 nor empty")
        return cell != "0"

    def _unusable_for(self, line: int, row: Row) -> Iterator[str]:
        if self.rules is not None:
            yield from (kind for kind, conditions in self.rules.unusable_for.items() if _holds(conditions, row))
            return
        for kind in filter(None, map(str.strip, row.get(UNUSABLE_COLUMN, "").split(";"))):
            if kind not in KINDS:
                self.wrong(UNUSABLE_COLUMN, line, f"there is no kind of degradation {kind!r}{suggestion(kind, KINDS)}")
            yield kind

    def truth(self, prompt_set: PromptSet, prompt_sets: Sequence[PromptSet], rows: Sequence[tuple[int, Row]]) -> Truth | None:
        """What the rows say about one prompt set; None if they say nothing."""
        labels = tuple(label.name for label in prompt_set.labels)
        exclusive = prompt_set.recipe == "multi-class-softmax"
        if exclusive:
            values = [self._choice(line, row, prompt_set, labels, prompt_sets) for line, row in rows]
        else:
            values = [tuple(self._presence(line, row, prompt_set.name, label) for label in labels) for line, row in rows]
        array = np.array(values, dtype=np.int8).reshape(len(rows), len(labels))
        if (array == UNKNOWN).all():
            return None
        return Truth(prompt_set=prompt_set.name, labels=labels, exclusive=exclusive, values=array)

    def _choice(
        self, line: int, row: Row, prompt_set: PromptSet, labels: Sequence[str], prompt_sets: Sequence[PromptSet]
    ) -> tuple[int, ...]:
        chosen = (
            self._ruled_choice(line, row, prompt_set.name)
            if self.rules
            else self._written_choice(line, row, prompt_set, labels, prompt_sets)
        )
        if not chosen:
            return (UNKNOWN,) * len(labels)
        return tuple(TRUE if label == chosen else FALSE for label in labels)

    def _ruled_choice(self, line: int, row: Row, name: str) -> str:
        assert self.rules is not None
        true = [label for label, conditions in self.rules.choices.get(name, {}).items() if _holds(conditions, row)]
        if len(true) > 1:
            self.wrong(name, line, f"is {' and '.join(true)} by the label rules; an image is one of them; add what tells them apart")
        return true[0] if true else ""

    def _written_choice(self, line: int, row: Row, prompt_set: PromptSet, labels: Sequence[str], prompt_sets: Sequence[PromptSet]) -> str:
        column = prompt_set.name
        if column not in self.table.columns:
            rivals = [one for one in prompt_sets if one.recipe == prompt_set.recipe and one.name not in self.table.columns]
            if LABEL_COLUMN not in self.table.columns or len(rivals) > 1:
                return ""
            column = LABEL_COLUMN
        cell = row[column].strip()
        if cell and cell != NONE_OF_THESE and cell not in labels:
            self.wrong(column, line, f"prompt set {prompt_set.name} has no label {cell!r}{suggestion(cell, (*labels, NONE_OF_THESE))}")
        return cell

    def _presence(self, line: int, row: Row, name: str, label: str) -> int:
        if self.rules is not None:
            rule = self.rules.findings.get(name, {}).get(label)
            if rule is None:
                return UNKNOWN
            return TRUE if _holds(rule.present, row) else FALSE if _holds(rule.absent, row) else UNKNOWN
        cell = row.get(label, "").strip()
        if cell not in _PRESENCE:
            self.wrong(label, line, f"{cell!r} is neither 1, 0 nor empty")
        return _PRESENCE.get(cell, UNKNOWN)


def _holds(conditions: Sequence[Condition], row: Row) -> bool:
    """True if one of the conditions holds."""
    return any(_all_hold(condition, row) for condition in conditions)


def _all_hold(condition: Condition, row: Row) -> bool:
    return all(any(_equal(row[column], value) for value in values) for column, values in condition.columns.items()) and not _holds(
        condition.unless, row
    )


def _equal(cell: str, value: str) -> bool:
    if ANYTHING not in value:
        return cell == value
    return re.fullmatch(".*".join(map(re.escape, value.split(ANYTHING))), cell, re.DOTALL) is not None

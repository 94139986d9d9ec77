"""`make conformance`: every kind of document, in every SOP class, from every header, under every validator that knows it.

Every analysis is encoded from a clean header. Then a small and a rich one are encoded from every dirty header and in every
character set. All of it goes through every tool but PixelMed, whose time would be hours: it sees every analysis in every class, and every
header once. Exit 0 if nothing was said against a document, and every mutant was rejected.
"""

import argparse
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reporting import VARIANTS
from tests.conformance.mutants import MUTANTS, write_mutant
from tests.conformance.sr_documents import KINDS
from tests.conformance.sr_readback import readback
from tests.conformance.sr_validators import dciodvfy, dicom_validator, dsr2html, dsr2xml, dsrdump, pixelmed
from tests.conformance.suite import CLEAN, KEY_OBJECTS, TOOLS, Document, all_verdicts, documents, source_headers

_EACH_MUTANT = {"dciodvfy": dciodvfy, "dicom-validator": dicom_validator, "dsrdump": dsrdump, "dsr2html": dsr2html, "dsr2xml": dsr2xml}
_EACH_MUTANT["read-back"] = readback
_PIXELMED_AT_ONCE = 24

Verdicts = dict[str, tuple[str, ...]]


def main() -> int:
    """Check everything, print the tables, and return the exit status."""
    arguments = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="Validators at the same time.")
    arguments.add_argument("--without-pixelmed", action="store_true", help="Leave out the slowest validator.")
    asked = arguments.parse_args()
    console, began = Console(width=180), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [*documents(folder, KINDS, [CLEAN])]
        made += documents(folder, ["localised", "failed"], [header for header in source_headers() if header != CLEAN])
        console.print(f"{len(made)} documents from {len(KINDS)} analyses and {len(source_headers())} headers")
        said = all_verdicts(made, processes=asked.processes)
        if not asked.without_pixelmed:
            _ask_pixelmed(made, said)
        wrong = _print_documents(console, made, said)
        missed = _print_mutants(console, folder, with_pixelmed=not asked.without_pixelmed)
    console.print(f"{wrong} messages against documents, {missed} mutants not rejected; {time.monotonic() - began:.0f} s")
    return 1 if wrong or missed else 0


def _ask_pixelmed(made: Sequence[Document], said: Sequence[Verdicts]) -> None:
    for_it = [
        (document, verdicts)
        for document, verdicts in zip(made, said, strict=True)
        if document.is_report
        and (document.header == CLEAN or (document.analysis == "failed" and document.sop_class_uid in {VARIANTS[0], KEY_OBJECTS}))
    ]
    for first in range(0, len(for_it), _PIXELMED_AT_ONCE):
        batch = for_it[first : first + _PIXELMED_AT_ONCE]
        answers = pixelmed([document.path for document, _ in batch])
        for document, verdicts in batch:
            verdicts["PixelMed"] = answers[document.path]


def _print_documents(console: Console, made: Sequence[Document], said: Sequence[Verdicts]) -> int:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    asked: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for document, verdicts in zip(made, said, strict=True):
        row = (document.kind, document.class_name)
        asked[row]["documents"] += 1
        for tool, lines in verdicts.items():
            asked[row][tool] += 1
            counts[row][tool] += len(lines)
            for line in lines:
                console.print(f"{document.path.name}: {tool}: {line}", style="red", highlight=False, markup=False)
    table = Table("Kind", "SOP class", "Documents", *TOOLS, title="Messages / documents asked about", title_justify="left")
    for row in asked:
        cells = [f"{counts[row][tool]} / {asked[row][tool]}" if asked[row][tool] else "" for tool in TOOLS]
        table.add_row(*row, str(asked[row]["documents"]), *cells)
    console.print(table)
    return sum(sum(counter.values()) for counter in counts.values())


def _print_mutants(console: Console, folder: Path, *, with_pixelmed: bool) -> int:
    paths = {name: write_mutant(folder, name) for name in MUTANTS}
    answers = pixelmed(list(paths.values())) if with_pixelmed else {}
    tools = [*_EACH_MUTANT, "PixelMed"]
    table = Table("One fault", *tools, title="Mutants: x rejected", title_justify="left")
    missed = 0
    for name, path in paths.items():
        rejected = {tool for tool, check in _EACH_MUTANT.items() if _rejects(check(path))}
        rejected |= {"PixelMed"} if _rejects(answers.get(path, ())) else set()
        missed += not rejected
        table.add_row(name, *("x" if tool in rejected else "" for tool in tools), style=None if rejected else "red")
    console.print(table)
    return missed


def _rejects(lines: Iterable[str]) -> bool:
    return any(True for _ in lines)


if __name__ == "__main__":
    raise SystemExit(main())

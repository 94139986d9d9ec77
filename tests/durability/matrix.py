"""Runs the crash matrix: `python -m tests.durability.matrix {gate,long} [--jobs N] [--json FILE] [--table FILE]`.

Cases are forked from this process, which has imported everything and started no thread.
"""

import argparse
import json
import os
import platform
import re
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from tests.durability import faults
from tests.durability.cases import MEMORY_DISK, Outcome, run_case


def run(cases, *, jobs, root, say=lambda outcome, progress: None):
    """Run the cases, `jobs` at a time; return their outcomes in order."""
    waiting = list(enumerate(cases))
    running, outcomes = {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, case = waiting.pop(0)
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                with os.fdopen(writing, "w") as answer:
                    json.dump(asdict(run_case(case, root)), answer)
                os._exit(0)
            os.close(writing)
            running[pid] = (number, case, reading)
        pid, _ = os.waitpid(-1, 0)
        number, case, reading = running.pop(pid)
        with os.fdopen(reading) as answer:
            text = answer.read()
        outcomes[number] = _outcome(case, text)
        say(outcomes[number], f"{len(outcomes)} of {len(outcomes) + len(waiting) + len(running)}")
    return [outcomes[number] for number in sorted(outcomes)]


def _outcome(case, text):
    if not text:
        return Outcome(kind=case.kind, name=case.name, faults=1, acknowledged=0, seconds=0, failures=("the case itself died",))
    return Outcome(**{name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()})


def table(outcomes, seconds):
    """Return the table of faults against losses, with machine and versions."""
    by_kind = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome)
    lines = [
        "| fault | faults | instances acknowledged, or results waiting | lost | reported twice | rows without file, files without row |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(kind, of_kind) for kind, of_kind in by_kind.items()]
    lines.append(_row("**all**", outcomes))
    bad = [outcome for outcome in outcomes if not outcome.good]
    lines += ["", f"{len(outcomes)} runs, {len(bad)} of them with something wrong, in {seconds / 60:.0f} minutes. {_machine()}", ""]
    return "\n".join(lines)


def _row(kind, outcomes):
    numbers = (
        sum(outcome.faults for outcome in outcomes),
        sum(outcome.acknowledged for outcome in outcomes),
        sum(len(outcome.lost) for outcome in outcomes),
        sum(len(outcome.reported_twice) for outcome in outcomes),
        sum(len(outcome.disagreements) for outcome in outcomes),
    )
    return f"| {kind} | {' | '.join(str(number) for number in numbers)} |"


def _machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    what = model[1] if model else platform.processor()
    return (
        f"dicom-node {version('dicom-node')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} x {what}."
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=("gate", "long"))
    parser.add_argument("--only", default="", help="only kinds or names that contain this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    cases = list(faults.gate() if arguments.which == "gate" else faults.long_run())
    cases = [case for case in cases if arguments.only in f"{case.kind} {case.name}"]
    faults.prepare(cases)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-matrix-", dir=MEMORY_DISK) as root:
        outcomes = run(cases, jobs=arguments.jobs, root=Path(root), say=_say)
    text = table(outcomes, time.monotonic() - started)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
    if arguments.table:
        arguments.table.write_text(text)
    sys.exit(not all(outcome.good for outcome in outcomes))


def _say(outcome, progress):
    print(f"{progress}: {outcome.kind}: {outcome.name}", file=sys.stderr, flush=True)
    if not outcome.good:
        print(f"WRONG {outcome.kind}: {outcome.name}: {asdict(outcome)}", flush=True)


if __name__ == "__main__":
    main()

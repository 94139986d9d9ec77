"""`python -m tests.fuzz --inputs 100000`: fuzzes everything that reads what strangers wrote, and prints a table."""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from tests.fuzz.campaign import CrashError, Outcome, run
from tests.fuzz.targets import targets


def main() -> int:
    """Run the campaign; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs of all targets together")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="the same seed makes the same inputs")
    parser.add_argument("--target", default="", help="only this one")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="folder for inputs that broke something")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()])
    print(f"seed {options.seed}")
    print("| target | inputs | seconds | slowest, ms | kinds of outcome | most common | left open |\n|---|---|---|---|---|---|---|")
    failures: list[str] = []
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        for outcome in campaign(Path(folder), options, failures):
            total += outcome.inputs
            print(
                f"| {outcome.target} | {outcome.inputs:,} | {outcome.seconds:.0f} | {outcome.slowest_ms:.0f} | {outcome.outcomes} "
                f"| {outcome.most_common} | {outcome.left_open} |",
                flush=True,
            )
            if outcome.left_open:
                failures.append(f"{outcome.target}: {outcome.left_open} descriptors or threads were left open")
    print(f"{total:,} inputs, {len(failures)} failures")
    print("\n".join(failures), file=sys.stderr)
    return 1 if failures else 0


def campaign(folder: Path, options: argparse.Namespace, failures: list[str]) -> Iterator[Outcome]:
    """Yield what became of each target; crashes are added to `failures`."""
    with targets(folder) as found:
        for target in found:
            if options.target in {"", target.name}:
                inputs = options.inputs if options.target else round(options.inputs * target.share)
                try:
                    yield run(target, inputs=inputs, seed=options.seed, crashes=options.crashes)
                except CrashError as exc:
                    failures.append(str(exc))


if __name__ == "__main__":
    sys.exit(main())

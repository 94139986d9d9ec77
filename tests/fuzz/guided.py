"""`python -m tests.fuzz.guided "upper layer" --seconds 600`: fuzzes one parser, led by what code its inputs reach (atheris).

It finds what blind changes do not; `python -m tests.fuzz` needs nothing installed and covers sockets too. Inputs that reach something
new are kept in the folder `fuzz-corpus`, those that break something beside it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicom_node.upper_layer", "dicom_node.receiving.header_peek", "dicom_node.receiving.header_walk"]):
    from tests.fuzz.targets import targets


def main() -> None:
    """Fuzz until the time is over or something breaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("target", help="as in the table of python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    kept = Path("fuzz-corpus") / options.target.replace(" ", "-").replace(",", "")
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, targets(Path(folder)) as found:
        (target,) = [one for one in found if one.name == options.target]
        for number, data in enumerate(target.corpus):
            (kept / f"seed-{number}").write_bytes(data)

        def run(data: bytes) -> None:
            target.run(data)

        arguments = [f"-max_total_time={options.seconds}", "-max_len=10000", f"-artifact_prefix={kept.parent}/broke-", str(kept)]
        atheris.Setup([sys.argv[0], *arguments], run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

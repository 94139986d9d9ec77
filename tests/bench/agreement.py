"""How far our pictures are from DCMTK's, file by file, as a Markdown table.

Run: python -m tests.bench.agreement [folder ...] [--files]

Every file is rendered with the window that we chose. The difference is in levels of 8 bits. `--files`: a line a file, not a line a kind.
Without folders: the development data that the environment variable DICOM_NODE_SHARED names, and what pydicom ships for its own tests.
"""

import argparse
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import dcmread
from pydicom.uid import UID

from inference.frames import UndecodableError, read_frames
from tests.dcmtk_rendering import Difference, NotComparableError, difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What became of one file: a difference, or why there is none."""

    name: str
    kind: tuple[str, str, str]
    found: Difference | None
    reason: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agreement", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=_folders())
    parser.add_argument("--files", action="store_true", help="a line a file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    compared = list(_compared(options.folders))
    print("\n".join(_by_file(compared) if options.files else _by_kind(compared)))
    print("\n" + "\n".join(_summary(compared)))


def _folders() -> list[Path]:
    shared = os.environ.get("DICOM_NODE_SHARED")
    own = Path(pydicom.__file__).parent / "data" / "test_files"
    return [*([Path(shared) / "data" / "dicom"] if shared else []), own]


def _compared(folders: Iterable[Path]) -> Iterator[Compared]:
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                header = dcmread(path, stop_before_pixels=True)
            except Exception:  # noqa: BLE001 - no DICOM file: pydicom raises whatever it meets
                continue
            if "Rows" in header:
                yield _one(path, header)


def _one(path: Path, header: pydicom.Dataset) -> Compared:
    syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    kind = (str(header.get("Modality", "?")), UID(syntax).name, str(header.get("PhotometricInterpretation", "?")))
    try:
        (frame,) = read_frames(path, [1], maximum_megapixels=100)
    except UndecodableError as exc:
        return Compared(name=path.name, kind=kind, found=None, reason="we: " + str(exc).rsplit("): ", 1)[-1].split(";")[0])
    try:
        return Compared(name=path.name, kind=kind, found=difference(path, frame, syntax), reason="; ".join(frame.steps))
    except NotComparableError as exc:
        return Compared(name=path.name, kind=kind, found=None, reason=f"DCMTK: {exc}")


def _by_file(compared: Iterable[Compared]) -> Iterator[str]:
    yield "| file | modality | transfer syntax | photometric interpretation | max | mean | words |\n|---|---|---|---|---|---|---|"
    for one in compared:
        numbers = f"{one.found.maximum:.3f} | {one.found.mean:.4f}" if one.found else "- | -"
        yield f"| {one.name} | {' | '.join(one.kind)} | {numbers} | {one.reason} |"


def _by_kind(compared: Iterable[Compared]) -> Iterator[str]:
    yield "| modality | transfer syntax | photometric interpretation | files | max | mean | not compared |\n|---|---|---|---|---|---|---|"
    groups = defaultdict(list)
    for one in compared:
        groups[one.kind].append(one)
    for kind, members in sorted(groups.items()):
        found = [one.found for one in members if one.found]
        reasons = sorted({one.reason for one in members if not one.found})
        numbers = f"{max(one.maximum for one in found):.3f} | {sum(one.mean for one in found) / len(found):.4f}" if found else "- | -"
        yield f"| {' | '.join(kind)} | {len(members)} | {numbers} | {'; '.join(reasons)} |"


def _summary(compared: list[Compared]) -> Iterator[str]:
    found = [one.found for one in compared if one.found]
    exact = sum(one.is_exact for one in found)
    within = sum(not one.is_exact and one.maximum <= 1.01 for one in found)
    yield "| images | compared | the same 8 bits | within one level | further apart | we have none | DCMTK has none |"
    yield "|---|---|---|---|---|---|---|"
    ours = sum(one.reason.startswith("we: ") for one in compared if not one.found)
    theirs = len(compared) - len(found) - ours
    yield f"| {len(compared)} | {len(found)} | {exact} | {within} | {len(found) - exact - within} | {ours} | {theirs} |"


if __name__ == "__main__":
    main()

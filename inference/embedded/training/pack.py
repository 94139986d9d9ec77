"""The training pack: Parquet files of small images with their kind, findings and provenance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inference.embedded.training.words import KINDS_OF_IMAGE

Split = Literal["train", "val"]

_COLUMNS = ("image", "modality", "finding", "finding_known", "patient_key", "dataset", "source_path", "split", "gate_class", "group_key")
_FLAGS = ("orient_ok", "source_aug", "width", "height")
_KIND = {kind.gate_class: kind.name for kind in KINDS_OF_IMAGE if kind.gate_class}
_SMALL = 80


class PackError(Exception):
    """The folder holds no training pack, or one that this code does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow:
    """One image of the pack. `image` is a JPEG; `kind` a label of `kind-of-image`; `finding` None where nobody labelled it."""

    image: bytes
    kind: str
    modality: str
    dataset: str
    source_path: str
    patient: str
    group: str
    finding: str | None
    upright: bool
    altered: bool
    small: bool

    @property
    def usual_grayscale(self) -> bool:
        """MedNIST has inverted hands and CT with a grey surround."""
        return not self.dataset.startswith("MedNIST")

    @property
    def whole(self) -> bool:
        """False for a tile or crop of a larger picture."""
        return "#" not in self.source_path


def read_pack(folder: Path, split: Split) -> tuple[PackRow, ...]:
    """Return the rows of one split, in the order of the files.

    Raises:
        PackError: there is no Parquet file, a column is missing, or a class is unknown.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise PackError(f"no Parquet file in {folder}; give the folder of the training pack")
    rows = tuple(row for file in files for row in _rows(file, split))
    if not rows:
        raise PackError(f"the pack in {folder} has no rows of the split {split!r}")
    return rows


def _rows(file: Path, split: Split) -> Iterator[PackRow]:
    try:
        from pyarrow.lib import ArrowException  # noqa: PLC0415 - an optional dependency, named below
        from pyarrow.parquet import read_table  # noqa: PLC0415
    except ImportError as exc:
        raise PackError("reading the pack needs pyarrow; install dicom-node[train]") from exc
    try:
        table: Sequence[dict[str, Any]] = read_table(file, columns=[*_COLUMNS, *_FLAGS], filters=[("split", "==", split)]).to_pylist()
    except (ArrowException, OSError) as exc:
        raise PackError(f"{file} cannot be read as a part of the training pack ({exc})") from exc
    for row in table:
        yield _row(row, file)


def _row(row: dict[str, Any], file: Path) -> PackRow:
    kind = _KIND.get(row["gate_class"])
    if kind is None:
        raise PackError(f"{file}: unknown gate_class {row['gate_class']!r}")
    return PackRow(
        image=row["image"],
        kind=kind,
        modality=row["modality"],
        dataset=row["dataset"],
        source_path=row["source_path"],
        patient=row["patient_key"],
        group=row["group_key"],
        finding=row["finding"] if row["finding_known"] else None,
        upright=row["orient_ok"],
        altered=row["source_aug"],
        small=min(row["width"], row["height"]) <= _SMALL,
    )

"""Small images of the training pack, for the checks that look at brightness on a coarse scale: at most 160 pixels a side, coded as JPEG."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pyarrow.parquet import read_table
from pydicom import Dataset

from tests.bench.quality_images import MODALITIES, Shown, picture

# What is no image of a patient, and kinds whose modality has no column.
_NO_PATIENT = {
    "screen capture of an image viewer",
    "phantom / quality-control object",
    "document / scanned page",
    "natural photograph (not medical)",
    "screenshot or chart (not medical)",
    "texture or test pattern (not medical)",
}
_CHEST = "chest radiograph"
_GREY = frozenset({"CR", "DX", "CT", "MR", "MG", "XA"})
_COLUMNS = ["image", "width", "height", "modality", "gate_class", "dataset", "source_path", "group_key", "source_aug", "in_dev"]
_SMALLEST_SIDE = 96
_SMALLEST_CHEST = 64  # ChestX-ray14, the only adult chests of many patients; brightness on a coarse scale needs no more
_OF_A_PATIENT = 2
_OF_A_DATASET = 60  # in each half: no source is to outweigh the others


def packed(pack: Path) -> Iterator[Shown]:
    """Images of the pack, evenly of its data sets, two of a patient at most; none that its source had altered, none of the other data."""
    taken: Counter[str] = Counter()
    for row in sorted(_rows(pack), key=lambda row: _hash(f"{row['dataset']} {row['source_path']}")):
        held_out = _hash(str(row["group_key"])) % 2 == 1
        patient, dataset = f"patient {row['group_key']}", f"{row['dataset']} {row['modality']} {held_out}"
        if taken[patient] < _OF_A_PATIENT and taken[dataset] < _OF_A_DATASET:
            taken.update((patient, dataset))
            yield _shown(row, held_out=held_out)


def _rows(pack: Path) -> Iterator[dict[str, object]]:
    columns = {modality for group in MODALITIES for modality in group.split()}
    for file in sorted(pack.glob("*.parquet")):
        for row in read_table(file, columns=_COLUMNS).to_pylist():
            fewest = _SMALLEST_CHEST if row["gate_class"] == _CHEST else _SMALLEST_SIDE
            usable = not row["source_aug"] and not row["in_dev"] and min(row["width"], row["height"]) >= fewest
            if usable and row["modality"] in columns and row["gate_class"] not in _NO_PATIENT:
                yield row


def _shown(row: dict[str, object], *, held_out: bool) -> Shown:
    header = Dataset()
    header.Modality = modality = str(row["modality"])
    if row["gate_class"] == _CHEST:  # all of them are frontal
        header.BodyPartExamined, header.ViewPosition = "CHEST", "PA"
    image, name = row["image"], f"{row['dataset']} {row['source_path']}"
    assert isinstance(image, bytes)
    frame = picture(Image.open(io.BytesIO(image)), modality, name, grey=_GREY)
    return Shown(name=name, frame=frame, header=header, held_out=held_out, odd="", coarse=True)


def _hash(words: str) -> int:
    return int(hashlib.sha256(words.encode()).hexdigest(), 16)

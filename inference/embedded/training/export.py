"""`python -m inference.embedded.training.export PACK FOLDER`: the val split as files and a table for `dicom-node evaluate`.

Blank images are drawn, as they are in training: no pack has them.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from inference.damage.degradations import KINDS, MEDICAL_KINDS
from inference.embedded.training.pack import PackRow, read_pack
from inference.embedded.training.views import TRUE, UNKNOWN, blank_view, known_findings, possible_faults
from inference.embedded.training.words import FINDINGS, KINDS_OF_IMAGE

TABLE = "manifest.csv"
_BLANKS = 30
_OPACITIES = frozenset({"infiltration", "consolidation", "pneumonia"})
_MEDICAL = {kind.name: kind.medical for kind in KINDS_OF_IMAGE}
_COLUMNS = ("path", "patient", "source", "modality", "kind-of-image", "not-a-medical-image", "blank", "clean", "unusable_for")


def export_validation(pack: Path, folder: Path) -> Path:
    """Write the images and the table to `folder`, and return the table's path.

    Raises:
        PackError: the pack cannot be read.
        OSError: a file cannot be written.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = folder / TABLE
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*_COLUMNS, *(finding.name for finding in FINDINGS)], restval="")
        writer.writeheader()
        writer.writerows(_described(number, row, folder) for number, row in enumerate(read_pack(pack, "val")))
        writer.writerows(_blanks(folder))
    return table


def _described(number: int, row: PackRow, folder: Path) -> dict[str, str]:
    path = f"images/{number:05d}.jpg"
    (folder / path).write_bytes(row.image)
    medical = _MEDICAL[row.kind]
    findings = zip(FINDINGS, known_findings(row), strict=True)
    return {
        "path": path,
        "patient": row.group,
        "source": row.dataset,
        "modality": row.modality,
        "kind-of-image": row.kind,
        "not-a-medical-image": "" if medical is None else "0" if medical else "1",
        "blank": "0",
        "clean": "1" if row.kind in MEDICAL_KINDS and not row.altered else "0",
        "unusable_for": ";".join(kind for kind in KINDS if kind not in possible_faults(row)),
        **{finding.name: "" if value == UNKNOWN else str(int(value == TRUE)) for finding, value in findings},
        **_not_trained_on(row),
    }


def _not_trained_on(row: PackRow) -> dict[str, str]:
    """Signs of pneumonia in the adult radiographs: nobody told the model of these, so they show what it learnt from the children."""
    return {"pneumonia": "1"} if row.kind == "chest-radiograph" and _OPACITIES & set((row.finding or "").split("; ")) else {}


def _blanks(folder: Path) -> Iterator[dict[str, str]]:
    rng = np.random.default_rng(0)
    for number in range(_BLANKS):
        path = f"images/blank-{number:02d}.png"
        Image.fromarray(blank_view(rng).pixels).save(folder / path)
        yield {"path": path, "source": "drawn", "modality": "OT", "kind-of-image": "blank", "blank": "1", "clean": "0"}


if __name__ == "__main__":
    export_validation(Path(sys.argv[1]), Path(sys.argv[2]))

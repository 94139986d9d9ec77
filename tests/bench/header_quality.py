"""What the header checks that ask the model take for a fault: `python -m tests.bench.header_quality PACK [--all]`.

Images of the training pack's val split, which no training saw, with the modality and part of the body that their source gives: once with
the right header, once with the modality of another kind of equipment, once with another part of the body. Images of 64 pixels, which are
of one collection, are left out unless `--all` is given. Prints Markdown.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


import numpy as np
from PIL import Image
from pyarrow.parquet import read_table
from pydicom import Dataset

from config import load
from inference.engine import Engine
from inference.findings import ImageRef, QualityGrade
from inference.frames import Frame
from inference.gate import KindShare, read_gate
from inference.quality.header import HEADER_CHECKS, HeaderSubject, PixelFacts

_PICTURE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3")
_OTHER_MODALITY = {"CR": "MR", "DX": "CT", "CT": "MR", "MR": "CT"}
_OTHER_PART = {
    "CHEST": "KNEE",
    "KNEE": "CHEST",
    "HAND": "CHEST",
    "ABDOMEN": "HEAD",
    "HEAD": "ABDOMEN",
    "BRAIN": "ABDOMEN",
    "BREAST": "HEAD",
}
_COLUMNS = ["image", "width", "height", "modality", "body_part", "gate_class", "source_aug"]
_NO_PATIENT = ("screen", "phantom")
_SMALL = 80
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One image with what its source says of it."""

    frame: Frame
    modality: str
    part: str


def known(pack: Path, *, small: bool) -> tuple[Known, ...]:
    """Radiographs and slices of the val split."""
    rows = (
        row
        for file in sorted(pack.glob("*.parquet"))
        for row in read_table(file, columns=_COLUMNS, filters=[("split", "==", "val")]).to_pylist()
    )
    wanted = (
        row
        for row in rows
        if row["modality"] in _OTHER_MODALITY
        and not row["gate_class"].startswith(_NO_PATIENT)
        and (small or min(row["width"], row["height"]) > _SMALL)
    )
    return tuple(Known(frame=_frame(row["image"], row["modality"]), modality=row["modality"], part=row["body_part"]) for row in wanted)


def _frame(image: bytes, modality: str) -> Frame:
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("L"), dtype=np.float32) / np.float32(255)
    return Frame(
        pixels=pixels, values=None, spacing_mm=None, ref=_PICTURE, modality=modality, photometric_interpretation="MONOCHROME2", steps=()
    )


def kinds(images: Sequence[Known]) -> tuple[KindShare, ...]:
    """What the embedded model takes each image for."""
    _, catalogue = load(None)
    engine, prompts = Engine(catalogue, device="auto", batch_size=32, cache_folder=None), catalogue.prompt_set("kind-of-image")
    found: list[KindShare] = []
    for start in range(0, len(images), _BATCH):
        scores = engine.scores("gatekeeper", prompts.name, [image.frame for image in images[start : start + _BATCH]])
        found.extend(read_gate([frame], expect=(), prompt_set=prompts).likeliest for frame in scores)
    return tuple(found)


def _alarm(check: str, image: Known, shown: KindShare, *, modality: str, part: str) -> bool | None:
    header = Dataset()
    header.Modality, header.BodyPartExamined = modality, part
    verdict = HEADER_CHECKS[check](HeaderSubject(pixels=PixelFacts.of(image.frame, header), shown=shown))
    return None if verdict is None else verdict.grade is not QualityGrade.DIAGNOSTIC


def main(arguments: Sequence[str]) -> None:
    images = known(Path(arguments[0]), small="--all" in arguments)
    shares = kinds(images)
    sys.stdout.write("| check | header says | false alarms with the right header | found with a wrong one |\n|---|---|---:|---:|\n")
    for check in ("modality", "body-part"):
        right, wrong = Counter[str](), Counter[str]()
        judged, asked = Counter[str](), Counter[str]()
        for image, shown in zip(images, shares, strict=True):
            row = image.modality if check == "modality" else image.part
            said = _alarm(check, image, shown, modality=image.modality, part=image.part)
            if said is not None:
                judged[row] += 1
                right[row] += said
            other_modality = _OTHER_MODALITY[image.modality] if check == "modality" else image.modality
            other_part = _OTHER_PART.get(image.part, "") if check == "body-part" else image.part
            if other_part:
                found = _alarm(check, image, shown, modality=other_modality, part=other_part)
                asked[row] += 1
                wrong[row] += bool(found)
        for row in sorted(judged):
            sys.stdout.write(f"| {check} | {row} | {right[row]}/{judged[row]} | {wrong[row]}/{asked[row]} |\n")


if __name__ == "__main__":
    main(sys.argv[1:])

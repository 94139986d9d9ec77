"""Labelled data for evaluations: prompt sets in memory, and a folder of drawn images with its table."""

import csv

import numpy as np
from PIL import Image

from config.code import Code
from config.prompt_sets import LabelSection, PromptSet
from dicom_node.evaluation.manifest import LabelledImage
from tests.phantoms import chest_radiograph, head_ct, write_instance


def prompt_set(name, recipe, *labels):
    """A prompt set whose labels have one text each."""
    negative = ("without",) if recipe == "pair-softmax" else ()
    code = Code(value="1", scheme="99TEST", meaning="test")
    sections = tuple(LabelSection(name=label, concept=code, positive=("with",), negative=negative) for label in labels)
    return PromptSet(name=name, version=1, recipe=recipe, temperature="model", labels=sections)


def labelled(path, **facts):
    """A row of which nothing is known but its path, and what `facts` says."""
    unknown = {"line": 7, "frame_number": 1, "patient": "", "source": "", "modality": "CR", "clean": True, "unusable_for": frozenset()}
    return LabelledImage(path=path, **unknown | facts)


def varied(pixels, rng):
    """The picture as another patient would have it: other brightness, a little shifted."""
    down, across = rng.integers(-4, 5, 2)
    return np.clip(np.roll(pixels, (down, across), (0, 1)) * rng.uniform(0.85, 1.1), 0, 1).astype(np.float32)


def write_folder(folder, gate, *, patients=6, **columns):
    """Write two pictures each of as many patients with a chest radiograph and a head CT, one of them as DICOM of CANARY^PHI.

    `gate` names the column of the kind of image; `columns` are set in every row. Returns the table.
    """
    rng = np.random.default_rng(0)
    rows = []
    for kind, modality, drawn in (("chest-radiograph", "DX", chest_radiograph()), ("head-ct", "CT", head_ct())):
        for number in range(2 * patients):
            pixels, name = varied(drawn, rng), f"{kind}-{number}.png"
            if number:
                Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(folder / name)
            else:
                instance = write_instance(folder, pixels, modality=modality, series="2.25.77" if modality == "CT" else "2.25.78")
                name = f"CANARY^PHI-{kind}"
                instance.path.rename(folder / name)
            patient = f"CANARY-ID-{kind}-{number // 2}"
            row = {"path": name, "patient": patient, "source": f"source {number // 2 % 2}", "modality": modality, gate: kind}
            rows.append(row | columns)
    return write_table(folder / "table.csv", rows)


def write_table(path, rows):
    """Write the rows and return the path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path

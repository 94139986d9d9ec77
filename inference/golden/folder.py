"""Reads a folder with reference outputs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.findings import ImageRef
from inference.frames import Frame

GOLDEN_FILE = "golden.json"
FORMAT_VERSION = 1

Json: TypeAlias = Any  # what a JSON file holds; every use here says what it expects
Array = NDArray[Any]

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


class GoldenError(Exception):
    """A folder with reference outputs cannot be used. The message names file, field and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalMistake:
    """How far an array moves under a known mistake; None if its shape changes."""

    mistake: str
    array: str
    difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCheckpoint:
    """The published files of a fixture: paths in the folder. Several files are an ensemble, or each alone has all the weights."""

    folder: str
    files: tuple[str, ...]
    is_ensemble: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Reference outputs of one model. Mappings are as `golden.json` has them.

    `classes` are texts by class, from `class_prompts` or `class_descriptions`; `axes` describes each expected array.
    """

    folder: Path
    name: str
    family: str
    title: str
    checkpoint: GoldenCheckpoint
    architecture: Mapping[str, Json]
    preprocess: Mapping[str, Json]
    tokenizer: Mapping[str, Json]
    scoring: Mapping[str, Json]
    images: tuple[str, ...]
    texts: tuple[str, ...]
    pairs: tuple[Mapping[str, int], ...]
    labels: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    axes: Mapping[str, str]
    tolerances: Mapping[str, Json]
    mistakes: tuple[TypicalMistake, ...]
    expected: Mapping[str, Array]

    @property
    def supplement(self) -> Path | None:
        """The folder with what the publisher does not ship with the weights."""
        folder = self.folder / "supplement"
        return folder if folder.is_dir() else None

    def frames(self) -> tuple[Frame, ...]:
        """Return the input images as frames; an 8-bit level survives the way to [0, 1] and back.

        Raises:
            GoldenError: one is missing or damaged.
        """
        return tuple(_frame(self.folder / name, number) for number, name in enumerate(self.images, start=1))


def read_golden(folder: Path) -> Golden:
    """Return the reference outputs in a folder.

    Raises:
        GoldenError: a file is missing or damaged, or a field is missing.
    """
    path = folder / GOLDEN_FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version = told["format_version"]
        if version != FORMAT_VERSION:
            raise GoldenError(f"{path} is of format_version {version}; this node reads {FORMAT_VERSION}")
        return _golden(folder, told)
    except OSError as exc:
        raise GoldenError(
            f"{exc.filename} cannot be read ({exc.strerror}); give a folder with {GOLDEN_FILE}, expected.npz and inputs"
        ) from exc
    except ValueError as exc:
        raise GoldenError(f"{path} or the arrays beside it are damaged ({exc}); fetch them again") from exc
    except (KeyError, TypeError, AttributeError) as exc:
        raise GoldenError(f"{path} lacks a field or has it in another form ({exc!r}); fetch it again") from exc


def fixtures_in(folder: Path) -> tuple[Path, ...]:
    """Return the fixture folders of a set (a folder with index.json), or the folder itself if it is one.

    Raises:
        GoldenError: it is neither.
    """
    if (folder / GOLDEN_FILE).is_file():
        return (folder,)
    index = folder / "index.json"
    try:
        return tuple(folder / entry["fixture"] for entry in json.loads(index.read_text(encoding="utf-8"))["fixtures"])
    except OSError as exc:
        raise GoldenError(f"{folder} has neither {GOLDEN_FILE} nor index.json; give a fixture or a set of them") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise GoldenError(f"{index} is no list of fixtures ({exc!r}); fetch it again") from exc


def _golden(folder: Path, told: Mapping[str, Json]) -> Golden:
    inputs, published = told["inputs"], told["checkpoint"]
    with np.load(folder / told["expected"]["file"], allow_pickle=False) as arrays:
        expected = {name: arrays[name] for name in told["expected"]["arrays"]}
    classes: Mapping[str, Sequence[str]] = inputs.get("class_prompts") or inputs.get("class_descriptions") or {}
    return Golden(
        folder=folder,
        name=told["fixture"],
        family=told["family"],
        title=told["title"],
        checkpoint=GoldenCheckpoint(
            folder=published["dir"], files=tuple(file["path"] for file in published["files"]), is_ensemble="ensemble" in published
        ),
        architecture=told["architecture"],
        preprocess=told["preprocess"],
        tokenizer=told["tokenizer"],
        scoring=told["scoring"],
        images=tuple(image["file"] for image in inputs["images"]),
        texts=tuple(inputs["texts"]),
        pairs=tuple(inputs.get("pairs", ())),
        labels=tuple(inputs.get("labels", ())),
        classes={name: tuple(texts) for name, texts in classes.items()},
        axes={name: facts.get("axes", "") for name, facts in told["expected"]["arrays"].items()},
        tolerances=told["tolerance"],
        mistakes=tuple(
            TypicalMistake(mistake=one["mistake"], array=one["array"], difference=one["max_abs_difference"])
            for one in told.get("typical_mistakes", ())
        ),
        expected=expected,
    )


def _frame(path: Path, number: int) -> Frame:
    try:
        with Image.open(path) as image:
            levels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"), dtype=np.float32)
    except OSError as exc:
        raise GoldenError(f"input image {path} cannot be read ({exc}); fetch the folder again") from exc
    return Frame(
        pixels=levels / np.float32(255),
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid=_SECONDARY_CAPTURE, sop_instance_uid=f"2.25.{number}", frame_number=1),
        modality="OT",
        photometric_interpretation="MONOCHROME2" if levels.ndim == 2 else "RGB",  # noqa: PLR2004 - rows and columns
        steps=(),
    )

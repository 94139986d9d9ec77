"""Every model reproduces the outputs of its publisher's code, from the published files alone; a mistake is noticed and named."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from config.manifests import ModelManifest
from inference.adapters import ModelLoadError, load_adapter
from inference.golden import GoldenReport, check, prove, read_golden
from inference.golden.folder import fixtures_in
from inference.importing import IMPORTERS, importer_of
from inference.importing.install import ImportRequest, fixture_adapter, install, verify_fixture
from tests.golden_fixtures import KINDS, MEAN, STD, write_fixture

SHARED = os.environ.get("DICOM_NODE_SHARED")
SAME_MISTAKE = {"ignore preprocess_cfg": "other mean/std", "other mean/std": "ignore preprocess_cfg"}  # the file says what differs


def shared_fixtures() -> list[Path]:
    """Every fixture under the shared folder; none if it is not there."""
    if SHARED is None:
        return []
    root = Path(SHARED) / "golden"
    sets = [root, *(index.parent for index in sorted(root.glob("*/index.json")))]
    return [fixture for folder in sets if (folder / "index.json").is_file() for fixture in fixtures_in(folder)]


def built_in(fixture: Path) -> bool:
    family = json.loads((fixture / "golden.json").read_text(encoding="utf-8"))["family"]
    return any(family in importer_of(known).GOLDEN_FAMILIES for known in IMPORTERS)


@pytest.fixture(scope="module", params=KINDS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(request.param, tmp_path_factory.mktemp("golden") / request.param)


def described(report: GoldenReport) -> str:
    wrong = [f"{array.array} {array.problem}" for array in report.arrays if not array.ok]
    return f"{report.name}: {'; '.join(wrong)}; looks like {report.looks_like}"


@pytest.mark.skipif(SHARED is None, reason="reference outputs of the publishers' code are not here; set DICOM_NODE_SHARED")
@pytest.mark.parametrize("fixture", shared_fixtures(), ids=lambda fixture: f"{fixture.parent.name}-{fixture.name}")
def test_a_published_checkpoint_gives_what_its_publishers_code_gives(fixture: Path) -> None:
    if not built_in(fixture):
        pytest.skip("no importer for this family yet")
    for report in verify_fixture(fixture, "cpu"):
        assert report.ok, described(report)
        assert {array.array for array in report.arrays} == set(read_golden(fixture).expected)


def facts_changed(manifest: ModelManifest, mistake: str) -> ModelManifest | None:
    """The manifest with a typical mistake in it; None if the mistake is not one of facts."""
    values = manifest.model_dump(mode="json")
    architecture, steps, tokenizer = values["architecture"], values["preprocessing"], values["tokenizer"]
    other = (MEAN, STD) if steps["mean"][0] == steps["std"][0] else ([0.5] * 3, [0.5] * 3)
    common = {name: steps[name] for name in ("image_size", "mean", "std", "interpolation")}
    gelu = {name: "gelu" if value != "gelu" else "quick-gelu" for name, value in architecture.items() if name.endswith("activation")}
    changes: dict[str, dict[str, Any]] = {
        "wrong gelu": {"architecture": architecture | (gelu or {"quick_gelu": not architecture.get("quick_gelu", True)})},
        "erf gelu": {"architecture": architecture | gelu},
        "squash": {"preprocessing": common | {"resize_mode": "squash"}},
        "no padding to square": {"preprocessing": common | {"resize_mode": "squash"}},
        "shortest+crop": {"preprocessing": common | {"resize_mode": "shortest", "crop_offset": "round"}},
        "bilinear": {"preprocessing": steps | {"interpolation": "bilinear"}},
        "other filter": {"preprocessing": steps | {"interpolation": "bicubic" if steps["interpolation"] == "bilinear" else "bilinear"}},
        "antialias on": {"preprocessing": steps | {"antialias": True}},
        "no antialias": {"preprocessing": steps | {"antialias": False}},
        "other mean/std": {"preprocessing": steps | {"mean": other[0], "std": other[1]}},
        "mean/std .5": {"preprocessing": steps | {"mean": [0.5] * 3, "std": [0.5] * 3}},
        "CLIP mean/std": {"preprocessing": steps | {"mean": MEAN, "std": STD}},
        "ignore preprocess_cfg": {"preprocessing": steps | {"mean": MEAN, "std": STD}},
        "half the heads": {"architecture": architecture | {"image_heads": architecture.get("image_heads", 2) // 2}},
        "one head": {"architecture": architecture | {"image_heads": 1}},
        "cased": {"tokenizer": tokenizer | {"lower_case": False}},
        "exp(logit_scale)": {"architecture": architecture | {"logit_scale": {"kind": "stored"}}},
        "scale not clamped": {"architecture": architecture | {"logit_scale": {"kind": "stored"}}},
    }
    try:
        return ModelManifest.model_validate(values | changes[mistake]) if changes.get(mistake) else None
    except (KeyError, ValidationError):
        return None


@pytest.mark.skipif(SHARED is None, reason="reference outputs of the publishers' code are not here; set DICOM_NODE_SHARED")
@pytest.mark.parametrize("fixture", shared_fixtures(), ids=lambda fixture: f"{fixture.parent.name}-{fixture.name}")
def test_typical_mistakes_are_noticed_and_named(fixture: Path, tmp_path: Path) -> None:
    if not built_in(fixture):
        pytest.skip("no importer for this family yet")
    golden = read_golden(fixture)
    manifest = fixture_adapter(golden, tmp_path, "cpu").manifest
    named = {}
    for mistake in {one.mistake for one in golden.mistakes}:
        wrong = facts_changed(manifest, mistake)
        if wrong is not None:
            named[mistake] = check(golden, load_adapter(wrong, tmp_path, "cpu")).looks_like
    assert named
    assert {mistake: name for mistake, name in named.items() if name not in {mistake, SAME_MISTAKE.get(mistake)}} == {}


def test_a_small_checkpoint_of_each_layout_gives_what_plain_tensor_operations_give(own: Path) -> None:
    for report in verify_fixture(own, "cpu"):
        assert report.ok, described(report)
        assert not report.looks_like


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelManifest, Path]:
    """A small model in its folder with the reference outputs that its manifest names."""
    work = tmp_path_factory.mktemp("installed")
    fixture = write_fixture("openai-vit", work / "openai-vit")
    imported = install(ImportRequest(source=fixture / "ViT.pt", name="small", golden=fixture), work / "site")
    return imported.manifest, work / "site" / "models" / "small"


def differing(installed: tuple[ModelManifest, Path], work: Path, **changes: object) -> tuple[GoldenReport, str]:
    """The report of the installed model with other facts, and what a starting worker says of it."""
    manifest, folder = installed
    changed = manifest.model_copy(update=changes)
    adapter = load_adapter(changed, folder, "cpu")
    with pytest.raises(ModelLoadError) as refused:
        prove(adapter, folder / "golden", "cpu")
    return check(read_golden(folder / "golden"), adapter), str(refused.value)


def test_a_wrong_activation_is_noticed_and_named(installed: tuple[ModelManifest, Path], tmp_path: Path) -> None:
    other = installed[0].architecture.model_copy(update={"quick_gelu": False})
    report, message = differing(installed, tmp_path, architecture=other)
    assert report.looks_like == "wrong gelu"
    assert "image_embeddings differs by" in message
    assert "looks like 'wrong gelu'" in message


def test_a_wrong_resize_is_noticed_and_named(installed: tuple[ModelManifest, Path], tmp_path: Path) -> None:
    steps = installed[0].preprocessing
    squash = ModelManifest.model_validate(
        installed[0].model_dump()
        | {
            "preprocessing": {
                "resize_mode": "squash",
                "image_size": steps.image_size,
                "interpolation": "bicubic",
                "mean": steps.mean,
                "std": steps.std,
            }
        }
    )
    report, message = differing(installed, tmp_path, preprocessing=squash.preprocessing)
    assert report.looks_like == "squash"
    assert "preprocessed differs by" in message


def test_a_wrong_number_of_heads_is_noticed(installed: tuple[ModelManifest, Path], tmp_path: Path) -> None:
    other = installed[0].architecture.model_copy(update={"image_heads": 2})
    report, _ = differing(installed, tmp_path, architecture=other)
    assert [array.array for array in report.arrays if not array.ok] == ["image_embeddings", "logits", "probabilities"]


def shuffled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers at other places of each matrix."""
    order = torch.Generator().manual_seed(0)
    return {
        name: tensor.reshape(-1)[torch.randperm(tensor.numel(), generator=order)].reshape(tensor.shape) if tensor.ndim > 1 else tensor
        for name, tensor in tensors.items()
    }


def swapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Two layers of one shape exchanged."""
    first, second = "visual.transformer.resblocks.0.", "visual.transformer.resblocks.1."
    return {
        name.replace(first, "\0").replace(second, first).replace("\0", second) if name.startswith((first, second)) else name: tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("change", [shuffled, swapped])
def test_weights_of_the_right_shapes_in_the_wrong_places_are_noticed(
    installed: tuple[ModelManifest, Path], tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    manifest, folder = installed
    shutil.copytree(folder, tmp_path / "small")
    path = tmp_path / "small" / manifest.weights.file
    save_file(change(load_file(path)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    repinned = manifest.model_copy(update={"weights": manifest.weights.model_copy(update={"sha256": digest})})
    with pytest.raises(ModelLoadError, match="image_embeddings differs by"):
        prove(load_adapter(repinned, tmp_path / "small", "cpu"), tmp_path / "small" / "golden", "cpu")


def altered(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    told = json.loads((target / "golden.json").read_text(encoding="utf-8"))
    (target / "golden.json").write_text(json.dumps(told | changes))
    return target


def test_an_array_that_nobody_can_compute_is_a_difference_and_not_passed_over(
    installed: tuple[ModelManifest, Path], tmp_path: Path
) -> None:
    manifest, folder = installed
    told = json.loads((folder / "golden" / "golden.json").read_text(encoding="utf-8"))
    told["expected"]["arrays"]["embeddings_of_nothing"] = {"axes": ""}
    target = altered(folder / "golden", tmp_path / "golden", expected=told["expected"])
    with np.load(folder / "golden" / "expected.npz") as arrays:
        np.savez(target / "expected.npz", **arrays, embeddings_of_nothing=np.zeros(1))
    report = check(read_golden(target), load_adapter(manifest, folder, "cpu"))
    assert [array.array for array in report.arrays if not array.ok] == ["embeddings_of_nothing"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format_version 2"),
        ({"inputs": {"images": []}}, "lacks a field"),
        ({"tolerance": {}}, "no tolerance for preprocessed"),
        ({"inputs": {"images": [{"file": "inputs/9.png"}], "texts": ["a"]}}, "cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_used_stops_the_model_and_says_why(
    installed: tuple[ModelManifest, Path], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    manifest, folder = installed
    target = altered(folder / "golden", tmp_path / "golden", **changes)
    with pytest.raises(ModelLoadError, match=words):
        prove(load_adapter(manifest, folder, "cpu"), target, "cpu")

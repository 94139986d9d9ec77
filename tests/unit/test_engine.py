"""The engine with the model that ships: real weights, real scores."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from config import Catalogue, load
from config.manifests import ModelManifest
from inference.adapters import ModelLoadError, ModelOutputError
from inference.engine import Engine, EngineOptions
from inference.frames import Frame
from inference.importing.install import ImportRequest, install
from inference.scores import logits, pair_softmax
from tests.embedded import FINDINGS, GATE, MODEL, chest
from tests.golden_fixtures import write_fixture
from tests.phantoms import as_frame, chest_radiograph, head_ct


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(None)[1]


@pytest.fixture(scope="module")
def engine(catalogue: Catalogue) -> Engine:
    return Engine(catalogue, device="cpu", batch_size=2, cache_folder=None)


def likeliest(engine: Engine, frame: Frame) -> str:
    return max(engine.scores(MODEL, GATE, [frame])[0], key=lambda score: score.value).label


def test_a_chest_radiograph_is_recognised(engine: Engine) -> None:
    assert likeliest(engine, as_frame(chest())) == "chest-radiograph"


def test_scores_come_per_frame_and_label_and_name_their_image(engine: Engine, catalogue: Catalogue) -> None:
    frames = [as_frame(chest_radiograph(), uid=f"2.25.{number}") for number in range(1, 6)]
    scores = engine.scores(MODEL, FINDINGS, frames)
    assert [{score.image for score in row} for row in scores] == [{frame.ref} for frame in frames]
    assert all([score.label for score in row] == [label.name for label in catalogue.prompt_set(FINDINGS).labels] for row in scores)
    assert all(0 <= score.value <= 1 for row in scores for score in row)


def test_the_batch_size_does_not_change_a_score(catalogue: Catalogue, engine: Engine) -> None:
    frames = [as_frame(picture) for picture in (chest_radiograph(), head_ct(), chest_radiograph()[::-1])]
    other = Engine(catalogue, device="cpu", batch_size=64, cache_folder=None)
    np.testing.assert_allclose(engine.embed(MODEL, frames), other.embed(MODEL, frames), atol=1e-5)


def test_the_engine_gives_what_the_model_gives_for_the_same_batches(engine: Engine) -> None:
    frames = [as_frame(picture) for picture in (chest_radiograph(), head_ct(), chest_radiograph()[::-1], chest(), chest()[:, ::-1])]
    adapter = engine.adapter(MODEL)
    tensors = [adapter.preprocess(frame) for frame in frames]
    batches = [torch.stack(tensors[start : start + 2]) for start in range(0, len(tensors), 2)]
    alone = np.concatenate([adapter.encode_images(batch).numpy() for batch in batches])
    assert np.array_equal(engine.embed(MODEL, iter(frames)), alone)


def test_no_frames_give_no_scores(engine: Engine) -> None:
    assert engine.scores(MODEL, GATE, []) == ()


def test_frames_may_come_one_at_a_time(engine: Engine) -> None:
    def frames() -> Iterator[Frame]:
        for _ in range(5):
            yield as_frame(chest_radiograph())

    assert len(engine.embed(MODEL, frames())) == 5


def test_pixels_outside_the_display_range_are_refused(engine: Engine) -> None:
    good = as_frame(chest_radiograph())
    wrong_type: NDArray[Any] = good.pixels.astype(np.float64)
    for pixels in (good.pixels * 2, good.pixels - 1, wrong_type, np.full_like(good.pixels, np.nan)):
        with pytest.raises(ValueError, match="display values"):
            engine.scores(MODEL, GATE, [replace(good, pixels=pixels)])


def test_cuda_that_is_not_there_is_refused(catalogue: Catalogue) -> None:
    if torch.cuda.is_available():
        assert Engine(catalogue, device="cuda", batch_size=1, cache_folder=None).device == "cuda"
        return
    with pytest.raises(ModelLoadError, match=r"work\.device"):
        Engine(catalogue, device="cuda", batch_size=1, cache_folder=None)
    assert Engine(catalogue, device="auto", batch_size=1, cache_folder=None).device == "cpu"


def test_text_embeddings_are_kept_on_disk_and_replaced_when_damaged(catalogue: Catalogue, tmp_path: Path) -> None:
    def scores() -> object:
        return Engine(catalogue, device="cpu", batch_size=8, cache_folder=tmp_path).scores(MODEL, FINDINGS, [as_frame(chest_radiograph())])

    first = scores()
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert scores() == first
    assert kept.read_bytes() == whole
    assert scores() == first


def test_a_cache_folder_that_cannot_be_written_costs_time_only(catalogue: Catalogue, engine: Engine, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    uncached = Engine(catalogue, device="cpu", batch_size=2, cache_folder=blocked / "cache")
    assert uncached.scores(MODEL, GATE, [as_frame(chest())]) == engine.scores(MODEL, GATE, [as_frame(chest())])


def copied(catalogue: Catalogue, folder: Path, **changes: object) -> Catalogue:
    """The catalogue with its model in `folder`, where a test may damage it, and other manifest fields."""
    manifest = catalogue.manifest(MODEL)
    shutil.copytree(catalogue.weights_path(manifest), folder, dirs_exist_ok=True)
    weights = manifest.weights.model_copy(update={"folder": str(folder)})
    return replace(catalogue, manifests=(manifest.model_copy(update={"weights": weights} | changes),))


def repinned(catalogue: Catalogue, folder: Path) -> Catalogue:
    """The same, with the digests of whatever the files are now."""
    manifest: ModelManifest = catalogue.manifest(MODEL)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (manifest.weights.file, *manifest.weights.files)}
    weights = manifest.weights.model_copy(update={"sha256": digests.pop(manifest.weights.file), "files": digests})
    return replace(catalogue, manifests=(manifest.model_copy(update={"weights": weights}),))


def refused(catalogue: Catalogue) -> str:
    with pytest.raises(ModelLoadError) as caught:
        Engine(catalogue, device="cpu", batch_size=1, cache_folder=None).adapter(MODEL)
    return str(caught.value)


def test_weights_with_one_changed_byte_are_not_loaded(catalogue: Catalogue, tmp_path: Path) -> None:
    damaged = copied(catalogue, tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refused(damaged)


def test_missing_weights_are_an_error_and_never_random_ones(catalogue: Catalogue, tmp_path: Path) -> None:
    without = copied(catalogue, tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    assert "cannot be read" in refused(without)


def test_weights_without_one_tensor_are_not_completed(catalogue: Catalogue, tmp_path: Path) -> None:
    lacking = copied(catalogue, tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    tensors = load_file(path)
    lost = next(name for name in tensors if name.startswith("visual.") and name.endswith(".bias"))
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, path)
    assert lost in refused(repinned(lacking, tmp_path))


def test_a_manifest_that_contradicts_the_folder_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    right = catalogue.manifest(MODEL)
    longer = right.tokenizer.model_copy(update={"context_length": 77})
    assert f"context_length is 77 in the manifest and {right.tokenizer.context_length}" in refused(
        copied(catalogue, tmp_path, tokenizer=longer)
    )
    larger = right.preprocessing.model_copy(update={"image_size": 224})
    assert f"image_size is 224 in the manifest and {right.preprocessing.image_size}" in refused(
        copied(catalogue, tmp_path, preprocessing=larger)
    )


def test_a_folder_without_a_configuration_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    without = copied(catalogue, tmp_path)
    (tmp_path / "open_clip_config.json").write_text("[]")
    assert "open_clip_config.json has SHA-256" in refused(without)
    assert "no open_clip configuration" in refused(repinned(without, tmp_path))
    (tmp_path / "open_clip_config.json").unlink()
    assert "open_clip_config.json cannot be read" in refused(without)


def test_a_file_that_the_manifest_does_not_pin_is_not_read(catalogue: Catalogue, tmp_path: Path) -> None:
    manifest = copied(catalogue, tmp_path).manifest(MODEL)
    unpinned = manifest.model_copy(update={"weights": manifest.weights.model_copy(update={"files": {}})})
    assert "weights.files does not name" in refused(replace(catalogue, manifests=(unpinned,)))


def test_position_embeddings_of_another_size_are_not_stretched(catalogue: Catalogue, tmp_path: Path) -> None:
    right = catalogue.manifest(MODEL).tokenizer
    longer = right.context_length + 8
    stretched = copied(catalogue, tmp_path, tokenizer=right.model_copy(update={"context_length": longer}))
    path = tmp_path / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["context_length"] = longer
    path.write_text(json.dumps(config))
    assert "positional_embedding" in refused(repinned(stretched, tmp_path))


def broken_tensor(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, float("nan")) if name.startswith("visual.") and tensor.is_floating_point() else tensor


def test_a_model_that_answers_with_nan_gives_no_score(catalogue: Catalogue, tmp_path: Path) -> None:
    broken = copied(catalogue, tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    tensors = load_file(path)
    save_file({name: broken_tensor(name, tensor) for name, tensor in tensors.items()}, path)
    engine = Engine(repinned(broken, tmp_path), device="cpu", batch_size=1, cache_folder=None)
    with pytest.raises(ModelOutputError, match="NaN"):
        engine.scores(MODEL, GATE, [as_frame(chest_radiograph())])


def small_model(tmp_path: Path, kind: str) -> Catalogue:
    """A catalogue with a small model of this kind that carries its reference outputs."""
    fixture = write_fixture(kind, tmp_path / kind)
    source = {"openai-vit": fixture / "ViT.pt", "chexzero": fixture / "checkpoints"}[kind]
    imported = install(ImportRequest(source=source, name="small", golden=fixture), tmp_path / "site")
    folder = tmp_path / "site" / "models" / "small"
    weights = imported.manifest.weights.model_copy(update={"folder": str(folder)})
    manifest = imported.manifest.model_copy(update={"weights": weights})
    return replace(load(None)[1], routes=(), manifests=(manifest,))


def test_a_model_that_does_not_reproduce_its_reference_outputs_does_not_serve(tmp_path: Path) -> None:
    site = small_model(tmp_path, "openai-vit")
    assert Engine(site, device="cpu", batch_size=1, cache_folder=None).adapter("small").logit_scale > 1
    expected = Path(site.manifest("small").weights.folder) / "golden" / "expected.npz"
    with np.load(expected) as arrays:
        changed = {name: array + 0.001 if name == "image_embeddings" else array for name, array in arrays.items()}
    np.savez(expected, **changed)
    with pytest.raises(ModelLoadError, match=r"does not reproduce .* image_embeddings differs by 0\.001"):
        Engine(site, device="cpu", batch_size=1, cache_folder=None).adapter("small")


def test_an_ensemble_scores_with_the_mean_of_its_checkpoints_scores(tmp_path: Path) -> None:
    site = small_model(tmp_path, "chexzero")
    engine = Engine(site, device="cpu", batch_size=1, cache_folder=tmp_path / "cache")
    frame = as_frame(chest_radiograph())
    rows, prompts = engine.embed("small", [frame]), site.prompt_set(FINDINGS)
    heads = engine.adapter("small").heads
    alone = []
    for head in heads:
        texts = engine.prompt_embeddings("small", FINDINGS, head.name)
        assert texts.negative is not None
        scale = head.logit_scale if prompts.temperature == "model" else 1.0
        images = head.images(torch.from_numpy(rows)).numpy()
        there, absent = (logits(images, side.vectors, scale=scale) for side in (texts.positive, texts.negative))
        alone.append(pair_softmax(there, absent)[0])
    assert len(heads) == 2
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    found = [score.value for score in engine.scores("small", FINDINGS, [frame])[0]]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-12)


def test_quick_gelu_comes_from_the_manifest(catalogue: Catalogue, tmp_path: Path, engine: Engine) -> None:
    architecture = catalogue.manifest(MODEL).architecture.model_copy(update={"quick_gelu": True})
    quick = Engine(copied(catalogue, tmp_path, architecture=architecture), device="cpu", batch_size=1, cache_folder=None)
    one, other = (made.adapter(MODEL).encode_texts(["chest x-ray"]) for made in (quick, engine))
    assert (one - other).abs().max() > 1e-5


@pytest.mark.slow
def test_a_compiled_model_that_reproduces_its_reference_outputs_serves(tmp_path: Path) -> None:
    site = small_model(tmp_path, "openai-vit")
    frames = [as_frame(picture) for picture in (chest_radiograph(), head_ct(), chest_radiograph()[::-1])]
    with structlog.testing.capture_logs() as logs:
        fast = Engine(site, device="cpu", batch_size=2, cache_folder=tmp_path / "cache", options=EngineOptions(compile_models=True)).embed(
            "small", frames
        )
    assert "model_compiled" in [entry["event"] for entry in logs]
    plain = Engine(site, device="cpu", batch_size=2, cache_folder=None).embed("small", frames)
    np.testing.assert_allclose(fast, plain, atol=1e-5)

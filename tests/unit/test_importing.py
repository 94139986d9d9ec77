"""Importing published weights: what is inferred, what is refused, and that nothing is left behind when it is."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from config.manifests import PublishedModel
from inference.adapters import ModelLoadError, load_adapter
from inference.golden import GoldenError
from inference.importing import IMPORTERS, ImportRefusedError
from inference.importing.conversion import convert
from inference.importing.facts import checked_manifest
from inference.importing.install import ImportRequest, install
from inference.importing.reading import read_checkpoint, read_published
from inference.importing.torchscript import read_torchscript
from tests.golden_fixtures import MEAN, STD, hf_names, module_of, vit_tensors, write_fixture

FACTS = {
    "architecture": {"quick_gelu": True, "image_heads": 3, "text_heads": 2},
    "preprocessing": {"resize_mode": "shortest", "crop_offset": "round", "interpolation": "bicubic", "mean": list(MEAN), "std": list(STD)},
}


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return vit_tensors(20)


def saved(folder: Path, value: object, name: str = "model.pt") -> Path:
    torch.save(value, folder / name)
    return folder / name


def converted(source: Path, work: Path, facts: dict[str, object] | None = None, **changes: object) -> dict[str, object]:
    """What the importing process answers, in this process."""
    target = work / "converted"
    target.mkdir(exist_ok=True)
    (work / "facts.yaml").write_text(yaml.safe_dump(FACTS if facts is None else facts))
    request: dict[str, object] = {"source": str(source), "name": "mine", "family": None, "supplement": None, "golden": None}
    request |= {"facts": str(work / "facts.yaml"), "description": None, "known_files": {}, "only": [], "folder": str(target)}
    return convert(request | changes)


def refused(source: Path, work: Path, facts: dict[str, object] | None = None, **changes: object) -> str:
    with pytest.raises(ImportRefusedError) as caught:
        converted(source, work, facts, **changes)
    return str(caught.value)


def test_the_family_and_the_shapes_are_inferred_from_the_tensors(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    answer = converted(saved(tmp_path, tensors), tmp_path)
    report, manifest = answer["report"], answer["manifest"]
    assert isinstance(report, dict)
    assert isinstance(manifest, dict)
    assert report["family"] == manifest["architecture"]["family"] == "openai_clip"
    assert report["inferred"]["image tower"] == "ViT, layers 2, width 24, 32 px"
    assert (manifest["preprocessing"]["image_size"], manifest["tokenizer"]["context_length"]) == (32, 77)
    assert {"field": "architecture.quick_gelu", "value": True, "origin": "facts.yaml"} in report["facts"]


def test_terms_that_nobody_stated_are_the_strictest(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    manifest = converted(saved(tmp_path, tensors), tmp_path)["manifest"]
    assert isinstance(manifest, dict)
    assert manifest["licence"]["usage"] == "unlicensed"


def test_half_precision_stays_half_and_views_become_dense(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    view = torch.randn(200).as_strided((49408, 16), (0, 1)).half()
    converted(saved(tmp_path, tensors | {"token_embedding.weight": view}), tmp_path)
    found = load_file(tmp_path / "converted" / "model.safetensors")["token_embedding.weight"]
    assert (found.dtype, found.is_contiguous()) == (torch.float16, True)
    assert torch.equal(found, view)


@pytest.mark.parametrize("field", ["quick_gelu", "mean", "crop_offset", "interpolation"])
def test_a_fact_that_nothing_states_is_asked_for_by_name(tensors: dict[str, torch.Tensor], tmp_path: Path, field: str) -> None:
    lacking = {section: {name: value for name, value in values.items() if name != field} for section, values in FACTS.items()}
    message = refused(saved(tmp_path, tensors), tmp_path, lacking)
    assert f".{field} is missing" in message
    assert "--facts" in message


def test_without_any_facts_each_missing_section_is_named(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    message = refused(saved(tmp_path, tensors), tmp_path, {})
    assert "architecture.quick_gelu is missing" in message
    assert "preprocessing.resize_mode is missing" in message


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("value", [{"state_dict": {}, "argument": Evil()}, Evil()])
def test_a_pickle_that_would_run_something_is_not_read(tmp_path: Path, value: object) -> None:
    assert "holds more than tensors" in refused(saved(tmp_path, value), tmp_path)


def test_a_bare_pickle_that_would_run_something_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    assert "holds more than tensors" in refused(tmp_path / "model.pt", tmp_path)


def test_values_that_are_no_tensors_are_named(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert "model.pt: note holds a str, not a tensor" in refused(saved(tmp_path, tensors | {"note": "text"}), tmp_path)


def test_a_file_without_a_state_dict_is_refused_with_its_keys(tmp_path: Path) -> None:
    assert "its keys are: epoch, loss" in refused(saved(tmp_path, {"epoch": 1, "loss": 0.5}), tmp_path)


@pytest.mark.parametrize("part", [0.3, 0.99])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "archive.pt"])
def test_a_half_downloaded_file_is_called_incomplete(tensors: dict[str, torch.Tensor], tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    if name == "model.safetensors":
        save_file(tensors, path)
    elif name == "archive.pt":
        torch.jit.script(module_of(tensors)).save(str(path))
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    message = refused(path, tmp_path)
    assert name in message
    assert "incomplete" in message
    assert "download it again" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"no weights at all", "no weight file"),
        (b"", "no weight file"),
    ],
)
def test_what_is_no_weight_file_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    assert words in refused(tmp_path / "model.bin", tmp_path)


def test_a_folder_without_weights_and_a_path_to_nothing_are_refused(tmp_path: Path) -> None:
    assert "has no weights" in refused(tmp_path, tmp_path)
    assert "there is no" in refused(tmp_path / "gone", tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_named(tensors: dict[str, torch.Tensor], tmp_path: Path, number: float) -> None:
    damaged = tensors | {"visual.proj": tensors["visual.proj"].clone()}
    damaged["visual.proj"][3, 4] = number
    assert "model.pt: visual.proj holds NaN or infinity" in refused(saved(tmp_path, damaged), tmp_path)


def test_an_unknown_layout_asks_for_the_family_and_says_what_it_saw(tmp_path: Path) -> None:
    message = refused(saved(tmp_path, {"encoder.weight": torch.zeros(2, 3)}), tmp_path)
    assert "1 tensors: encoder.weight (2, 3)" in message
    assert f"--family: {', '.join(IMPORTERS)}" in message


def test_a_family_that_does_not_fit_the_tensors_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert "is no CLIPModel" in refused(saved(tmp_path, tensors), tmp_path, family="hf_clip")
    assert "there is no importer for family 'clap'" in refused(tmp_path / "model.pt", tmp_path, family="clap")


def loading(manifest: dict[str, object], folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_adapter(checked_manifest(manifest), folder, "cpu")
    return str(caught.value)


def test_missing_extra_and_misshapen_tensors_are_named_before_the_model_is_installed(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    wrong = tensors | {"visual.extra": torch.zeros(1), "visual.ln_post.bias": torch.zeros(7)}
    del wrong["visual.ln_pre.weight"]
    answer = converted(saved(tmp_path, wrong), tmp_path)
    manifest = answer["manifest"]
    assert isinstance(manifest, dict)
    message = loading(manifest, tmp_path / "converted")
    assert "lacks visual.ln_pre.weight" in message
    assert "has unknown visual.extra" in message
    assert "another shape of visual.ln_post.bias (7,) instead of (24,)" in message


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"tokenizer": {"context_length": 64}}, "tokenizer.context_length is 64 in the manifest and 77 in model.safetensors"),
        ({"preprocessing": {**FACTS["preprocessing"], "image_size": 224}}, "preprocessing.image_size is 224 in the manifest and 32"),
        (
            {"architecture": {**FACTS["architecture"], "image_heads": 5}},
            "architecture.image_heads is 5, which does not divide the width 24",
        ),
    ],
)
def test_facts_that_contradict_the_tensors_are_refused(
    tensors: dict[str, torch.Tensor], tmp_path: Path, facts: dict[str, object], words: str
) -> None:
    manifest = converted(saved(tmp_path, tensors), tmp_path, FACTS | facts)["manifest"]
    assert isinstance(manifest, dict)
    assert words in loading(manifest, tmp_path / "converted")


def test_numbers_in_an_archive_that_contradict_its_tensors_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.jit.script(module_of(tensors | {"input_resolution": torch.tensor(224)})).save(str(tmp_path / "archive.pt"))
    assert "input_resolution is 224, its tensors have 32" in refused(tmp_path / "archive.pt", tmp_path)


def test_an_archive_gives_the_tensors_that_torch_gives_without_running_it(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    torch.jit.script(module_of(tensors)).save(str(path))
    found, expected = read_torchscript(path), torch.jit.load(str(path)).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_wrappers_and_prefixes_are_taken_off(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}, "optimizer": {"state": {}}}
    found = read_checkpoint((saved(tmp_path, wrapped),))
    assert found.tensors.keys() == tensors.keys()
    assert (found.wrapper_key, found.prefix, found.other_keys) == ("state_dict", "module.", ("epoch", "optimizer"))


def test_a_file_with_two_models_is_not_guessed_about(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert "several: student, teacher" in refused(saved(tmp_path, {"student": tensors, "teacher": tensors}), tmp_path)


def test_of_several_formats_safetensors_are_taken(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    saved(tmp_path, tensors, "pytorch_model.bin")
    save_file(tensors, tmp_path / "model.safetensors")
    assert [checkpoint.name for checkpoint in read_published(tmp_path, None).checkpoints] == ["model.safetensors"]


def test_shards_are_one_checkpoint(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:10]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: tensors[name] for name in names[10:]}, tmp_path / "model-00002-of-00002.safetensors")
    (found,) = read_published(tmp_path, None).checkpoints
    assert found.tensors.keys() == tensors.keys()


def test_several_checkpoints_of_one_shape_are_an_ensemble_in_the_order_of_their_names(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    second = vit_tensors(21)
    saved(folder, second, "best_2.pt")
    saved(folder, tensors, "best_1.pt")
    manifest = converted(folder, tmp_path)["manifest"]
    assert isinstance(manifest, dict)
    assert manifest["weights"]["checkpoints"] == 2
    found = load_file(tmp_path / "converted" / "model.safetensors")
    assert torch.equal(found["0/visual.proj"], tensors["visual.proj"])
    assert torch.equal(found["1/visual.proj"], second["visual.proj"])


def test_checkpoints_of_different_shapes_are_no_ensemble(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    saved(folder, tensors, "a.pt")
    saved(folder, tensors | {"visual.proj": torch.zeros(24, 5)}, "b.pt")
    assert "a.pt and b.pt differ in visual.proj" in refused(folder, tmp_path)


def hf_folder(folder: Path, tensors: dict[str, torch.Tensor], **files: object) -> Path:
    folder.mkdir()
    save_file(hf_names(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"vision_config": {"num_attention_heads": 3}, "text_config": {"num_attention_heads": 2}})
    )
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_a_tokenizer_that_disagrees_with_the_context_length_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "hf", tensors, tokenizer_config={"model_max_length": 64})
    assert "model_max_length 64, the text tower has 77 positions" in refused(folder, tmp_path)


def test_another_vocabulary_than_clips_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "hf", tensors, vocab={"a": 0})
    assert "not the standard CLIP vocabulary" in refused(folder, tmp_path)


def test_a_missing_or_damaged_configuration_is_named(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "hf", tensors)
    (folder / "config.json").write_text("{")
    assert "config.json is no JSON" in refused(folder, tmp_path)
    (folder / "config.json").unlink()
    assert "config.json is missing: activations and heads" in refused(folder, tmp_path)


def test_a_configuration_that_another_place_overrules_is_reported(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    processor = {"do_center_crop": True, "crop_size": 32, "size": 32, "resample": 2, "image_mean": MEAN, "image_std": STD}
    folder = hf_folder(tmp_path / "hf", tensors, preprocessor_config=processor)
    report = converted(folder, tmp_path, {"preprocessing": {"resize_mode": "squash", "interpolation": "bicubic"}})["report"]
    assert isinstance(report, dict)
    overruled = {fact["field"]: fact["value"] for fact in report["overruled"]}
    assert overruled == {"preprocessing.resize_mode": "shortest", "preprocessing.interpolation": "bilinear"}
    assert "preprocessing.crop_offset" not in {fact["field"] for fact in report["facts"]}


def published(**changes: object) -> PublishedModel:
    return PublishedModel.model_validate(
        {
            "name": "mine",
            "version": "1",
            "manufacturer": "Example University",
            "architecture": {"family": "openai_clip", "logit_scale": {"kind": "stored"}, **FACTS["architecture"]},
            "tokenizer": {"kind": "clip-bpe", "context_length": 77, "clean_up": ["lower-case"], "pad_id": 0},
            "preprocessing": {**FACTS["preprocessing"], "image_size": 32},
            "colour": "grey",
            "licence": {"usage": "permissive", "name": "MIT"},
            "intended_use": "Tests.",
            "source": "nowhere",
            "fetched_as": "model.pt",
            **changes,
        }
    )


def test_a_model_is_installed_whole_with_the_facts_of_its_description(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source, site = saved(tmp_path, tensors, "ViT.pt"), tmp_path / "site"
    imported = install(ImportRequest(source=source, name="mine", description=published()), site)
    assert sorted(path.relative_to(site).as_posix() for path in site.rglob("*")) == [
        *("models", "models/mine", "models/mine.yaml", "models/mine/model.safetensors")
    ]
    manifest = checked_manifest(yaml.safe_load(imported.path.read_text(encoding="utf-8")))
    assert manifest == imported.manifest
    assert manifest.licence.usage == "permissive"
    assert manifest.weights.sha256 == hashlib.sha256((site / "models" / "mine" / "model.safetensors").read_bytes()).hexdigest()
    assert manifest.imported_from == {"ViT.pt": hashlib.sha256(source.read_bytes()).hexdigest()}
    with pytest.raises(ImportRefusedError, match="is there already"):
        install(ImportRequest(source=source, name="mine", description=published()), site)


def test_a_known_file_with_another_digest_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source = saved(tmp_path, tensors)
    assert "its publisher's has 0000" in refused(source, tmp_path, known_files={"model.pt": "0" * 64})


def test_nothing_is_left_of_an_import_that_was_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    site, source = tmp_path / "site", saved(tmp_path, tensors | {"visual.extra": torch.zeros(1)})
    with pytest.raises(ModelLoadError, match=r"visual\.extra"):
        install(ImportRequest(source=source, name="mine", description=published()), site)
    with pytest.raises(ImportRefusedError, match="quick_gelu is missing"):
        install(ImportRequest(source=source, name="mine"), site)
    assert list((site / "models").iterdir()) == []


def test_weights_that_do_not_give_the_reference_outputs_are_not_installed(tmp_path: Path) -> None:
    fixture = write_fixture("openai-vit", tmp_path / "openai-vit")
    tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in vit_tensors(2).items()}
    source = saved(tmp_path, tensors, "other.pt")
    with pytest.raises(ModelLoadError, match="does not reproduce the reference outputs"):
        install(ImportRequest(source=source, name="mine", golden=fixture), tmp_path / "site")
    assert list((tmp_path / "site" / "models").iterdir()) == []


def test_reference_outputs_that_are_not_there_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match=r"golden\.json cannot be read"):
        converted(saved(tmp_path, tensors), tmp_path, golden=str(tmp_path))

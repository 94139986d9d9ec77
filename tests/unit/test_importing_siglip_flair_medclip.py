"""Importing and loading SigLIP, FLAIR and MedCLIP: what their files state, what is dropped, and what is refused with which words."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inference.adapters import ModelLoadError, load_adapter
from inference.adapters.swin_names import published_name
from inference.importing import ImportRefusedError
from inference.importing.conversion import convert
from inference.importing.facts import checked_manifest
from inference.importing.install import _described
from tests import golden_bert as bert
from tests import golden_clinical as clinical
from tests import golden_flair, golden_medclip, golden_siglip

Tensors = dict[str, torch.Tensor]

SMALL: Mapping[str, object] = {"tokenizer": {"context_length": 24}, "preprocessing": {"image_size": 48}}
MEDCLIP_SWIN = {"kind": "swin", "activation": "gelu", "layer_norm_eps": 1e-5}


@pytest.fixture(scope="module")
def siglip() -> Tensors:
    return golden_siglip.tensors(81)


@pytest.fixture(scope="module")
def flair() -> Tensors:
    return golden_flair.tensors(82)


@pytest.fixture(scope="module")
def medclip() -> Tensors:
    return golden_medclip.tensors(83)


def answer(source: Path, work: Path, facts: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What the importing process answers, in this process; the model lies in work/model."""
    target = work / "model"
    target.mkdir()
    path = work / "facts.json"
    path.write_text(json.dumps(facts or {}))
    supplement = work / "supplement"
    told = {"source": str(source), "name": "mine", "family": None, "supplement": str(supplement) if supplement.is_dir() else None}
    return convert(told | _described(None) | {"golden": None, "facts": str(path), "only": [], "folder": str(target)})


def refused(source: Path, work: Path, facts: Mapping[str, object] | None = None) -> str:
    with pytest.raises(ImportRefusedError) as caught:
        answer(source, work, facts)
    return str(caught.value)


def not_loaded(source: Path, work: Path, facts: Mapping[str, object] | None = None) -> str:
    manifest = checked_manifest(answer(source, work, facts)["manifest"])
    with pytest.raises(ModelLoadError) as caught:
        load_adapter(manifest, work / "model", "cpu")
    return str(caught.value)


def siglip_folder(work: Path, tensors: Tensors, **changes: dict[str, Any]) -> Path:
    folder = work / "siglip"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    golden_siglip.write_files(folder, **changes)
    return folder


def saved(work: Path, tensors: Tensors, *, config: dict[str, Any] | None = None) -> Path:
    """A bare state dict, and the files of clinical BERT in the supplement."""
    clinical.write_supplement(work)
    if config is not None:
        (work / "supplement" / "text_backbone" / "config.json").write_text(json.dumps(config))
    folder = work / "weights"
    folder.mkdir()
    torch.save(tensors, folder / "weights.pth")
    return folder / "weights.pth"


def with_swin_config(work: Path, **changes: object) -> None:
    told = {"model_type": "swin", "depths": [2, 1], "num_heads": [1, 2], "window_size": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
    (work / "supplement" / "swin.json").write_text(json.dumps(told | changes))


def bert_config(**changes: object) -> dict[str, Any]:
    return bert.hugging_face_config(len(clinical.WORDS)) | {"num_hidden_layers": clinical.TEXT_LAYERS} | changes


def test_siglips_files_state_all_of_it_and_its_processor_does_not_pad(siglip: Tensors, tmp_path: Path) -> None:
    positions = {"text_model.embeddings.position_ids": torch.arange(16)[None], "logit_scale": torch.tensor(2.3)}
    told = answer(siglip_folder(tmp_path, siglip | positions), tmp_path)
    manifest = checked_manifest(told["manifest"])
    assert (manifest.preprocessing.resize_mode, manifest.preprocessing.image_size) == ("squash", 32)
    assert manifest.tokenizer.model_dump() == {
        "kind": "sentencepiece",
        "vocabulary": "tokenizer.json",
        "context_length": 16,
        "end_id": 1,
        "pad_id": 1,
        "clean_up": ("lower-case", "remove-punctuation", "collapse-whitespace"),
    }
    assert list(told["report"]["dropped"]) == ["text_model.embeddings.position_ids"]
    head = load_adapter(manifest, tmp_path / "model", "cpu").heads[0]
    assert (head.logit_scale, head.logit_bias) == (pytest.approx(9.974, abs=1e-3), -3.5)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_of_siglip_that_is_missing_is_asked_for(siglip: Tensors, tmp_path: Path, name: str) -> None:
    folder = siglip_folder(tmp_path, siglip)
    (folder / name).unlink()
    message = refused(folder, tmp_path)
    assert f"{name} is missing" in message
    assert "--supplement" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer_config": {"model_max_length": 64}}, "model_max_length 64, the text tower has 16 positions"),
        ({"tokenizer_config": {"eos_token": "<end>"}}, "tokenizer.json has no piece '<end>', the eos_token"),
        ({"tokenizer": {"model": {"type": "BPE", "vocab": {}}}}, "tokenizer.json holds no SentencePiece unigram vocabulary"),
        ({"preprocessor_config": {"rescale_factor": 1.0}}, "rescale_factor is 1.0"),
        ({"preprocessor_config": {"size": {"height": 32, "width": 48}}}, "size is 32 x 48, not square"),
        (
            {"config": {"text_config": {"layer_norm_eps": 1e-5, "num_attention_heads": 2}}},
            "layer_norm_eps is 1e-06 in vision_config and 1e-05",
        ),
        ({"config": {"vision_config": {"hidden_act": "swish"}}}, "'swish', an activation that this node does not know"),
    ],
)
def test_files_of_siglip_that_contradict_each_other_are_refused(
    siglip: Tensors, tmp_path: Path, changes: dict[str, dict[str, Any]], words: str
) -> None:
    assert words in refused(siglip_folder(tmp_path, siglip, **changes), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer": {"model": {"type": "Unigram", "unk_id": 2, "vocab": golden_siglip.PIECES[:-1]}}}, "tokenizer.json has 300 pieces"),
        ({"preprocessor_config": {"size": 48}}, "preprocessing.image_size is 48 in the manifest and 32"),
        ({"config": {"vision_config": {"num_attention_heads": 5}}}, "architecture.image_heads is 5, which does not divide the width 24"),
        ({"config": {"text_config": {"num_attention_heads": 3}}}, "architecture.text_heads is 3, which does not divide the width 20"),
    ],
)
def test_facts_of_siglip_that_do_not_fit_its_tensors_stop_the_model(
    siglip: Tensors, tmp_path: Path, changes: dict[str, dict[str, Any]], words: str
) -> None:
    assert words in not_loaded(siglip_folder(tmp_path, siglip, **changes), tmp_path)


def test_a_context_length_other_than_siglips_positions_stops_the_model(siglip: Tensors, tmp_path: Path) -> None:
    message = not_loaded(siglip_folder(tmp_path, siglip), tmp_path, {"tokenizer": {"context_length": 12}})
    assert "tokenizer.context_length is 12 in the manifest and 16 in model.safetensors" in message


def test_tensors_of_siglip_that_are_missing_left_over_or_misshapen_are_named(siglip: Tensors, tmp_path: Path) -> None:
    wrong = siglip | {"vision_model.head.extra": torch.zeros(1), "vision_model.post_layernorm.bias": torch.zeros(7)}
    del wrong["text_model.encoder.layers.1.mlp.fc1.bias"]
    message = not_loaded(siglip_folder(tmp_path, wrong), tmp_path)
    assert "lacks text_model.encoder.layers.1.mlp.fc1.bias" in message
    assert "has unknown vision_model.head.extra" in message
    assert "another shape of vision_model.post_layernorm.bias (7,) instead of (24,)" in message


def damaged(tensors: Tensors, name: str) -> Tensors:
    wrong = tensors[name].clone()
    wrong.view(-1)[0] = float("nan")
    return tensors | {name: wrong}


def test_weights_with_nan_are_named_in_every_family(siglip: Tensors, flair: Tensors, medclip: Tensors, tmp_path: Path) -> None:
    for tensors, name, source in (
        (siglip, "vision_model.head.probe", siglip_folder),
        (flair, "vision_model.model.bn1.running_var", saved),
        (medclip, "vision_model.model.layernorm.weight", saved),
    ):
        work = tmp_path / name
        work.mkdir()
        path = source(work, damaged(tensors, name))
        if tensors is medclip:
            with_swin_config(work)
        assert f"{name} holds NaN or infinity" in refused(path, work, SMALL if source is saved else None)


def test_two_numbers_where_siglip_has_one_are_refused(siglip: Tensors, tmp_path: Path) -> None:
    folder = siglip_folder(tmp_path, siglip | {"logit_bias": torch.zeros(2)})
    assert "logit_bias has shape (2,), not one number" in refused(folder, tmp_path)


def test_flair_comes_with_clinical_berts_files_and_the_rules_of_its_code(flair: Tensors, tmp_path: Path) -> None:
    extra = {"attention.q.weight": torch.zeros(2, 2), "text_model.model.embeddings.position_ids": torch.arange(24)[None]}
    told = answer(saved(tmp_path, flair | extra), tmp_path, {"tokenizer": {"context_length": 24}})
    manifest = checked_manifest(told["manifest"])
    assert (manifest.preprocessing.resize_mode, manifest.preprocessing.image_size) == ("corner", 512)
    assert told["report"]["dropped"] == {
        "attention.q.weight": "only the training of KeepFIT uses it",
        "text_model.model.embeddings.position_ids": "numbers of positions, which the network computes",
        "text_model.model.pooler.dense.bias": "the family pools by itself",
        "text_model.model.pooler.dense.weight": "the family pools by itself",
    }
    adapter = load_adapter(manifest, tmp_path / "model", "cpu")
    assert adapter.logit_scale == pytest.approx(100.0, rel=1e-3)  # the stored logarithm is larger
    assert adapter.encode_texts(["normal", "no findings"]).shape == (2, clinical.DIMENSIONS)


def test_the_folder_of_the_hub_states_the_image_size(flair: Tensors, tmp_path: Path) -> None:
    source = saved(tmp_path, flair)
    (source.parent / "config.json").write_text(json.dumps({"image_size": 64, "proj_dim": 512, "projection": True}))
    assert answer(source, tmp_path, {"tokenizer": {"context_length": 24}})["manifest"]["preprocessing"]["image_size"] == 64


def test_a_flair_without_projections_is_refused(flair: Tensors, tmp_path: Path) -> None:
    source = saved(tmp_path, flair)
    (source.parent / "config.json").write_text(json.dumps({"proj_dim": 512, "projection": False}))
    assert "says projection False" in refused(source, tmp_path, SMALL)


@pytest.mark.parametrize("family", ["flair", "medclip"])
def test_without_clinical_berts_vocabulary_it_is_asked_for(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = saved(tmp_path, request.getfixturevalue(family))
    (tmp_path / "supplement" / "text_backbone" / "vocab.txt").unlink()
    message = refused(source, tmp_path, SMALL)
    assert "vocab.txt is missing" in message
    assert "emilyalsentzer/Bio_ClinicalBERT" in message
    assert "--supplement" in message


def test_without_clinical_berts_configuration_the_facts_are_asked_for_by_name(flair: Tensors, tmp_path: Path) -> None:
    source = saved(tmp_path, flair)
    (tmp_path / "supplement" / "text_backbone" / "config.json").unlink()
    message = refused(source, tmp_path)
    assert "architecture.text is missing" in message
    assert "--facts" in message


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (bert_config(num_hidden_layers=12), "says num_hidden_layers 12, the tensors text_model.model.* in weights.pth have 3"),
        (bert_config(hidden_act="swish"), "'swish', an activation that this node does not know"),
        ({"model_type": "bert"}, "has no num_attention_heads"),
    ],
)
def test_another_configuration_than_that_of_the_text_tower_is_refused(
    flair: Tensors, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    assert words in refused(saved(tmp_path, flair, config=config), tmp_path)


def test_two_configurations_of_one_kind_are_not_guessed_about(flair: Tensors, tmp_path: Path) -> None:
    source = saved(tmp_path, flair)
    (tmp_path / "supplement" / "other.json").write_text(json.dumps(bert_config()))
    assert "are both of model_type bert" in refused(source, tmp_path)


def one_layer(tensors: Tensors) -> Tensors:
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(tuple(f"text_model.model.encoder.layer.{n}." for n in (1, 2)))
    }


def wider_images(tensors: Tensors) -> Tensors:
    return tensors | {"vision_model.projection_head_vision.projection.weight": torch.zeros(13, 2048)}


def with_bias(tensors: Tensors) -> Tensors:
    return tensors | {"text_model.projection_head_text.projection.bias": torch.zeros(12)}


def more_words(tensors: Tensors) -> Tensors:
    return tensors | {"text_model.model.embeddings.word_embeddings.weight": torch.zeros(99, bert.WIDTH)}


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        (one_layer, bert_config(num_hidden_layers=1), "encoder has 1 layer, and hidden states 1, 2 and last are averaged"),
        (wider_images, bert_config(), "vision_model gives 13 dimensions and that in text_model 12"),
        (with_bias, bert_config(), "has unknown text_model.projection_head_text.projection.bias"),
        (more_words, bert_config(vocab_size=99), f"vocab.txt has {len(clinical.WORDS)} tokens, the text tower in model.safetensors has 99"),
        (dict, bert_config(num_attention_heads=3), "architecture.text.heads is 3, which does not divide the width 16"),
    ],
)
def test_a_flair_that_does_not_fit_its_tensors_does_not_load(
    flair: Tensors, tmp_path: Path, change: Callable[[Tensors], Tensors], config: dict[str, Any], words: str
) -> None:
    assert words in not_loaded(saved(tmp_path, change(flair), config=config), tmp_path, SMALL)


def test_a_context_longer_than_the_positions_of_the_text_tower_stops_the_model(flair: Tensors, tmp_path: Path) -> None:
    assert "tokenizer.context_length is 77 in the manifest, the text tower in model.safetensors has 24" in not_loaded(
        saved(tmp_path, flair), tmp_path
    )


def test_an_image_tower_of_another_kind_is_no_flair(flair: Tensors, tmp_path: Path) -> None:
    shallow = {name: tensor for name, tensor in flair.items() if ".conv3." not in name}
    assert "has no ResNet-50 with a projection" in refused(saved(tmp_path, shallow), tmp_path)


def renamed(tensors: Tensors) -> Tensors:
    """As a transformers of today writes them."""
    now = {"attention.self.query": "attention.q_proj", "attention.self.key": "attention.k_proj", "attention.self.value": "attention.v_proj"}
    now |= {"attention.output.dense": "attention.o_proj", "attention.self.relative": "attention.relative_position_bias.relative"}
    now |= {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}

    def name_of(name: str) -> str:
        then, today = next(((old, new) for old, new in now.items() if f".{old}" in name and ".blocks." in name), ("", ""))
        return name.replace(then, today) if then else name

    return {name_of(name): tensor for name, tensor in tensors.items()}


def test_a_swin_is_read_by_its_names_of_2022_and_of_today(medclip: Tensors, tmp_path: Path) -> None:
    today = renamed(medclip)
    assert "vision_model.model.encoder.layers.0.blocks.1.attention.o_proj.bias" in today
    assert "vision_model.model.encoder.layers.0.blocks.1.mlp.fc2.bias" in today
    assert {published_name(name) for name in today} == medclip.keys()
    vectors = []
    for tensors, name in ((medclip, "then"), (today, "now")):
        work = tmp_path / name
        work.mkdir()
        source = saved(work, tensors)
        with_swin_config(work)
        manifest = checked_manifest(answer(source, work, SMALL)["manifest"])
        assert manifest.architecture.model_dump()["image"] == MEDCLIP_SWIN
        batch = torch.linspace(-1, 1, 3 * 48 * 48).reshape(1, 3, 48, 48)
        vectors.append(load_adapter(manifest, work / "model", "cpu").encode_images(batch))
    assert torch.equal(*vectors)


def test_a_swin_without_its_configuration_is_asked_about_by_name(medclip: Tensors, tmp_path: Path) -> None:
    message = refused(saved(tmp_path, medclip), tmp_path, SMALL)
    assert "architecture.image.swin.activation is missing" in message
    assert "architecture.image.swin.layer_norm_eps is missing" in message


@pytest.mark.parametrize(
    ("field", "value", "found"), [("window_size", 7, "4"), ("num_heads", [3, 6], r"[1, 2]"), ("depths", [2, 2], "[2, 1]")]
)
def test_another_configuration_than_that_of_the_image_tower_is_refused(
    medclip: Tensors, tmp_path: Path, field: str, value: object, found: str
) -> None:
    source = saved(tmp_path, medclip)
    with_swin_config(tmp_path, **{field: value})
    assert f"says {field} {value}, the tensors vision_model.model.* in weights.pth have {found}" in refused(source, tmp_path, SMALL)


def other_table(tensors: Tensors) -> Tensors:
    name = "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"
    return tensors | {name: torch.zeros(50, 1)}


def without_a_block(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if ".layers.0.blocks.1.attention.self.query" not in name}


@pytest.mark.parametrize(
    ("change", "side", "words"),
    [
        (dict, 16, "an image of 16 pixels is smaller than one window of 4 tokens in the last stage"),
        (other_table, 48, "relative_position_bias_table has 50 rows, which no square window has"),
        (without_a_block, 48, "lacks vision_model.model.encoder.layers.0.blocks.1.attention.self.query.bias"),
    ],
)
def test_a_medclip_that_does_not_fit_its_tensors_does_not_load(
    medclip: Tensors, tmp_path: Path, change: Callable[[Tensors], Tensors], side: int, words: str
) -> None:
    facts = {"architecture": {"image": MEDCLIP_SWIN}, "tokenizer": {"context_length": 24}, "preprocessing": {"image_size": side}}
    assert words in not_loaded(saved(tmp_path, change(medclip)), tmp_path, facts)


def test_a_medclip_with_neither_a_swin_nor_a_resnet_is_refused(medclip: Tensors, tmp_path: Path) -> None:
    other = {name: tensor for name, tensor in medclip.items() if not name.startswith("vision_model.model.embeddings")}
    assert "has neither a Swin nor a ResNet-50 as image tower" in refused(saved(tmp_path, other), tmp_path, SMALL)

"""Importing RET-CLIP, UniMed-CLIP and KEEP: what is recognised, what is asked for by name, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from inference.adapters import ModelLoadError, load_adapter
from inference.importing import ImportRefusedError
from inference.importing.conversion import convert
from inference.importing.facts import checked_manifest
from tests import golden_bert, golden_ret_clip
from tests.golden_fixtures import write_fixture

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family: its fixture, weight file and image tower, and one tensor to lose, to misshape and to damage."""

    fixture: str
    family: str
    file: str
    prefix: str
    bert: str
    image: str
    facts: dict[str, Any]
    supplement: bool = True

    def __str__(self) -> str:
        return self.fixture


RET = Kind(
    fixture="ret-clip",
    family="ret_clip",
    file="ret-clip.pt",
    prefix="module.",
    bert="bert.",
    image="visual.ln_post.bias",
    facts={"architecture": {"image_heads": 3}, "tokenizer": {"context_length": 18}},
)
UNIMED = Kind(
    fixture="unimed-clip",
    family="unimed_clip",
    file="small-b8.pt",
    prefix="module.",
    bert="text_encoder.transformer.",
    image="visual.ln_post.bias",
    facts={"architecture": {"image_heads": 3}, "tokenizer": {"context_length": 20}},
)
KEEP = Kind(
    fixture="keep",
    family="keep",
    file="checkpoint/pytorch_model.bin",
    prefix="",
    bert="text.",
    image="visual.norm.bias",
    facts={"architecture": {"image_heads": 3}, "tokenizer": {"context_length": 20}},
    supplement=False,
)
KINDS = (RET, UNIMED, KEEP)


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fixtures")
    for kind in KINDS:
        write_fixture(kind.fixture, root / kind.fixture)
    return root


@dataclass(frozen=True, slots=True)
class Site:
    """A copy of a fixture's published files, to be spoilt."""

    kind: Kind
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / self.kind.file

    @property
    def texts(self) -> Path:
        """Where the vocabulary lies."""
        return next(self.folder.rglob("vocab.txt")).parent

    def changed(self, change: Callable[[Tensors], Tensors]) -> "Site":
        found = torch.load(self.source, weights_only=True)
        state = found.get("state_dict", found)
        names = {name.removeprefix(self.kind.prefix): tensor for name, tensor in state.items()}
        renamed = {self.kind.prefix + name: tensor for name, tensor in change(names).items()}
        torch.save(found | {"state_dict": renamed} if "state_dict" in found else renamed, self.source)
        return self

    def convert(self, facts: dict[str, Any] | None = None, **changes: object) -> dict[str, Any]:
        """What the importing process answers, in this process, without reference outputs."""
        target = self.folder / "converted"
        target.mkdir(exist_ok=True)
        (self.folder / "facts.yaml").write_text(yaml.safe_dump(self.kind.facts if facts is None else facts))
        supplement = str(self.folder / "supplement") if self.kind.supplement else None
        told: dict[str, object] = {"source": str(self.source), "name": "mine", "family": None, "supplement": supplement, "golden": None}
        told |= {"facts": str(self.folder / "facts.yaml"), "description": None, "known_files": {}, "only": [], "folder": str(target)}
        return convert(told | changes)

    def refused(self, facts: dict[str, Any] | None = None, **changes: object) -> str:
        with pytest.raises(ImportRefusedError) as caught:
            self.convert(facts, **changes)
        return str(caught.value)

    def not_loaded(self, facts: dict[str, Any] | None = None) -> str:
        manifest = checked_manifest(self.convert(facts)["manifest"])
        with pytest.raises(ModelLoadError) as caught:
            load_adapter(manifest, self.folder / "converted", "cpu")
        return str(caught.value)


@pytest.fixture(params=KINDS, ids=str)
def site(request: pytest.FixtureRequest, fixtures: Path, tmp_path: Path) -> Site:
    return copied(request.param, fixtures, tmp_path)


def copied(kind: Kind, fixtures: Path, work: Path) -> Site:
    shutil.copytree(fixtures / kind.fixture, work / kind.fixture)
    (work / kind.fixture / "golden.json").unlink()
    return Site(kind, work / kind.fixture)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def test_the_family_is_recognised_and_what_the_tensors_reveal_is_inferred(site: Site) -> None:
    answer = site.convert()
    assert answer["report"]["family"] == answer["manifest"]["architecture"]["family"] == site.kind.family
    assert answer["manifest"]["preprocessing"]["image_size"] == 32
    assert answer["report"]["inferred"]["text tower"].startswith("BERT, layers 2, width 16, 24 positions")
    assert answer["manifest"]["architecture"]["text"] == {"heads": 2, "activation": "gelu", "layer_norm_eps": 1e-12}
    load_adapter(checked_manifest(answer["manifest"]), site.folder / "converted", "cpu")


def test_missing_extra_and_misshapen_tensors_are_named(site: Site) -> None:
    lost, image = f"{site.kind.bert}encoder.layer.1.output.dense.bias", site.kind.image

    def change(tensors: Tensors) -> Tensors:
        return without(lost)(tensors) | {"visual.extra": torch.zeros(2), image: torch.zeros(7)}

    message = site.changed(change).not_loaded()
    assert "model mine: model.safetensors lacks " in message
    assert "encoder.layer.1.output.dense.bias" in message
    assert "has unknown visual.extra" in message
    assert f"another shape of {image} (7,) instead of (24,)" in message


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        (RET, "global_feature_mapping.weight", (12, 12)),
        (RET, "text_projection_left.2.weight", (9, 16)),
        (UNIMED, "text_encoder.proj.2.weight", (9, 14)),
        (KEEP, "visual_head.2.weight", (9, 16)),
    ],
    ids=str,
)
def test_layers_behind_the_towers_that_do_not_fit_each_other_are_named(
    kind: Kind, name: str, shape: tuple[int, ...], fixtures: Path, tmp_path: Path
) -> None:
    spoilt = copied(kind, fixtures, tmp_path).changed(lambda tensors: tensors | {name: torch.zeros(shape)})
    if kind is KEEP:
        assert "projection_dim 16, visual_head.2.weight in pytorch_model.bin has 9" in spoilt.refused()
        (spoilt.texts / "config.json").write_text("{}")
        facts = {"architecture": {"image_heads": 3, "text": {"heads": 2, "activation": "gelu", "layer_norm_eps": 1e-12}}}
        message = spoilt.not_loaded(facts | {"tokenizer": {"context_length": 20}})
    else:
        message = spoilt.not_loaded()
    assert f"{name.replace('text_encoder.', 'text.')} {shape} instead of" in message


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_named(site: Site, number: float) -> None:
    message = site.changed(lambda tensors: tensors | {site.kind.image: torch.full((24,), number)}).refused()
    assert f"{site.source.name}: {site.kind.image} holds NaN or infinity" in message


def test_a_checkpoint_without_its_text_tower_is_refused(site: Site) -> None:
    words = f"{site.kind.bert}embeddings.word_embeddings.weight"
    message = site.changed(without(words)).refused(family=site.kind.family)
    assert f"{site.source.name} has no BERT text tower: '{words}'" in message


def test_a_checkpoint_without_its_image_tower_is_refused(site: Site) -> None:
    patches = "visual.patch_embed.proj.weight" if site.kind is KEEP else "visual.conv1.weight"
    message = site.changed(without(patches)).refused(family=site.kind.family)
    assert f"{site.source.name} has no image tower of" in message
    assert patches in message


def test_a_missing_vocabulary_is_asked_for(site: Site) -> None:
    (site.texts / "vocab.txt").unlink()
    message = site.refused()
    assert "vocab.txt is missing" in message
    assert "--supplement" in message


def test_a_vocabulary_of_another_model_is_refused(site: Site) -> None:
    path = site.texts / "vocab.txt"
    path.write_text(path.read_text(encoding="utf-8") + "tumour\n", encoding="utf-8")
    rows = len(golden_ret_clip.WORDS if site.kind is RET else golden_bert.WORDS)
    assert f"vocab.txt has {rows + 1} tokens, the text tower in model.safetensors has {rows}" in site.not_loaded()


def test_a_vocabulary_that_differs_from_the_tokenizer_beside_it_is_refused(site: Site) -> None:
    (site.texts / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}}}))
    assert "vocab.txt and tokenizer.json beside it have different tokens" in site.refused()


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("tokenizer", {"context_length": 25}, "tokenizer.context_length is 25 in the manifest, the text tower in model.safetensors has 24"),
        ("preprocessing", {"image_size": 224}, "preprocessing.image_size is 224 in the manifest and 32 in model.safetensors"),
        ("architecture", {"image_heads": 5}, "architecture.image_heads is 5, which does not divide the width 24"),
        (
            "architecture",
            {"text": {"heads": 3, "activation": "gelu", "layer_norm_eps": 1e-12}},
            "architecture.text.heads is 3, which does not divide the width 16",
        ),
    ],
)
def test_facts_that_contradict_the_tensors_are_refused(site: Site, section: str, changes: dict[str, object], words: str) -> None:
    facts = {**site.kind.facts, section: {**site.kind.facts.get(section, {}), **changes}}
    assert words in site.not_loaded(facts)


def test_the_text_towers_facts_are_asked_for_where_nothing_states_them(site: Site) -> None:
    for path in site.folder.rglob("*.json"):
        path.unlink()
    assert "architecture.text is missing" in site.refused()


def test_the_heads_of_another_vit_than_the_published_one_are_asked_for(fixtures: Path, tmp_path: Path) -> None:
    message = copied(KEEP, fixtures, tmp_path).refused({"tokenizer": {"context_length": 20}})
    assert "architecture.image_heads is missing" in message
    assert "image_layer_norm_eps" not in message


def test_an_activation_that_nothing_states_is_asked_for(fixtures: Path, tmp_path: Path) -> None:
    unimed = copied(UNIMED, fixtures, tmp_path)
    (unimed.folder / "supplement" / "model_config.json").unlink()
    assert "architecture.quick_gelu is missing" in unimed.refused()


def test_a_configuration_of_another_text_tower_is_refused(site: Site) -> None:
    for path in site.folder.rglob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        texts = told.get("text_config", told)
        texts |= {name: 5 for name in ("num_hidden_layers", "text_num_hidden_layers") if name in texts}
        path.write_text(json.dumps(told))
    message = site.refused()
    if site.kind is RET:
        assert "none of RoBERTa-large.json, RoBERTa-small.json fits the text tower in ret-clip.pt (BERT, layers 2, width 16" in message
    else:
        assert f"num_hidden_layers 5, the tensors {site.kind.bert}* in {site.source.name} have 2" in message


def test_model_configurations_that_fit_equally_and_differ_are_not_guessed_about(fixtures: Path, tmp_path: Path) -> None:
    configs = copied(RET, fixtures, tmp_path).folder / "supplement" / "model_configs"
    told = json.loads((configs / "RoBERTa-small.json").read_text(encoding="utf-8"))
    (configs / "RoBERTa-other.json").write_text(json.dumps(told | {"text_num_attention_heads": 4}))
    message = Site(RET, configs.parents[1]).refused()
    assert "RoBERTa-other.json" in message
    assert "both fit the text tower in ret-clip.pt and differ" in message


def test_image_configurations_that_fit_equally_and_differ_are_not_guessed_about(fixtures: Path, tmp_path: Path) -> None:
    unimed = copied(UNIMED, fixtures, tmp_path)
    path = unimed.folder / "supplement" / "model_config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    path.with_name("plain.json").write_text(json.dumps(told | {"quick_gelu": False}))
    assert "both fit small-b8.pt and differ in quick_gelu" in unimed.refused()
    path.with_name("plain.json").unlink()
    path.write_text(json.dumps(told | {"embed_dim": 512}))
    assert "none of model_config.json fits small-b8.pt" in unimed.refused()


def test_a_configuration_that_is_no_bert_is_refused(fixtures: Path, tmp_path: Path) -> None:
    unimed = copied(UNIMED, fixtures, tmp_path)
    (unimed.texts / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    assert "is not of model_type bert" in unimed.refused()


def test_other_documents_in_the_folder_do_no_harm(site: Site) -> None:
    (site.source.parent / "notes.json").write_text("[1, 2")
    (site.source.parent / "list.json").write_text("[1, 2]")
    assert site.convert()["report"]["family"] == site.kind.family


def test_several_ret_clips_are_no_ensemble(fixtures: Path, tmp_path: Path) -> None:
    ret = copied(RET, fixtures, tmp_path)
    shutil.copy(ret.source, ret.folder / "ret-clip-2.pt")
    manifest = checked_manifest(ret.convert(source=str(ret.folder))["manifest"])
    with pytest.raises(ModelLoadError, match="no recipe averages several RET-CLIPs; import one file alone"):
        load_adapter(manifest, ret.folder / "converted", "cpu")


def test_names_of_its_flash_attention_are_undone(fixtures: Path, tmp_path: Path) -> None:
    plain, fused = copied(RET, fixtures, tmp_path / "plain"), copied(RET, fixtures, tmp_path / "fused")

    def fuse(tensors: Tensors) -> Tensors:
        """As convert_state_dict of the publisher's code."""
        found = {name.replace(".attn.in_proj_", ".attn.Wqkv."): tensor for name, tensor in tensors.items()}
        for layer in range(2):
            name = f"bert.encoder.layer.{layer}.attention"
            for kind in ("weight", "bias"):
                parts = [found.pop(f"{name}.self.{part}.{kind}") for part in ("query", "key", "value")]
                found[f"{name}.self.Wqkv.{kind}"] = torch.cat(parts)
                found[f"{name}.self.out_proj.{kind}"] = found.pop(f"{name}.output.dense.{kind}")
        return found

    plain.convert()
    fused.changed(fuse).convert()
    expected, found = (load_file(site.folder / "converted" / "model.safetensors") for site in (plain, fused))
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_what_the_network_has_no_place_for_is_dropped_with_a_reason(fixtures: Path, tmp_path: Path) -> None:
    dropped = copied(RET, fixtures, tmp_path).convert()["report"]["dropped"]
    assert dropped == dict.fromkeys(("bert.pooler.dense.weight", "bert.pooler.dense.bias"), "the family pools by itself")
    dropped = copied(UNIMED, fixtures, tmp_path).convert()["report"]["dropped"]
    assert dropped == {"text_encoder.transformer.embeddings.position_ids": "numbers of positions, which the network computes"}


def test_the_eyes_are_never_guessed(fixtures: Path, tmp_path: Path) -> None:
    """The head of the patient takes the left eye, then the right one; each eye has a head of its own."""
    ret = copied(RET, fixtures, tmp_path)
    adapter = load_adapter(checked_manifest(ret.convert()["manifest"]), ret.folder / "converted", "cpu")
    assert {head.name: head.views for head in adapter.heads} == {"patient": ("left", "right"), "left": ("left",), "right": ("right",)}
    rows = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    patient = adapter.heads[0]
    assert not torch.allclose(patient.images(rows[:1], rows[1:]), patient.images(rows[1:], rows[:1]))
    assert [round(head.logit_scale, 3) for head in adapter.heads] == [18.174, 12.182, 24.533]

"""Every mistake that the reference outputs of SigLIP, FLAIR and MedCLIP know is made on purpose, noticed and named."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import SiglipModel

from config.manifests import ModelManifest
from inference.adapters import Head, ModelAdapter, flair, load_adapter, medclip, siglip
from inference.adapters.checkpoint import Checkpoint
from inference.adapters.dual_encoder import unit
from inference.golden import Golden, check, read_golden
from inference.golden.folder import fixtures_in
from inference.importing import importer_of
from inference.importing.conversion import convert
from inference.importing.install import _described
from inference.tokenizers import Tokens
from tests.golden_fixtures import write_fixture

SHARED = os.environ.get("DICOM_NODE_SHARED")
NETWORKS: Mapping[str, Callable[[Checkpoint, str], flair.Network | medclip.Network | SiglipModel]] = {
    "flair": flair.network,
    "medclip": medclip.network,
    "siglip": siglip.network,
}
KINDS = ("flair", "medclip", "medclip-resnet", "siglip")
SAME = {"masked mean": "no padding", "no padding": "masked mean"}  # a mean without the padding is the mean of the text alone

EncodeTexts = Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    golden: Golden
    adapter: ModelAdapter
    network: flair.Network | medclip.Network | SiglipModel
    folder: Path

    @property
    def manifest(self) -> ModelManifest:
        return self.adapter.manifest

    def with_facts(self, section: str, **changes: object) -> ModelAdapter:
        values = self.manifest.model_dump(mode="json")
        return load_adapter(ModelManifest.model_validate(values | {section: values[section] | changes}), self.folder, "cpu")

    def resized(self, **changes: object) -> ModelAdapter:
        told = self.manifest.preprocessing
        common = {"image_size": told.image_size, "mean": told.mean, "std": told.std, "interpolation": told.interpolation}
        values = self.manifest.model_dump(mode="json") | {"preprocessing": common | changes}
        return load_adapter(ModelManifest.model_validate(values), self.folder, "cpu")

    def states(self, texts: Sequence[str]) -> tuple[tuple[torch.Tensor, ...], Tokens]:
        """The hidden states of BERT and the tokens."""
        tokens = self.adapter.tokenize(texts)
        assert not isinstance(self.network, SiglipModel)
        bert = self.network.text_model["model"]
        return bert(input_ids=tokens.ids, attention_mask=tokens.attended, output_hidden_states=True).hidden_states, tokens

    def projected(self, features: torch.Tensor) -> torch.Tensor:
        assert not isinstance(self.network, SiglipModel)
        head = flair.TEXT_HEAD if self.manifest.family == "flair" else medclip.HEAD
        return unit(self.network.text_model[head](features))


class OtherTexts:
    """The adapter of a case with another way to encode texts."""

    def __init__(self, case: Case, encode_texts: EncodeTexts) -> None:
        self.manifest: ModelManifest = case.manifest
        self.heads: tuple[Head, ...] = case.adapter.heads
        self.logit_scale = case.adapter.logit_scale
        self.preprocess, self.tokenize = case.adapter.preprocess, case.adapter.tokenize
        self.encode_images, self.encode_texts = case.adapter.encode_images, encode_texts


def shared_fixtures() -> list[Path]:
    root = Path(SHARED or ".") / "golden"
    sets = [root, *(index.parent for index in sorted(root.glob("*/index.json")))]
    found = [fixture for folder in sets if (folder / "index.json").is_file() for fixture in fixtures_in(folder)]
    names = {name for family in NETWORKS for name in importer_of(family).GOLDEN_FAMILIES}
    return [fixture for fixture in found if read_golden(fixture).family in names] if SHARED else []


@pytest.fixture(scope="module", params=[*KINDS, *shared_fixtures()], ids=lambda one: one if isinstance(one, str) else f"shared-{one.name}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    work = tmp_path_factory.mktemp("case")
    golden = read_golden(request.param if isinstance(request.param, Path) else write_fixture(request.param, work / request.param))
    target = work / "model"
    target.mkdir()
    supplement = str(golden.supplement) if golden.supplement else None
    only = [Path(file).relative_to(golden.checkpoint.folder).as_posix() for file in golden.checkpoint.files]
    told = {"source": str(golden.folder / golden.checkpoint.folder), "name": "fixture", "family": None, "supplement": supplement}
    told |= {"golden": str(golden.folder), "facts": None, "only": only, "folder": str(target)}
    manifest = ModelManifest.model_validate(convert(told | _described(None))["manifest"])
    network = NETWORKS[manifest.family](Checkpoint(manifest=manifest, folder=target, prefix=""), "cpu")
    return Case(golden=golden, adapter=load_adapter(manifest, target, "cpu"), network=network, folder=target)


def alone(case: Case) -> ModelAdapter:
    return OtherTexts(case, lambda texts: torch.cat([case.adapter.encode_texts([text]) for text in texts]))


def masked_mean(case: Case) -> ModelAdapter:
    def encode(texts: Sequence[str]) -> torch.Tensor:
        states, tokens = case.states(texts)
        averaged = torch.stack([states[1], states[2], states[-1]]).mean(dim=0)
        kept = tokens.attended[..., None]
        return case.projected((averaged * kept).sum(dim=1) / kept.sum(dim=1))

    return OtherTexts(case, encode)


def last_state(case: Case) -> ModelAdapter:
    return OtherTexts(case, lambda texts: case.projected(case.states(texts)[0][-1].mean(dim=1)))


def first_token(case: Case) -> ModelAdapter:
    assert isinstance(case.network, SiglipModel)
    text_model = case.network.text_model

    def encode(texts: Sequence[str]) -> torch.Tensor:
        return unit(text_model.head(text_model(input_ids=case.adapter.tokenize(texts).ids).last_hidden_state[:, 0]))

    return OtherTexts(case, encode)


def erf_gelu(case: Case) -> ModelAdapter:
    return case.with_facts("architecture", image_activation="gelu", text_activation="gelu")


def other_filter(case: Case) -> ModelAdapter:
    other = "bicubic" if case.manifest.preprocessing.interpolation == "bilinear" else "bilinear"
    return case.with_facts("preprocessing", interpolation=other)


ADAPTERS: Mapping[str, Callable[[Case], ModelAdapter]] = {
    "cased": lambda case: case.with_facts("tokenizer", lower_case=False),
    "erf gelu": erf_gelu,
    "first token": first_token,
    "last hidden only": last_state,
    "masked mean": masked_mean,
    "no antialias": lambda case: case.with_facts("preprocessing", antialias=False),
    "no padding": alone,
    "no padding to square": lambda case: case.resized(resize_mode="squash"),
    "other filter": other_filter,
    "scale not clamped": lambda case: case.with_facts("architecture", logit_scale={"kind": "stored"}),
    "shortest+crop": lambda case: case.resized(resize_mode="shortest", crop_offset="round"),
}
RULES: Mapping[str, Callable[[Golden], Golden]] = {  # how scores are made of vectors, which no adapter does
    "class renormalised": lambda golden: replace(golden, axes={**golden.axes, "class_embeddings": "class,dim (L2-normalised)"}),
    "softmax": lambda golden: replace(golden, scoring={**golden.scoring, "kind": "softmax"}),
}


def seen(case: Case, mistake: str) -> str:
    with torch.inference_mode():
        if mistake in RULES:
            return check(RULES[mistake](case.golden), case.adapter).looks_like
        return check(case.golden, ADAPTERS[mistake](case)).looks_like


def test_without_a_mistake_everything_agrees_in_full_and_in_half_precision(case: Case) -> None:
    assert check(case.golden, case.adapter).ok
    for precision, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        with torch.autocast("cpu", dtype):
            report = check(case.golden, case.adapter, precision=precision)  # type: ignore[arg-type]  # one of the literals
        assert report.ok, [f"{array.array} {array.problem}" for array in report.arrays if not array.ok]


def test_every_known_mistake_is_noticed_and_named(case: Case) -> None:
    known = {one.mistake for one in case.golden.mistakes}
    named = {mistake: seen(case, mistake) for mistake in known}
    assert {mistake: name for mistake, name in named.items() if name not in {mistake, SAME.get(mistake)}} == {}

"""Every mistake that the reference outputs of RET-CLIP, UniMed-CLIP and KEEP know is made on purpose, noticed and named."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from config.manifests import ModelManifest
from inference.adapters import Head, ModelAdapter, keep, load_adapter, ret_clip, unimed_clip
from inference.adapters.checkpoint import Checkpoint
from inference.adapters.dual_encoder import DualEncoder
from inference.device.precision import Precision
from inference.golden import Golden, check, read_golden
from inference.golden.folder import fixtures_in
from inference.importing import importer_of
from inference.importing.conversion import convert
from inference.tokenizers import Tokenize, Tokens
from tests.golden_fixtures import write_fixture

SHARED = os.environ.get("DICOM_NODE_SHARED")
FAMILIES = ("keep", "ret_clip", "unimed_clip")
KINDS = ("keep", "ret-clip", "unimed-clip")
CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    golden: Golden
    manifest: ModelManifest
    folder: Path

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(manifest=self.manifest, folder=self.folder, prefix="")

    def with_facts(self, section: str, **changes: object) -> ModelAdapter:
        values = self.manifest.model_dump(mode="json")
        return load_adapter(ModelManifest.model_validate(values | {section: values[section] | changes}), self.folder, "cpu")

    def resized(self, **changes: object) -> ModelAdapter:
        told = self.manifest.preprocessing
        common = {"image_size": told.image_size, "mean": told.mean, "std": told.std, "interpolation": told.interpolation}
        values = self.manifest.model_dump(mode="json") | {"preprocessing": common | changes}
        return load_adapter(ModelManifest.model_validate(values), self.folder, "cpu")


def shared_fixtures() -> list[Path]:
    root = Path(SHARED or ".") / "golden"
    sets = [root, *(index.parent for index in sorted(root.glob("*/index.json")))]
    found = [fixture for folder in sets if (folder / "index.json").is_file() for fixture in fixtures_in(folder)]
    names = {name for family in FAMILIES for name in importer_of(family).GOLDEN_FAMILIES}
    return [fixture for fixture in found if read_golden(fixture).family in names] if SHARED else []


@pytest.fixture(scope="module", params=[*KINDS, *shared_fixtures()], ids=lambda one: one if isinstance(one, str) else f"shared-{one.name}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    work = tmp_path_factory.mktemp("case")
    folder = request.param if isinstance(request.param, Path) else write_fixture(request.param, work / request.param)
    return imported(read_golden(folder), work / "model")


def imported(golden: Golden, target: Path) -> Case:
    """The model of a fixture, made in this process of the published files."""
    target.mkdir()
    told: dict[str, object] = {"source": str(golden.folder / golden.checkpoint.folder), "name": "fixture", "golden": str(golden.folder)}
    told |= {"family": None, "supplement": str(golden.supplement) if golden.supplement else None, "facts": None, "folder": str(target)}
    only = [Path(file).relative_to(golden.checkpoint.folder).as_posix() for file in golden.checkpoint.files]
    answer = convert(told | {"description": None, "known_files": {}, "only": only})
    return Case(golden=golden, manifest=ModelManifest.model_validate(answer["manifest"]), folder=target)


def unmasked(tokenize: Tokenize) -> Tokenize:
    """Padding is read like words."""

    def all_attended(texts: Sequence[str]) -> Tokens:
        tokens = tokenize(texts)
        return Tokens(ids=tokens.ids, attended=torch.ones_like(tokens.ids))

    return all_attended


def without_mask(case: Case) -> ModelAdapter:
    if case.manifest.family == "ret_clip":
        binocular = ret_clip.RetClipAdapter(case.checkpoint, ret_clip.network(case.checkpoint), "cpu")
        binocular.tokenize = unmasked(binocular.tokenize)
        return binocular
    module = keep if case.manifest.family == "keep" else unimed_clip
    network = module.network(case.checkpoint, "cpu")
    encoder = encoding(case, network.encode_images, network.encode_texts, network.logit_scale)
    encoder.tokenize = unmasked(encoder.tokenize)
    return encoder


def encoding(
    case: Case,
    images: Callable[[torch.Tensor], torch.Tensor],
    texts: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scale_ln: torch.Tensor,
) -> DualEncoder:
    return DualEncoder(case.checkpoint, "cpu", encode_images=images, encode_texts=texts, logit_scale_ln=scale_ln)


def start_instead_of_pooler(case: Case) -> ModelAdapter:
    network = keep.network(case.checkpoint, "cpu")

    def starts(ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = network.text(input_ids=ids, attention_mask=attended).last_hidden_state[:, 0]
        return rows

    return encoding(case, network.encode_images, starts, network.logit_scale)


def without_layer_scale(case: Case) -> ModelAdapter:
    network = keep.network(case.checkpoint, "cpu")
    for name, parameter in network.visual.named_parameters():
        if name.endswith(".gamma"):
            parameter.fill_(1.0)
    return encoding(case, network.encode_images, network.encode_texts, network.logit_scale)


def with_heads(case: Case, change: Callable[[Head, Mapping[str, Head]], Head]) -> ModelAdapter:
    adapter = ret_clip.RetClipAdapter(case.checkpoint, ret_clip.network(case.checkpoint), "cpu")
    by_name = {head.name: head for head in adapter.heads}
    adapter.heads = tuple(change(head, by_name) for head in adapter.heads)
    return adapter


def eyes_swapped(head: Head, heads: Mapping[str, Head]) -> Head:
    del heads
    other = {"left": "right", "right": "left"}
    return replace(head, views=tuple(other[view] for view in head.views))


def texts_of_the_patient(head: Head, heads: Mapping[str, Head]) -> Head:
    return replace(head, texts=heads["patient"].texts) if head.name == "left" else head


MISTAKES: Mapping[str, Callable[[Case], ModelAdapter]] = {
    "squash": lambda case: case.resized(resize_mode="squash"),
    "shortest+crop": lambda case: case.resized(resize_mode="shortest", crop_offset="round"),
    "bilinear": lambda case: case.with_facts("preprocessing", interpolation="bilinear"),
    "CLIP mean/std": lambda case: case.with_facts("preprocessing", **CLIP),
    "wrong gelu": lambda case: case.with_facts("architecture", quick_gelu=not getattr(case.manifest.architecture, "quick_gelu", True)),
    "no quote clean-up": lambda case: case.with_facts("tokenizer", clean_up=["lower-case"]),
    "no mask": without_mask,
    "CLS instead of pooler": start_instead_of_pooler,
    "LayerScale dropped": without_layer_scale,
    "eyes swapped": lambda case: with_heads(case, eyes_swapped),
    "patient text head for left": lambda case: with_heads(case, texts_of_the_patient),
}


def test_without_a_mistake_everything_agrees_in_full_and_in_half_precision(case: Case) -> None:
    adapter = load_adapter(case.manifest, case.folder, "cpu")
    assert check(case.golden, adapter).ok
    halves: tuple[tuple[Precision, torch.dtype], ...] = (("float16", torch.float16), ("bfloat16", torch.bfloat16))
    for precision, dtype in halves:
        with torch.autocast("cpu", dtype):
            report = check(case.golden, adapter, precision=precision)
        assert report.ok, [f"{array.array} {array.problem}" for array in report.arrays if not array.ok]


def test_every_known_mistake_is_noticed_and_named(case: Case) -> None:
    known = {one.mistake for one in case.golden.mistakes}
    named = {mistake: check(case.golden, MISTAKES[mistake](case)).looks_like for mistake in known}
    assert named == {mistake: mistake for mistake in known}


def test_in_half_precision_a_vector_may_differ_by_a_share_of_its_length(tmp_path: Path) -> None:
    """Raw features are no unit vectors: what rounding moves grows with them; a unit vector's tolerance stays."""
    case = imported(read_golden(write_fixture("ret-clip", tmp_path / "ret-clip")), tmp_path / "model")
    golden, adapter = case.golden, load_adapter(case.manifest, case.folder, "cpu")
    found = {array.array: array.tolerance for array in check(golden, adapter, precision="float16").arrays}
    longest = np.linalg.norm(golden.expected["raw_visual_features"], axis=1).max()
    assert found["raw_visual_features"] == pytest.approx(0.006 * longest)
    assert longest > 2
    assert found["image_embeddings_patient"] == pytest.approx(0.006)
    assert {array.array: array.tolerance for array in check(golden, adapter).arrays}["raw_visual_features"] == 1e-5

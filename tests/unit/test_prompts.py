"""Prompt sets become vectors, and stay the same on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from config.catalogue import prompt_set_digest
from config.manifests import ModelManifest
from config.prompt_sets import PromptSet
from inference.prompts import (
    DegeneratePromptsError,
    LabelTexts,
    PromptEmbeddings,
    cache_name,
    embed_prompts,
    expand,
    read_cached,
    write_cached,
)
from tests.embedded import shipped


def manifest() -> ModelManifest:
    return shipped()


def prompts(**changes: object) -> PromptSet:
    label = {
        "name": "effusion",
        "concept": {"value": "60046008", "scheme": "SCT", "meaning": "Pleural effusion"},
        "positive": ["fluid", "effusion"],
        "negative": ["no fluid"],
    }
    facts: dict[str, object] = {"name": "chest", "version": 1, "recipe": "pair-softmax", "temperature": "model", "labels": [label]}
    return PromptSet.model_validate(facts | changes)


def texts(labels: int) -> LabelTexts:
    return LabelTexts(vectors=np.eye(labels, dtype=np.float32), counts=(1,) * labels)


class Texts:
    """A text tower that knows each text's vector and remembers what it was asked."""

    def __init__(self, vectors: dict[str, tuple[float, float]]) -> None:
        self.vectors = vectors
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(tuple(texts))
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


def test_each_text_goes_into_each_template_once() -> None:
    assert expand(["{}", "a {} scan"], ["chest", "head", "chest"]) == ("chest", "a chest scan", "head", "a head scan")


def test_braces_in_a_text_are_left_alone() -> None:
    assert expand(["a {}"], ["{set} of {0}"]) == ("a {set} of {0}",)


def test_a_label_is_the_normalised_mean_of_normalised_texts() -> None:
    tower = Texts({"fluid": (2, 0), "effusion": (0, 5), "no fluid": (-1, 0)})
    embeddings = embed_prompts(prompts(), tower, batch_size=2)
    np.testing.assert_allclose(embeddings.positive.vectors, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert embeddings.negative is not None
    np.testing.assert_allclose(embeddings.negative.vectors, [[-1, 0]])
    assert (embeddings.positive.counts, embeddings.negative.counts) == ((1,), (1,))
    assert tower.asked == [("fluid", "effusion"), ("no fluid",)]


@pytest.mark.parametrize(
    "changes", [{"ensemble": "scores"}, {"ensemble": "highest"}, {"recipe": "concept-mean"}], ids=["scores", "highest", "concepts"]
)
def test_texts_that_are_scored_one_by_one_keep_their_own_unit_vectors(changes: dict[str, object]) -> None:
    tower = Texts({"fluid": (2, 0), "effusion": (0, 5), "no fluid": (-1, 0)})
    embeddings = embed_prompts(prompts(**changes), tower, batch_size=8)
    np.testing.assert_allclose(embeddings.positive.vectors, [[1, 0], [0, 1]])
    assert embeddings.positive.counts == (2,)


def test_terms_are_ordered_by_template_and_references_stand_as_they_are() -> None:
    words = {"an effusion": (1, 0), "a fluid": (0, 1), "an fluid": (1, 1), "a effusion": (-1, 0), "a chest": (0, -1), "b": (1, 0)}
    label = {"name": "x", "concept": {"value": "1", "scheme": "SCT", "meaning": "x"}, "positive": ["fluid", "effusion"]}
    asked = prompts(
        recipe="target-versus-reference",
        templates=("a {}", "an {}"),
        reference=("a chest", "b"),
        reference_pairing="template",
        labels=[label],
    )
    embeddings = embed_prompts(asked, Texts(words), batch_size=8)
    np.testing.assert_allclose(embeddings.positive.vectors, [[0, 1], [-1, 0], [0.5**0.5, 0.5**0.5], [1, 0]], rtol=1e-6)
    assert embeddings.reference is not None
    np.testing.assert_allclose(embeddings.reference, [[0, -1], [1, 0]])


def test_prompts_that_cancel_out_or_give_no_number_are_refused() -> None:
    for vector in ((-1.0, 0.0), (float("nan"), 0.0), (0.0, 0.0)):
        with pytest.raises(DegeneratePromptsError, match="reword"):
            embed_prompts(prompts(), Texts({"fluid": (1, 0), "effusion": vector, "no fluid": (0, 1)}), batch_size=8)


def test_the_cache_name_changes_with_everything_that_changes_the_vectors() -> None:
    model = manifest()
    other_weights = model.weights.model_copy(update={"sha256": "f" * 64})
    other_architecture = model.architecture.model_copy(update={"quick_gelu": True})
    other_tokenizer = model.tokenizer.model_copy(update={"context_length": 77})
    names = [
        cache_name(prompts(), model, "image"),
        cache_name(prompts(version=2), model, "image"),
        cache_name(prompts(templates=("a {}",)), model, "image"),
        cache_name(prompts(), model, "patient"),
        cache_name(prompts(), model.model_copy(update={"weights": other_weights}), "image"),
        cache_name(prompts(), model.model_copy(update={"architecture": other_architecture}), "image"),
        cache_name(prompts(), model.model_copy(update={"tokenizer": other_tokenizer}), "image"),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == cache_name(prompts(), manifest(), "image")


@pytest.mark.parametrize("negative", [None, texts(3)])
@pytest.mark.parametrize("reference", [None, np.eye(3, dtype=np.float32)])
def test_kept_embeddings_come_back_bit_by_bit(tmp_path: Path, negative: LabelTexts | None, reference: NDArray[np.float32] | None) -> None:
    path = tmp_path / "cache" / "x.safetensors"
    several = LabelTexts(vectors=np.random.default_rng(0).random((6, 3), dtype=np.float32), counts=(1, 3, 2))
    write_cached(path, PromptEmbeddings(positive=several, negative=negative, reference=reference))
    found = read_cached(path, labels=3)
    assert found is not None
    np.testing.assert_array_equal(found.positive.vectors, several.vectors)
    assert found.positive.counts == several.counts
    assert (found.negative is None) == (negative is None)
    assert (found.reference is None) == (reference is None)
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_a_damaged_cache_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_cached(path, PromptEmbeddings(positive=texts(3), negative=None))
    whole = path.read_bytes()
    assert read_cached(path, labels=3) is not None
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        found = read_cached(path, labels=3)
        assert found is None or (found.positive.vectors == np.eye(3)).all(), position
    for length in (0, 7, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_cached(path, labels=3) is None
    path.write_bytes(whole)
    assert read_cached(path, labels=4) is None
    assert read_cached(tmp_path / "absent", labels=3) is None


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"recipe": "sigmoid"}, "has no use for negative texts: effusion"),
        ({"recipe": "multi-class-softmax"}, "has no use for negative texts: effusion"),
        ({"recipe": "target-versus-reference"}, "has no use for negative texts: effusion"),
        ({"reference": ("a chest",)}, "reference belongs to the recipe target-versus-reference"),
        ({"reference_pairing": "template", "templates": ("a {}", "an {}")}, "one reference for each template: 2"),
        ({"recipe": "concept-mean", "ensemble": "highest"}, "says itself how texts are averaged"),
        ({"level": "patient"}, "level patient needs a head that sees all views: effusion"),
        ({"language": "Chinese!"}, "language"),
    ],
)
def test_a_prompt_set_that_contradicts_its_recipe_is_refused(changes: dict[str, object], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        prompts(**changes)


def test_a_sigmoid_without_the_models_temperature_is_refused() -> None:
    label = prompts().labels[0].model_dump(mode="json") | {"negative": []}
    with pytest.raises(ValidationError, match="needs temperature model"):
        prompts(recipe="sigmoid", temperature="none", labels=[label])


@pytest.mark.parametrize(
    "change", [{"ensemble": "scores"}, {"head": "left"}, {"language": "zh"}, {"source": "ours"}, {"recipe": "concept-mean"}]
)
def test_everything_that_a_prompt_set_says_is_part_of_its_digest(change: dict[str, object]) -> None:
    assert prompt_set_digest(prompts(**change)) != prompt_set_digest(prompts())

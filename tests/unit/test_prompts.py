"""Prompt sets become vectors, and stay the same on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from config.schema import ModelManifest, PromptSet
from inference.prompts import DegeneratePromptsError, PromptEmbeddings, cache_name, embed_prompts, expand, read_cached, write_cached
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
    np.testing.assert_allclose(embeddings.positive, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert embeddings.negative is not None
    np.testing.assert_allclose(embeddings.negative, [[-1, 0]])
    assert tower.asked == [("fluid", "effusion"), ("no fluid",)]


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


@pytest.mark.parametrize("negative", [None, np.eye(3, dtype=np.float32)])
def test_kept_embeddings_come_back_bit_by_bit(tmp_path: Path, negative: NDArray[np.float32] | None) -> None:
    path = tmp_path / "cache" / "x.safetensors"
    made = PromptEmbeddings(positive=np.random.default_rng(0).random((3, 3), dtype=np.float32), negative=negative)
    write_cached(path, made)
    found = read_cached(path, labels=3)
    assert found is not None
    np.testing.assert_array_equal(found.positive, made.positive)
    assert (found.negative is None) == (negative is None)
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_a_damaged_cache_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_cached(path, PromptEmbeddings(positive=np.eye(3, dtype=np.float32), negative=None))
    whole = path.read_bytes()
    assert read_cached(path, labels=3) is not None
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        found = read_cached(path, labels=3)
        assert found is None or (found.positive == np.eye(3)).all(), position
    for length in (0, 7, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_cached(path, labels=3) is None
    path.write_bytes(whole)
    assert read_cached(path, labels=4) is None
    assert read_cached(tmp_path / "absent", labels=3) is None

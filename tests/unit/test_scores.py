"""The recipes turn cosines into scores, whatever the vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from inference.scores import multi_class_softmax, pair_softmax, pool, score

Vectors = NDArray[np.float32]


def units(rows: int) -> st.SearchStrategy[Vectors]:
    raw = arrays(np.float32, (rows, 4), elements=st.floats(-1, 1, width=32))
    long_enough = raw.filter(lambda vectors: bool((np.linalg.norm(vectors, axis=1) > 0.1).all()))
    return long_enough.map(lambda vectors: vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


scales = st.floats(0.5, 100)


@given(units(3), units(5), scales)
def test_shares_of_exclusive_kinds_add_up_to_one(images: Vectors, labels: Vectors, scale: float) -> None:
    shares = multi_class_softmax(images, labels, scale=scale)
    assert shares.shape == (3, 5)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares.max(axis=1) == shares[np.arange(3), (images.astype(float) @ labels.T.astype(float)).argmax(axis=1)]).all()


@given(units(3), units(2), units(2), scales)
def test_exchanging_positive_and_negative_prompts_gives_the_complement(
    images: Vectors, positive: Vectors, negative: Vectors, scale: float
) -> None:
    there = pair_softmax(images, positive, negative, scale=scale)
    assert there.shape == (3, 2)
    assert ((there >= 0) & (there <= 1)).all()
    np.testing.assert_allclose(there + pair_softmax(images, negative, positive, scale=scale), 1)


@given(units(4), units(1), units(1), scales)
def test_a_pair_is_a_choice_between_two_kinds(images: Vectors, positive: Vectors, negative: Vectors, scale: float) -> None:
    both = multi_class_softmax(images, np.concatenate([positive, negative]), scale=scale)
    np.testing.assert_allclose(pair_softmax(images, positive, negative, scale=scale)[:, 0], both[:, 0], atol=1e-12)


@given(units(4), units(3), units(3), scales)
def test_the_score_of_an_image_does_not_depend_on_the_images_beside_it(
    images: Vectors, positive: Vectors, negative: Vectors, scale: float
) -> None:
    together = pair_softmax(images, positive, negative, scale=scale)
    alone = [pair_softmax(images[row : row + 1], positive, negative, scale=scale)[0] for row in range(4)]
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_a_worked_pair_and_a_worked_choice() -> None:
    image = np.array([[1, 0]], dtype=np.float32)
    positive, negative = np.array([[0.8, 0.6]], dtype=np.float32), np.array([[0.6, 0.8]], dtype=np.float32)
    assert pair_softmax(image, positive, negative, scale=10)[0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert multi_class_softmax(image, np.concatenate([positive, negative]), scale=1)[0, 0] == pytest.approx(0.549834, abs=1e-6)


def test_an_embedding_that_is_no_unit_vector_is_refused() -> None:
    good = np.array([[1, 0]], dtype=np.float32)
    for bad in (np.array([[2, 0]]), np.array([[np.nan, 0]]), np.array([[0, 0]])):
        with pytest.raises(ValueError, match="not of unit length"):
            multi_class_softmax(bad.astype(np.float32), good, scale=1)
        with pytest.raises(ValueError, match="not of unit length"):
            pair_softmax(good, good, bad.astype(np.float32), scale=1)


def test_vectors_of_different_spaces_and_impossible_scales_are_refused() -> None:
    two, three = np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="one space"):
        multi_class_softmax(two, three, scale=1)
    with pytest.raises(ValueError, match="not positive"):
        multi_class_softmax(two, two, scale=0)
    with pytest.raises(ValueError, match="differ in shape"):
        pair_softmax(two, two, two[:1], scale=1)


def test_pairs_without_negative_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        score("pair-softmax", np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), None, scale=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_pooled_score_lies_between_mean_and_maximum(values: list[float]) -> None:
    assert sum(values) / len(values) - 1e-9 <= pool(values) <= max(values) + 1e-9


def test_a_series_is_pooled_over_its_three_highest_slices() -> None:
    assert pool([0.1, 0.9, 0.2, 0.6, 0.3]) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="nothing to pool"):
        pool([])

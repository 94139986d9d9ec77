"""The recipes turn cosines into scores, whatever the vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from inference.scores import (
    concept_mean,
    ensemble_mean,
    logits,
    multi_class_softmax,
    over_texts,
    pair_softmax,
    pool,
    sigmoid,
    target_versus_reference,
)

Vectors = NDArray[np.float32]
Logits = NDArray[np.float64]


def units(rows: int) -> st.SearchStrategy[Vectors]:
    raw = arrays(np.float32, (rows, 4), elements=st.floats(-1, 1, width=32))
    long_enough = raw.filter(lambda vectors: bool((np.linalg.norm(vectors, axis=1) > 0.1).all()))
    return long_enough.map(lambda vectors: vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def some_logits(rows: int, columns: int) -> st.SearchStrategy[Logits]:
    return arrays(np.float64, (rows, columns), elements=st.floats(-200, 200))


scales = st.floats(0.5, 100)


@given(units(3), units(5), scales)
def test_shares_of_exclusive_kinds_add_up_to_one(images: Vectors, labels: Vectors, scale: float) -> None:
    shares = multi_class_softmax(logits(images, labels, scale=scale))
    assert shares.shape == (3, 5)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares.max(axis=1) == shares[np.arange(3), (images.astype(float) @ labels.T.astype(float)).argmax(axis=1)]).all()


@given(some_logits(3, 2), some_logits(3, 2))
def test_exchanging_positive_and_negative_prompts_gives_the_complement(positive: Logits, negative: Logits) -> None:
    there = pair_softmax(positive, negative)
    assert there.shape == (3, 2)
    assert ((there >= 0) & (there <= 1)).all()
    np.testing.assert_allclose(there + pair_softmax(negative, positive), 1)


@given(some_logits(4, 1), some_logits(4, 1))
def test_a_pair_is_a_choice_between_two_kinds(positive: Logits, negative: Logits) -> None:
    both = multi_class_softmax(np.concatenate([positive, negative], axis=1))
    np.testing.assert_allclose(pair_softmax(positive, negative)[:, 0], both[:, 0], atol=1e-12)


@given(units(4), units(3), units(3), scales)
def test_the_score_of_an_image_does_not_depend_on_the_images_beside_it(
    images: Vectors, positive: Vectors, negative: Vectors, scale: float
) -> None:
    def shares(some: Vectors) -> Logits:
        return pair_softmax(logits(some, positive, scale=scale), logits(some, negative, scale=scale))

    np.testing.assert_allclose(shares(images), [shares(images[row : row + 1])[0] for row in range(4)], atol=1e-12)


@given(some_logits(3, 4))
def test_a_sigmoid_judges_each_label_alone_and_never_overflows(of_labels: Logits) -> None:
    scores = sigmoid(of_labels)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores + sigmoid(-of_labels), 1)
    np.testing.assert_array_equal(sigmoid(of_labels[:, :1]), scores[:, :1])


@given(units(3), units(6), scales)
def test_the_mean_over_texts_is_the_logit_of_the_mean_vector_as_it_is(images: Vectors, texts: Vectors, scale: float) -> None:
    means = np.stack([texts[:1].mean(axis=0), texts[1:4].mean(axis=0), texts[4:].mean(axis=0)]).astype(float)
    found = over_texts(logits(images, texts, scale=scale), (1, 3, 2), "mean")
    np.testing.assert_allclose(found, scale * (images.astype(float) @ means.T), atol=1e-4)


def test_the_highest_text_of_a_label_counts_where_a_recipe_says_so() -> None:
    of_texts = np.array([[1.0, 5.0, 2.0, -1.0, -3.0]])
    np.testing.assert_array_equal(over_texts(of_texts, (3, 2), "highest"), [[5, -1]])
    np.testing.assert_allclose(over_texts(of_texts, (3, 2), "mean"), [[8 / 3, -2]])
    for counts in ((3, 1), (5, 0), ()):
        with pytest.raises(ValueError, match="texts cannot be"):
            over_texts(of_texts, counts, "mean")


def test_concepts_are_scored_one_by_one_and_then_averaged() -> None:
    positive, negative = np.array([[4.0, 0.0, 3.0]]), np.array([[1.0, 1.0, 2.0]])
    against = concept_mean(positive, (2, 1), negative, (1, 2))
    np.testing.assert_allclose(against, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-1.5))]])
    among = concept_mean(positive, (2, 1), None, ())
    np.testing.assert_allclose(among, [[1 / (1 + np.e), np.e / (1 + np.e)]])


def test_the_concept_score_is_computed_as_its_publisher_does() -> None:
    """MONET: softmax([target / T, reference / T])[0] for each template, then the mean over templates."""
    rng, temperature = np.random.default_rng(3), 1 / np.exp(4.5944)
    targets, reference = rng.uniform(0.1, 0.3, (2, 3, 4)), rng.uniform(0.1, 0.3, (2, 4))
    expected = np.empty((2, 3))
    for image in range(2):
        for label in range(3):
            both = np.exp(np.stack([targets[image, label] / temperature, reference[image] / temperature]))
            expected[image, label] = (both[0] / both.sum(axis=0)).mean()
    found = target_versus_reference(targets / temperature, reference / temperature, pairing="template")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="make no pairs"):
        target_versus_reference(targets, reference[:, :3], pairing="template")


def test_a_label_against_all_references_together_has_its_share_of_the_whole() -> None:
    found = target_versus_reference(np.array([[[2.0]]]), np.array([[1.0, 0.0]]), pairing="all")
    np.testing.assert_allclose(found, [[np.e**2 / (np.e**2 + np.e + 1)]])


def test_an_ensemble_is_the_mean_of_its_members_scores() -> None:
    np.testing.assert_allclose(ensemble_mean([np.array([0.2, 0.4]), np.array([0.6, 0.4])]), [0.4, 0.4])
    with pytest.raises(ValueError, match="no scores"):
        ensemble_mean([])


def test_a_worked_pair_and_a_worked_choice() -> None:
    image = np.array([[1, 0]], dtype=np.float32)
    positive, negative = np.array([[0.8, 0.6]], dtype=np.float32), np.array([[0.6, 0.8]], dtype=np.float32)
    pair = pair_softmax(logits(image, positive, scale=10), logits(image, negative, scale=10))
    assert pair[0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    choice = multi_class_softmax(logits(image, np.concatenate([positive, negative]), scale=1))
    assert choice[0, 0] == pytest.approx(0.549834, abs=1e-6)
    assert sigmoid(logits(image, positive, scale=10, bias=-8))[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_an_embedding_that_is_no_unit_vector_is_refused() -> None:
    good = np.array([[1, 0]], dtype=np.float32)
    for bad in (np.array([[2, 0]]), np.array([[np.nan, 0]]), np.array([[0, 0]])):
        for images, texts in ((bad.astype(np.float32), good), (good, bad.astype(np.float32))):
            with pytest.raises(ValueError, match="not of unit length"):
                logits(images, texts, scale=1)


def test_vectors_of_different_spaces_and_impossible_scales_are_refused() -> None:
    two, three = np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="one space"):
        logits(two, three, scale=1)
    with pytest.raises(ValueError, match="not positive"):
        logits(two, two, scale=0)
    with pytest.raises(ValueError, match="differ in shape"):
        pair_softmax(np.zeros((2, 2)), np.zeros((2, 1)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_pooled_score_lies_between_mean_and_maximum(values: list[float]) -> None:
    assert sum(values) / len(values) - 1e-9 <= pool(values) <= max(values) + 1e-9


def test_a_series_is_pooled_over_its_three_highest_slices() -> None:
    assert pool([0.1, 0.9, 0.2, 0.6, 0.3]) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="nothing to pool"):
        pool([])

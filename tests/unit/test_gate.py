"""The gate reads which kind of image the pixels show."""

import pytest

from config import load
from config.prompt_sets import PromptSet
from inference.findings import ImageRef, Score
from inference.gate import read_gate
from tests.embedded import FINDINGS

IMAGE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="2.25.1")
_, CATALOGUE = load(None)
KINDS = CATALOGUE.prompt_set("kind-of-image")


def shares(**given: float) -> tuple[Score, ...]:
    return tuple(Score(label=label.name, value=given.get(label.name.replace("-", "_"), 0.0), image=IMAGE) for label in KINDS.labels)


def test_the_likeliest_kind_is_named_in_words() -> None:
    reading = read_gate([shares(hand_radiograph=0.93, chest_radiograph=0.07)], expect=["chest-radiograph"], prompt_set=KINDS)
    assert (reading.likeliest.words, reading.likeliest.share, reading.likeliest.foreign) == ("HAND RADIOGRAPH", 0.93, False)
    assert [kind.words for kind in reading.expected] == ["CHEST RADIOGRAPH"]
    assert reading.expected_probability == 0.07


def test_what_is_no_image_of_a_patient_is_named_in_plain_words() -> None:
    reading = read_gate([shares(document=0.9, chest_radiograph=0.1)], expect=["chest-radiograph"], prompt_set=KINDS)
    assert (reading.likeliest.words, reading.likeliest.foreign) == ("a scanned document", True)


def test_expected_kinds_count_together_and_the_likeliest_of_them_counts_for_the_image() -> None:
    reading = read_gate([shares(chest_ct=0.3, abdomen_ct=0.35, head_ct=0.35)], expect=["chest-ct", "abdomen-ct"], prompt_set=KINDS)
    assert reading.expected_probability == pytest.approx(0.65)
    assert reading.likeliest_expected is not None
    assert reading.likeliest_expected.label == "abdomen-ct"


def test_a_series_is_read_by_the_mean_of_its_slices() -> None:
    slices = [shares(chest_ct=0.9, head_ct=0.1), shares(chest_ct=0.2, head_ct=0.8), shares(chest_ct=1.0)]
    reading = read_gate(slices, expect=["chest-ct"], prompt_set=KINDS)
    assert reading.expected_probability == pytest.approx(0.7)
    assert reading.likeliest.words == "CHEST CT"


def test_without_expectation_the_gate_only_tells_what_it_sees() -> None:
    reading = read_gate([shares(knee_mr=0.6)], expect=[], prompt_set=KINDS)
    assert (reading.expected, reading.expected_probability, reading.likeliest_expected) == ((), 0, None)
    assert reading.likeliest.label == "knee-mr"


def test_a_gate_that_cannot_be_read_is_an_error_and_not_an_answer() -> None:
    with pytest.raises(ValueError, match="no kind 'foot'"):
        read_gate([shares()], expect=["foot"], prompt_set=KINDS)
    with pytest.raises(ValueError, match="at least one frame"):
        read_gate([], expect=["chest-ct"], prompt_set=KINDS)
    with pytest.raises(ValueError, match="cannot be a gate"):
        read_gate([shares()], expect=["chest-ct"], prompt_set=pairs())


def pairs() -> PromptSet:
    return CATALOGUE.prompt_set(FINDINGS)

"""The gate reads which kind of image the pixels show, and whether an image lies on its side."""

import numpy as np
import pytest

from config import load
from config.schema import PromptSet
from inference.findings import ImageRef, QualityGrade, Score
from inference.gate import GateReading, read_gate
from inference.orientation import rotated_verdict, rotation_of, turned_views
from tests.phantoms import as_frame, chest_radiograph

IMAGE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="2.25.1")
_, CATALOGUE = load(None)
ANATOMY = CATALOGUE.prompt_set("anatomy")


def shares(**given: float) -> tuple[Score, ...]:
    return tuple(Score(label=label.name, value=given.get(label.name.replace("-", "_"), 0.0), image=IMAGE) for label in ANATOMY.labels)


def test_the_likeliest_kind_is_named_in_words() -> None:
    reading = read_gate([shares(hand_radiograph=0.93, chest_radiograph=0.07)], expect=["chest-radiograph"], prompt_set=ANATOMY)
    assert (reading.looks_like, reading.looks_like_probability) == ("HAND RADIOGRAPH", 0.93)
    assert (reading.expected, reading.expected_probability) == (("CHEST RADIOGRAPH",), 0.07)


def test_expected_kinds_count_together() -> None:
    reading = read_gate([shares(chest_ct=0.4, abdomen_ct=0.35, head_ct=0.25)], expect=["chest-ct", "abdomen-ct"], prompt_set=ANATOMY)
    assert reading.expected_probability == pytest.approx(0.75)


def test_a_series_is_read_by_the_mean_of_its_slices() -> None:
    slices = [shares(chest_ct=0.9, head_ct=0.1), shares(chest_ct=0.2, head_ct=0.8), shares(chest_ct=1.0)]
    reading = read_gate(slices, expect=["chest-ct"], prompt_set=ANATOMY)
    assert reading.expected_probability == pytest.approx(0.7)
    assert reading.looks_like == "CHEST CT"


def test_a_gate_that_cannot_be_read_is_an_error_and_not_an_answer() -> None:
    with pytest.raises(ValueError, match="no kind 'foot'"):
        read_gate([shares()], expect=["foot"], prompt_set=ANATOMY)
    with pytest.raises(ValueError, match="at least one frame"):
        read_gate([], expect=["chest-ct"], prompt_set=ANATOMY)
    with pytest.raises(ValueError, match="cannot be a gate"):
        read_gate([shares()], expect=["chest-ct"], prompt_set=pairs())


def pairs() -> PromptSet:
    return CATALOGUE.prompt_set("chest-radiograph-demonstration")


def reading(probability: float) -> GateReading:
    return GateReading(
        expected_probability=probability, expected=("CHEST RADIOGRAPH",), looks_like="HAND RADIOGRAPH", looks_like_probability=0.9
    )


def test_a_chest_on_its_side_is_reported_with_the_way_to_turn_it() -> None:
    gate = CATALOGUE.manifest("anatomy-tiny").gate
    assert gate is not None
    rotation = rotation_of(gate, ["chest-radiograph"])
    assert rotation is not None
    verdict = rotated_verdict(reading(0.02), [reading(0.1), reading(0.2), reading(0.95)], IMAGE, rotation)
    assert verdict is not None
    assert (verdict.check, verdict.grade, verdict.code.value, verdict.measured) == ("rotated", QualityGrade.LIMITED, "111209", 0.95)
    assert "90 degrees clockwise" in verdict.sentence
    assert rotated_verdict(reading(0.3), [reading(0.1), reading(0.2), reading(0.6)], IMAGE, rotation) is None


def test_rotation_is_asked_only_of_kinds_that_have_an_upright() -> None:
    gate = CATALOGUE.manifest("anatomy-tiny").gate
    assert gate is not None
    assert rotation_of(gate, ["head-ct"]) is None
    assert rotation_of(gate, ["chest-radiograph", "hand-radiograph"]) is None
    assert rotation_of(gate.model_copy(update={"rotation": None}), ["chest-radiograph"]) is None


def test_four_quarter_turns_bring_an_image_back() -> None:
    upright = as_frame(chest_radiograph())
    quarter, half, three_quarters = turned_views(upright)
    np.testing.assert_array_equal(turned_views(quarter)[0].pixels, half.pixels)
    np.testing.assert_array_equal(turned_views(three_quarters)[0].pixels, upright.pixels)
    assert quarter.ref == upright.ref

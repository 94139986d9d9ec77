"""Line charts: what a reader sees, as text that can be compared."""

import math
import re
from xml.etree import ElementTree

import pytest

from inference.charts import Series, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def chart(*series, **how):
    return line_chart(series, **{"title": "Loss", "x_label": "step", "y_label": "nats"} | how)


def lines_in(picture):
    """The points of each drawn line, in pixels."""
    found = ElementTree.fromstring(picture).iter(f"{SVG}polyline")
    return [[tuple(map(float, pair.split(","))) for pair in line.get("points").split()] for line in found]


def words_in(picture):
    return [text.text for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_the_same_series_give_the_same_text():
    series = Series(name="training", points=((0, 1.5), (10, 0.25), (20, 0.125)))
    assert chart(series) == chart(series)


def test_a_higher_value_is_drawn_higher_and_a_later_one_further_right():
    ((first, second),) = lines_in(chart(Series(name="", points=((0, 1), (1, 2)))))
    assert second[0] > first[0]
    assert second[1] < first[1]


def test_the_ends_of_given_axes_are_the_corners_of_the_plot():
    diagonal = Series(name="chance", points=((0, 0), (1, 1)))
    half = Series(name="model", points=((0, 0), (0.5, 0.5)))
    long, short = lines_in(chart(diagonal, half, x_range=(0, 1), y_range=(0, 1)))
    assert short[1] == pytest.approx(((long[0][0] + long[1][0]) / 2, (long[0][1] + long[1][1]) / 2), abs=0.06)


def test_axes_are_numbered_in_round_steps_that_enclose_the_data():
    words = words_in(chart(Series(name="", points=((0, 0.31), (9, 4.69)))))
    assert words[1:7] == ["0", "1", "2", "3", "4", "5"]
    assert words[7:13] == ["0", "2", "4", "6", "8", "10"]


def test_small_steps_keep_their_decimals():
    assert {"0.90", "0.92", "0.98", "1.00"} <= set(words_in(chart(Series(name="", points=((0, 0.9), (1, 1))), y_range=(0.9, 1))))


def test_every_series_is_named_and_the_words_cannot_break_the_picture():
    words = words_in(chart(Series(name="a < b", points=((0, 1),)), Series(name="c & d", points=((1, 2),)), title='"t"'))
    assert {"a < b", "c & d", '"t"', "step", "nats"} <= set(words)


def test_what_could_not_be_computed_breaks_the_line_instead_of_being_drawn():
    runs = lines_in(chart(Series(name="", points=((0, 1), (1, 2), (2, math.nan), (3, 2), (4, 1)))))
    assert [len(run) for run in runs] == [2, 2]


def test_a_long_series_keeps_its_peaks_and_stays_small():
    points = tuple((x, 9.0 if x == 54_321 else (x % 7) / 7) for x in range(100_000))
    picture = chart(Series(name="", points=points), y_range=(0, 10))
    (drawn,) = lines_in(picture)
    heights = sorted(y for _, y in drawn)
    nine = lines_in(chart(Series(name="", points=((0, 9), (1, 9))), y_range=(0, 10)))[0][0][1]
    assert heights[0] == nine
    assert heights[1] > nine
    assert len(picture) < 60_000


def test_a_band_is_shaded_behind_the_lines():
    picture = chart(Series(name="mean", points=((0, 1), (1, 2)), band=((0, 0.5, 1.5), (1, 1.5, 2.5))))
    assert picture.index("<polygon") < picture.index("<polyline")


def test_a_line_that_never_changes_is_drawn():
    assert lines_in(chart(Series(name="", points=((0, 3), (1, 3)))))


def test_nothing_finite_and_empty_ranges_are_refused():
    with pytest.raises(ValueError, match="no finite point"):
        chart(Series(name="", points=((0, math.nan),)))
    with pytest.raises(ValueError, match="empty"):
        chart(Series(name="", points=((0, 1),)), y_range=(1, 1))


def test_a_chart_asks_for_nothing_from_outside():
    picture = chart(Series(name="a", points=((0, 1), (1, 2))))
    assert re.findall(r"(?:href|src|url|style)\s*[=(]", picture) == []

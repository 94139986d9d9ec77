"""The control chart of flags: how seldom it cries wolf, and how soon it notices, by calculation and by simulation."""

import random

import pytest

from dicom_node.flags.control_chart import falling, rising, studies_to_signal_falling, studies_to_signal_rising

RUNS = 1500


def simulated(chart, rate, *, watch_flags, seed):
    """Average number of studies to a signal over many runs, each from a fresh chart."""
    rng = random.Random(seed)
    total = 0
    for _ in range(RUNS):
        points = 0
        while not chart.signals(points):
            points = chart.after(points, watched=(rng.random() < rate) == watch_flags)
            total += 1
    return total / RUNS


@pytest.mark.parametrize(("expected", "noticed"), [(0.1, 0.2), (0.05, 0.1), (0.02, 0.05), (0.3, 0.5)])
def test_false_alarms_of_a_sound_model_are_as_rare_as_asked_for(expected, noticed):
    chart = rising(expected=expected, noticed=noticed, false_alarm_every=500)
    calculated = studies_to_signal_rising(chart.gain + 1, chart.limit, expected)
    assert calculated >= 500
    assert simulated(chart, expected, watch_flags=True, seed=1) == pytest.approx(calculated, rel=0.1)


@pytest.mark.parametrize(("expected", "noticed"), [(0.1, 0.2), (0.05, 0.1), (0.02, 0.05), (0.3, 0.5)])
def test_a_model_that_flags_too_much_is_noticed_soon(expected, noticed):
    chart = rising(expected=expected, noticed=noticed, false_alarm_every=10_000)
    calculated = studies_to_signal_rising(chart.gain + 1, chart.limit, noticed)
    assert calculated < 10_000 / 40
    assert simulated(chart, noticed, watch_flags=True, seed=2) == pytest.approx(calculated, rel=0.1)


def test_a_model_that_flags_everything_is_stopped_within_a_dozen_studies():
    chart = rising(expected=0.1, noticed=0.2, false_alarm_every=10_000)
    assert studies_to_signal_rising(chart.gain + 1, chart.limit, 0.999) < 12


@pytest.mark.parametrize(("expected", "noticed"), [(0.1, 0.02), (0.3, 0.1)])
def test_a_model_gone_blind_is_noticed_and_a_sound_one_left_alone(expected, noticed):
    chart = falling(expected=expected, noticed=noticed, false_alarm_every=1000)
    step = chart.loss + 1
    sound, blind = (studies_to_signal_falling(step, chart.limit, rate) for rate in (expected, noticed))
    assert sound >= 1000
    assert blind < 100
    assert simulated(chart, noticed, watch_flags=False, seed=3) == pytest.approx(blind, rel=0.1)
    assert simulated(falling(expected=expected, noticed=noticed, false_alarm_every=300), expected, watch_flags=False, seed=4) >= 270


def test_a_chart_is_as_small_as_its_rate_of_false_alarms_allows():
    chart = rising(expected=0.05, noticed=0.1, false_alarm_every=10_000)
    assert studies_to_signal_rising(chart.gain + 1, chart.limit - 1, 0.05) < 10_000

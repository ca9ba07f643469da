"""Spans and ticks of axes."""

import math
from itertools import pairwise

import pytest

from reidtune.report.axes import linear_span, linear_ticks, log_span, log_ticks


@pytest.mark.parametrize("values", [[5.0], [2.4e6, 2.5e6], [1.0, 1e9], [3.0, 30.0, 300.0]])
def test_a_logarithmic_axis_shows_all_with_room_and_at_least_a_factor_of_two(values):
    low, high = log_span(values)
    assert low < min(values) * 0.99 and high > max(values) * 1.01
    assert high / low >= 2


@pytest.mark.parametrize(
    "values", [[5120, 16384], [2.4e6, 2.6e6], [16384, 844_032], [1e3, 1e9], [33.0], [9.9e5, 1.01e6]]
)
def test_its_ticks_are_a_few_round_numbers_within(values):
    low, high = log_span(values)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(ticks)
    assert all(
        round(tick / 10 ** math.floor(math.log10(tick)), 6) in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
        for tick in ticks
    )


def test_an_axis_without_values_has_a_span():
    assert log_span([])[0] < log_span([])[1]
    assert linear_span([], 4.0)[0] < linear_span([], 4.0)[1]


@pytest.mark.parametrize(
    ("values", "least"), [([33.9], 4.0), ([33.9, 34.0], 4.0), ([10.0, 90.0], 4.0), ([-3.0, 2.0], 4.0)]
)
def test_a_linear_axis_shows_all_with_room(values, least):
    low, high = linear_span(values, least)
    assert low < min(values) and high > max(values)
    assert high - low >= least
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    steps = {round(after - before, 9) for before, after in pairwise(ticks)}
    assert len(steps) == 1
    step = steps.pop()
    assert round(step / 10 ** math.floor(math.log10(step)), 6) in (1, 2, 5)

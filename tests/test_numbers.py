from __future__ import annotations

import math

import pytest

from selfpretrain.numbers import (
    choose_digits,
    format_counted,
    format_duration,
    format_p,
    format_p_clause,
    format_score,
    format_signed,
    format_whole,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8421, ".842"), (-0.0314, "-.031"), (1.0, "1.000"), (-1.0, "-1.000"), (0.0, ".000"), (-0.0001, ".000"),
     (0.9999, "1.000"), (10.25, "10.250")],
)  # fmt: skip
def test_scores(value, text):
    assert format_score(value) == text


def test_signs():
    assert [format_signed(value) for value in (0.031, -0.031, 0.0, -0.0001)] == ["+.031", "-.031", ".000", ".000"]
    assert format_whole(-0.3) == "0"


def test_p():
    assert [format_p(p) for p in (0.0031, 0.0002, 0.9996, 1.0)] == [".003", "< .001", "1.000", "1.000"]
    assert format_p_clause(0.0031) == "p = .003"
    assert format_p_clause(0.0002) == "p < .001"


def test_counts():
    assert format_counted(1, "seed") == "1 seed"
    assert format_counted(3, "seed") == "3 seeds"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (48, "48 s"), (84, "1.4 min"), (2280, "38 min"), (18720, "5.2 h")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("half_width", "num_examples", "digits"),
    [(0.0123, None, 3), (0.0080, None, 4), (0.0080, 872, 3), (0.0080, 7600, 4), (0.0080, 1000, 3), (0.0080, 1001, 4),
     (0.12, 5000, 2), (0.0996, None, 2), (0.0994, None, 3), (1.4, None, 1), (14.0, 100, 0), (0.00001, 100, 2),
     (0.0, None, 3), (0.0, 40, 2), (math.inf, None, 3), (math.nan, 50, 2), (0.03, 1, 1)],
)  # fmt: skip
def test_digits_that_an_interval_deserves(half_width, num_examples, digits):
    assert choose_digits(half_width, num_examples) == digits


def test_half_a_width_has_two_significant_digits_at_most():
    for exponent in range(-6, 0):
        for lead in range(10, 100):
            half_width = lead * 10.0**exponent
            text = f"{half_width:.{choose_digits(half_width)}f}"
            assert len(text.replace(".", "").lstrip("0")) == 2

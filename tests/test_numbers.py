from __future__ import annotations

import pytest

from selfpretrain.numbers import (
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

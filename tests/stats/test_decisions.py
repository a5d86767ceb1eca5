"""Holm's adjustment by hand; equivalence needs the interval inside the margin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfpretrain.stats import compute_equivalence, compute_holm


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never below the one before
    np.testing.assert_allclose(compute_holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], atol=1e-15)
    np.testing.assert_allclose(compute_holm([0.6, 0.9]), [1.0, 1.0])
    np.testing.assert_allclose(compute_holm([0.02]), [0.02])
    assert len(compute_holm([])) == 0


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [float("nan")], 0.5])
def test_holm_refuses(bad: Any) -> None:
    with pytest.raises(ValueError, match="p_values"):
        compute_holm(bad)


def test_equivalence() -> None:
    delta = np.random.default_rng(0).normal(0.002, 0.004, 2000)
    within = compute_equivalence(delta, margin=0.01)
    assert within.equivalent and within.p < 0.05
    assert -0.01 < within.low < within.high < 0.01
    assert within.statement.startswith("equivalent within 0.01 (90% interval")
    wide = compute_equivalence(delta, margin=0.005)
    assert not wide.equivalent and "not shown" in wide.statement


def test_equivalence_never_claims_more_than_the_replicates_allow() -> None:
    assert compute_equivalence(np.zeros(10), margin=0.01).p == 0.1
    assert not compute_equivalence(np.zeros(10), margin=0.01).equivalent


@pytest.mark.parametrize("settings", [{"margin": 0.0}, {"margin": -1.0}, {"margin": 0.01, "alpha": 0.5}])
def test_equivalence_refuses(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"margin|alpha"):
        compute_equivalence(np.zeros(10), **settings)
    with pytest.raises(ValueError, match="finite"):
        compute_equivalence(np.array([np.nan]), margin=0.01)

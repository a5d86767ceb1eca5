"""Variance components: a textbook's table, hand-worked designs, simulated studies, and what cannot be told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats.components import (
    EXAMPLES,
    FINETUNING,
    Components,
    RunValues,
    average_runs,
    compute_run_values,
    estimate_components,
    estimate_example_components,
    estimate_run_components,
    sum_interactions,
)


def get_estimates(found: Components) -> dict[str, float]:
    return {part.source: part.estimate for part in found.parts}


def simulate(draw: Any, num_studies: int) -> list[Components]:
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(num_studies)]


def check_recovery(found: list[Components], truth: dict[str, float]) -> None:
    """The mean estimate is within three standard errors, and intervals cover about as often as they say."""
    for source, variance in truth.items():
        estimates = np.array([get_estimates(each)[source] for each in found])
        assert abs(estimates.mean() - variance) < 3 * estimates.std() / math.sqrt(len(found)), source
        parts = [each.find(source) for each in found]
        assert np.mean([part.low <= variance <= part.high for part in parts if part]) > 0.91, source


def test_a_textbook_table() -> None:
    """Snedecor and Cochran, calcium in turnip greens: 4 leaves, 4 determinations of each."""
    leaves = [[3.28, 3.09, 3.03, 3.03], [3.52, 3.48, 3.38, 3.38], [2.88, 2.80, 2.81, 2.76], [3.34, 3.38, 3.23, 3.26]]
    found = get_estimates(estimate_components(np.array(leaves), ["leaf"]))
    assert found == pytest.approx({"leaf": 0.0724, FINETUNING: 0.0066}, abs=5e-5)


def test_two_crossed_factors_by_hand() -> None:
    """Means of the cells 1 3 / 5 11, each with runs 1 below and 1 above it."""
    scores = np.array([[[0, 2], [2, 4]], [[4, 6], [10, 12]]], dtype=float)
    # SS init 8 x 3^2 = 72, data 8 x 2^2 = 32, both 8 x 1^2 = 8 with 1 degree of freedom each; within 8 over 4
    truth = {"init": (72 - 8) / 4, "data": (32 - 8) / 4, "init x data": (8 - 2) / 2, FINETUNING: 2.0}
    assert get_estimates(estimate_components(scores, ["init", "data"])) == pytest.approx(truth)


def test_missing_runs_by_hand() -> None:
    """Levels of 1, 2 and 3 runs: n0 = (6 - 14/6) / 2."""
    scores = np.array([2.0, 5.0, 7.0, 9.0, 10.0, 14.0])
    seeds = [0, 1, 1, 2, 2, 2]
    means = np.array([2.0, 6.0, 6.0, 11.0, 11.0, 11.0])
    between, within = ((means - scores.mean()) ** 2).sum() / 2, ((scores - means) ** 2).sum() / 3
    runs = RunValues(scores, np.zeros((6, 9)), 9, [{"seed": seed} for seed in seeds])
    found = get_estimates(estimate_run_components(runs))
    assert found["seed"] == pytest.approx((between - within) / ((6 - 14 / 6) / 2))
    assert found[FINETUNING] == pytest.approx(within)


def test_nested_studies() -> None:
    def draw(rng: np.random.Generator) -> Components:
        return estimate_components(0.02 * rng.normal(size=(5, 1)) + 0.01 * rng.normal(size=(5, 3)), ["seed"])

    check_recovery(simulate(draw, 300), {"seed": 4e-4, FINETUNING: 1e-4})


def test_two_crossed_factors() -> None:
    def draw(rng: np.random.Generator) -> Components:
        parts = [sd * rng.normal(size=shape) for sd, shape in
                 ((2, (5, 1, 1)), (1, (1, 4, 1)), (1.5, (5, 4, 1)), (1, (5, 4, 2)))]  # fmt: skip
        return estimate_components(sum(parts), ["init", "data"])

    check_recovery(simulate(draw, 300), {"init": 4.0, "data": 1.0, "init x data": 2.25, FINETUNING: 1.0})


def test_three_crossed_factors() -> None:
    shapes = {
        "init": (4, 1, 1, 1), "data": (1, 4, 1, 1), "mask": (1, 1, 4, 1), "init x data": (4, 4, 1, 1),
        "init x data x mask": (4, 4, 4, 1), FINETUNING: (4, 4, 4, 2),
    }  # fmt: skip
    truth = dict(zip(shapes, (4.0, 2.0, 1.0, 1.0, 0.5, 1.0), strict=True))

    def draw(rng: np.random.Generator) -> Components:
        scores = sum(math.sqrt(truth[name]) * rng.normal(size=shape) for name, shape in shapes.items())
        return estimate_components(scores, ["init", "data", "mask"])

    found = simulate(draw, 200)
    assert len(found[0].parts) == 8
    check_recovery(found, truth | {"init x mask": 0.0})


def test_examples_are_crossed_with_runs() -> None:
    shapes = ((4, 1, 1), (4, 2, 1), (1, 1, 100), (4, 1, 100), (4, 2, 100))
    sources = ("seed", FINETUNING, EXAMPLES, f"seed x {EXAMPLES}", f"{FINETUNING} x {EXAMPLES}")
    truth = dict(zip(sources, (9e-4, 4e-4, 0.04, 0.01, 0.04), strict=True))

    def draw(rng: np.random.Generator) -> Components:
        parts = zip(truth.values(), shapes, strict=True)
        return estimate_example_components(sum(math.sqrt(v) * rng.normal(size=s) for v, s in parts), ["seed"])

    found = simulate(draw, 300)
    assert tuple(part.source for part in found[0].parts) == sources
    check_recovery(found, truth)


def test_scores_alone_hold_what_runs_and_examples_do_together() -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 50))
    whole, scores = estimate_example_components(values, ["seed"]), estimate_components(values.mean(axis=2), ["seed"])
    for source in ("seed", FINETUNING):
        apart = get_estimates(whole)
        assert get_estimates(scores)[source] == pytest.approx(apart[source] + apart[f"{source} x {EXAMPLES}"] / 50)


def test_any_metric_by_the_bootstrap_agrees_with_what_each_example_adds() -> None:
    rng = np.random.default_rng(2)
    labels = np.ones(300, dtype=int)
    hard = rng.normal(size=300)
    predictions = (hard + 0.2 * rng.normal(size=(8, 1)) + rng.normal(size=(8, 300)) > -0.7).astype(int)
    levels = [{"seed": run // 2} for run in range(8)]
    by_draws = compute_run_values(predictions, labels, "accuracy", levels, num_replicates=4000)
    exact = estimate_example_components(predictions.reshape(4, 2, 300), ["seed"])
    found = estimate_run_components(by_draws)
    assert get_estimates(found)[EXAMPLES] == pytest.approx(get_estimates(exact)[EXAMPLES], rel=0.1)
    last = f"{FINETUNING} x {EXAMPLES}"
    assert get_estimates(found)[last] == pytest.approx(get_estimates(exact)[last], rel=0.05)
    correlated = compute_run_values(hard + rng.normal(size=(8, 300)), hard, "pearson", levels, num_replicates=400)
    assert get_estimates(estimate_run_components(correlated))[EXAMPLES] > 0


def test_constant_runs_count_as_in_comparisons() -> None:
    labels = np.arange(40.0)
    predictions = np.stack([labels, np.ones(40)])
    runs = compute_run_values(predictions, labels, "pearson", [{"seed": 0}, {"seed": 1}], num_replicates=200)
    assert list(runs.scores) == pytest.approx([1.0, 0.0])
    assert runs.deviations.shape == (2, 200) and (runs.deviations[1] == 0).all()


def test_the_interactions_of_a_mean() -> None:
    """What stands in a comparison's two parts: for six runs of three seeds a third and a sixth."""
    values = np.random.default_rng(1).normal(size=(3, 2, 60))
    found = estimate_example_components(values, ["seed"])
    rows = values.reshape(6, 60)
    runs = RunValues(
        rows.mean(axis=1), rows - rows.mean(axis=1, keepdims=True), 60, [{"seed": i // 2} for i in range(6)]
    )
    by_seed, by_run = (found.get_variance(f"{source} x {EXAMPLES}") for source in ("seed", FINETUNING))
    assert sum_interactions(runs, found) == pytest.approx(by_seed / 3 + by_run / 6)
    assert average_runs(runs) == pytest.approx(rows.mean(axis=0) - rows.mean())


def test_one_fine_tuning_each() -> None:
    found = estimate_components(np.array([[1.0], [2.0], [3.0]]), ["seed"])
    assert get_estimates(found) == {"seed": pytest.approx(1.0)} and found.holds_finetuning == "seed"
    crossed = estimate_components(np.random.default_rng(0).normal(size=(3, 3, 1)), ["init", "data"])
    assert [part.source for part in crossed.parts] == ["init", "data", "init x data"]
    assert crossed.holds_finetuning == "init x data"


def test_what_does_not_vary_is_left_out() -> None:
    one_seed = estimate_components(np.array([[1.0, 2.0, 3.0]]), ["seed"])
    assert get_estimates(one_seed) == {FINETUNING: pytest.approx(1.0)} and not one_seed.holds_finetuning
    no_factor = estimate_components(np.array([1.0, 2.0, 3.0]), [])
    assert get_estimates(no_factor) == get_estimates(one_seed)


def test_negative_estimates_count_as_0() -> None:
    found = estimate_components(np.array([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]), ["seed"]).find("seed")
    assert found is not None and found.estimate == pytest.approx(-1.0)
    assert (found.variance, found.sd, found.low) == (0.0, 0.0, 0.0)


def test_few_seeds_are_uncertain() -> None:
    """The interval of one mean square is the chi-square's."""
    from scipy.stats import chi2

    found = estimate_components(np.array([[1.0], [2.0], [3.0]]), ["seed"]).parts[0]
    assert (found.low, found.high) == pytest.approx(tuple(2 / chi2.ppf([0.975, 0.025], 2)), rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_components(np.ones((3, 2)), ["init", "data"]), "have shape (3, 2): 3 axes"),
        (lambda: estimate_example_components(np.ones((3, 2)), ["seed"]), "then examples"),
        (lambda: estimate_components(np.array([[1.0, np.nan]]), ["seed"]), "NaN or infinite"),
        (lambda: estimate_components(np.ones((1, 1)), ["seed"]), "1 run given"),
        (
            lambda: estimate_run_components(
                RunValues(np.ones(3), np.zeros((3, 5)), 5, [{"a": 0, "b": 0}, {"a": 0, "b": 1}, {"a": 1, "b": 0}])
            ),
            "3 runs of the 4 combinations of a x b are not equally many of each",
        ),
    ],
)
def test_what_tells_nothing_is_refused(call: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_undefined_is_refused():
    labels, rows = np.ones(40, int), np.tile(np.arange(40) % 2, (3, 1))
    levels = [{"seed": seed} for seed in range(3)]

    def rarely(_, predicted):
        """Where half are 1: on all examples, and in an eighth of the draws."""
        return 1.0 if predicted.sum() == 20 else np.nan

    with pytest.raises(UserError, match="the metric is undefined for run 1, are its predictions constant"):
        compute_run_values(np.stack([rows[0], labels, rows[2]]), labels, rarely, levels, 200)
    with pytest.raises(UserError, match=r"the metric is undefined in 1\d\d of 200 replicates"):
        compute_run_values(rows, labels, rarely, levels, 200)

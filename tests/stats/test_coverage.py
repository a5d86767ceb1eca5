"""Small studies with a known truth: t is right about as often as it says, percentiles at few seeds are not.

``python -m benchmarks coverage`` is the whole table; its draws are fixed, so nothing here depends on luck.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage_table import find_misses, get_highest_type1, render_coverage
from benchmarks.simulation import SCORES, World, draw_study
from selfpretrain.tasks.scores import compute_metric

NUM_STUDIES = 240


def simulate(num_seeds: int, num_examples: int, doubt: str, paired: bool, metric: str = "accuracy") -> dict:
    world = World(metric, num_seeds, num_examples, paired, **coverage.DOUBTS[doubt])
    return coverage.simulate_cell(world, NUM_STUDIES, 200, coverage.make_generator(world))


def compute_error(share: float, num_studies: float) -> float:
    return math.sqrt(share * (1 - share) / num_studies)


@pytest.mark.parametrize(
    ("num_seeds", "num_examples", "doubt", "paired", "metric"),
    [
        (3, 2000, "seeds", False, "accuracy"),
        (3, 2000, "seeds", True, "accuracy"),
        (3, 200, "examples", False, "accuracy"),
        (5, 1000, "seeds", True, "macro_f1"),
        (10, 500, "seeds", False, "mcc"),
        (10, 200, "examples", True, "pearson"),
    ],
)
def test_t_keeps_its_word(num_seeds: int, num_examples: int, doubt: str, paired: bool, metric: str) -> None:
    found = simulate(num_seeds, num_examples, doubt, paired, metric)["t"]
    assert found["coverage"] >= 0.93 - 2 * compute_error(0.93, NUM_STUDIES)
    assert found["single"] >= 0.91 - 2 * compute_error(0.91, NUM_STUDIES)
    highest = get_highest_type1(num_seeds)
    assert found["type1"] <= highest + 2 * compute_error(highest, 0.75 * NUM_STUDIES)


def test_percentiles_do_not_at_three_seeds() -> None:
    """Were the default percentiles again, the test above would fail: it covers too little where seeds matter most."""
    world = World("accuracy", 3, 3000, True, **coverage.SEED_HEAVY)
    levels, generator = [world.find_level(SCORES["accuracy"])] * 2, np.random.default_rng(0)
    studies = [draw_study(world, levels, generator) for _ in range(150)]
    rejected = {
        method: np.mean([coverage.get_two_sided_p(coverage.compare(s, world, method, 200, 0)) < 0.05 for s in studies])
        for method in coverage.METHODS
    }
    assert rejected["t"] <= 0.08 + 2 * compute_error(0.08, 150)
    assert rejected["percentile"] >= 0.1 > rejected["t"]


@pytest.mark.parametrize("metric", SCORES)
def test_the_truth_of_a_world_is_what_its_runs_reach(metric: str) -> None:
    world = World(metric, 40, 20_000, False, seed_sd=0.022, side_sd=0.3, num_finetunings=2)
    level = world.find_level(SCORES[metric])
    study = draw_study(world, [level], np.random.default_rng(1))
    scores = np.array([compute_metric(metric, study.labels, run) for run in study.predictions[0]])
    assert scores.mean() == pytest.approx(SCORES[metric], abs=0.02)  # three standard errors
    assert scores.mean() == pytest.approx(study.checkpoint_scores[0], abs=0.015)
    assert scores.std() == pytest.approx(0.022, rel=0.3)


def test_tables_name_what_misses() -> None:
    good = {"studies": 1000, "coverage": 0.95, "single": 0.94, "type1": 0.05, "width": 0.1, "by_examples": 0.3}
    row = {
        "metric": "accuracy",
        "doubt": "seeds",
        "paired": False,
        "examples": 1000,
        "seeds": 5,
        "t": good,
        "percentile": good,
    }
    bad = {**row, "seeds": 10, "t": {**good, "coverage": 0.90, "type1": 0.10}}
    assert find_misses([row]) == []
    first, second = find_misses([row, bad])
    assert first == "accuracy, seeds, unpaired, 1,000, 10 seeds: difference covered .900 (3.7 standard errors beyond)"
    assert "type I .100" in second
    where = {"machine": "here", "commit": "abc", "date": "2026-01-01", "command": "python", "minutes": 1.0}
    page = render_coverage({"accuracy": {**where, "rows": [row, bad]}})
    assert "Missed by: accuracy, seeds, unpaired, 1,000, 10 seeds" in page and "| .950 / .950 |" in page
    families = {**row, "t": {"families": 500, "wrong": 0.05}, "percentile": {"families": 100, "wrong": 0.3}}
    assert "All keep it" in render_coverage({"families": {**where, "rows": [families]}})
    families["t"] = {"families": 500, "wrong": 0.08}
    assert "Missed by: seeds, unpaired, 1,000, 5 seeds: .080." in render_coverage(
        {"families": {**where, "rows": [families]}}
    )
    assert "All 1 cells keep it" in render_coverage({"accuracy": {**where, "rows": [row]}})


def test_the_command_writes_every_part(tmp_path, capsys, monkeypatch) -> None:
    from benchmarks import __main__ as command

    monkeypatch.setattr(coverage, "SEEDS", (3, 4, 5))
    monkeypatch.setattr(coverage, "EXAMPLES", (50, 60, 70))
    monkeypatch.setattr(coverage, "LARGE", (20, 100))
    arguments = ["coverage", "simulations=20", f"results_dir={tmp_path}"]
    for part in coverage.PARTS:  # each is added to what is there
        assert command.main([*arguments, f"part={part}"]) == 0
    page = (tmp_path / "coverage.md").read_text(encoding="utf-8")
    assert page.count("\n## ") == len(coverage.PARTS) == page.count("`python -m benchmarks coverage simulations=20 ")
    assert capsys.readouterr().out.endswith(page)


@pytest.mark.parametrize(
    ("argument", "message"), [("part=bca", "part=bca is not known"), ("simulations=5", "at least 20")]
)
def test_what_measures_nothing_is_refused(argument: str, message: str, capsys) -> None:
    from benchmarks import __main__ as command

    assert command.main(["coverage", argument]) == 2
    assert message in capsys.readouterr().err

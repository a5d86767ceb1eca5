"""Procedures compared seed by seed: the numbers, the words, the table, and a whole study."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.config import StudyConfig
from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.comparisons import Difference, Interval, compute_paired
from selfpretrain.report.procedure_table import build_procedure_table
from selfpretrain.report.procedures import judge_interaction
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.runs.results import AlignedRuns, CellResult, read_runs
from selfpretrain.stats import Levels, compute_contrast, compute_holm, multibootstrap
from selfpretrain.stats.variance import Variance
from tests.report.conftest import give_levels

SCORES = {
    "none": [0.5, 0.52, 0.51], "own": [0.6, 0.66, 0.63], "muon:own": [0.7, 0.75, 0.74],
    "bookwiki": [0.8, 0.81, 0.84], "muon:bookwiki": [0.81, 0.81, 0.84],
}  # fmt: skip


FACTORS = {"init": 3, "data": 3}
GRID = [Levels((init, data)) for init in range(3) for data in range(3)]


def add_all(study, **more):
    for condition, scores in (SCORES | more).items():
        study.add(condition, scores)
    return study


def find(summary, name):
    return next(each for each in summary.procedures if each.name == name)


def test_a_pair_is_the_paired_comparison_of_the_public_function(fake_study):
    add_all(fake_study)
    found = find(summarize(fake_study.finish()), "muon:own - own")
    runs, _ = read_runs(fake_study.cells, fake_study.tasks["topics"])
    base, expt = runs.select("own"), runs.select("muon:own")
    expected = multibootstrap(
        (base.predictions, expt.predictions), base.labels, "accuracy", base_seeds=range(3), expt_seeds=range(3),
        paired=True, num_replicates=400,
    )  # fmt: skip
    delta = found.difference.delta
    assert (delta.point, delta.low, delta.high) == pytest.approx(
        (expected.delta.point, expected.delta.low, expected.delta.high)
    )
    assert found.difference.p == pytest.approx(expected.p)
    assert found.sides == pytest.approx((0.73, 0.63)) and found.difference.num_seeds == (3, 3)


def test_an_interaction_is_the_difference_of_the_differences(fake_study):
    summary = summarize(add_all(fake_study).finish(pairs=[["own", "none"]]))
    found = find(summary, "muon on own - muon on bookwiki")
    rows = {name: np.array(scores) for name, scores in SCORES.items()}
    by_seed = (rows["muon:own"] - rows["own"]) - (rows["muon:bookwiki"] - rows["bookwiki"])
    assert found.sides == pytest.approx((0.1, 0.01 / 3))
    assert found.difference.delta.point == pytest.approx(by_seed.mean())
    assert found.difference.variance.expt == pytest.approx(by_seed.var(ddof=1) / 3)
    # all are one family, and no sentence's
    ps = [each.difference.p for each in summary.procedures]
    assert [each.difference.p_holm for each in summary.procedures] == pytest.approx(list(compute_holm(ps)))
    assert len(ps) == 4
    plain = summarize(fake_study.finish())
    assert [claim.p_holm for claim in summary.list_claims()] == [claim.p_holm for claim in plain.list_claims()]
    assert len(summary.list_claims()) == 3 and plain.panels[0].verdict == summary.panels[0].verdict


def test_outcomes_and_what_is_shown(fake_study):
    for seed, (own, book) in enumerate(zip(SCORES["own"], SCORES["bookwiki"], strict=True)):
        fake_study.add("own", [own], first=seed).add("bookwiki", [book], first=seed)
        fake_study.add("muon:own", [own + 0.2], first=seed).add("muon:bookwiki", [book + 0.0025], first=seed)
    results = fake_study.finish(margin=0.2, num_replicates=1000)
    results.pretrain_flops.update({("tiny", "topics", "own"): 4e9, ("tiny", "topics", "muon:own"): 2e9})
    summary = summarize(results)
    outcomes = {each.name: each.outcome for each in summary.procedures}
    assert outcomes == {
        "muon:own - own": "better", "muon:bookwiki - bookwiki": "not worse", "muon on own - muon on bookwiki": "more",
    }  # fmt: skip
    (table,) = (table for table in build_tables(summary) if table.name == "procedures")
    first = dict(zip(table.header, table.rows[0], strict=True))
    assert first["first - second"] == "muon:own - own" and first["FLOPs"] == "0.50 x" and first["seeds"] == "3"
    assert (first["first"], first["second"], first["outcome"]) == (".830", ".630", "better")
    last = dict(zip(table.header, table.rows[-1], strict=True))
    assert (last["first"], last["second"], last["FLOPs"]) == ("+.200", "+.002", "-")
    numbers = dict(zip(table.csv_header, table.csv_rows[0], strict=True))
    assert (numbers["kind"], numbers["first"], numbers["first_flops"]) == ("pair", "muon:own", "2000000000.0")
    lines = " ".join(list_explanations(summary))
    assert "Procedures, seed by seed" in lines and "<procedure> on <text>" in lines and "released ones" not in lines


def test_crossed_seeds_are_levels_on_every_side(fake_study):
    """Also of a condition that has not all of the factors."""
    rng = np.random.default_rng(0)
    for condition, level in {"none": 0.5, "rotary:none": 0.52, "own": 0.6, "rotary:own": 0.62}.items():
        fake_study.add(condition, level + np.repeat(rng.normal(0, 0.03, 3), 3) + rng.normal(0, 0.01, 9))
    summary = summarize(fake_study.finish(seed_factors=FACTORS, pairs=[["own", "none"]]))
    runs, _ = read_runs(fake_study.cells, fake_study.tasks["topics"])
    for name, keys in {
        "rotary:none - none": ["rotary:none", "none"], "rotary:own - own": ["rotary:own", "own"], "own - none": ["own", "none"],
        "rotary on none - rotary on own": ["rotary:none", "none", "rotary:own", "own"],
    }.items():  # fmt: skip
        predictions = [runs.select(key).predictions for key in keys]
        weights = (1, -1, -1, 1)[: len(keys)]
        expected = compute_contrast(
            predictions, [GRID] * len(keys), weights, runs.labels, "accuracy", num_replicates=400
        )
        found = find(summary, name)
        assert (found.difference.p, found.difference.variance) == (expected.p, expected.variance), name
        assert found.difference.num_seeds == (9, 9)
        if not found.is_interaction:  # how many seeds would decide what is open is not told
            assert (found.decision.needed_seeds, found.decision.needed_examples) == (None, None)
    assert "about" not in "".join(row[7] for row in build_procedure_table(summary).rows)


def test_three_initialisations_are_not_taken_for_nine_seeds():
    """No difference of two conditions without a pretraining is found as rarely as it says: 2 % here, 21 % by numbers."""
    rng, study, labels = (
        np.random.default_rng(1),
        StudyConfig(seed_factors=FACTORS, num_replicates=200),
        np.ones(100, int),
    )

    def draw(condition):
        chance = 0.6 + np.repeat(rng.normal(0, 0.1, 3), 3)
        cells = [CellResult("m", condition, "t", seed, 0, "done", "", "", Path()) for seed in range(9)]
        right = (rng.random((9, 100)) < chance[:, None]).astype(int)
        return AlignedRuns([*map(str, range(100))], labels, right, tuple(give_levels(cell, study) for cell in cells))

    found = [compute_paired([draw("rotary:none"), draw("none")], (1, -1), "accuracy", study) for _ in range(100)]
    assert np.mean([each.difference.p < 0.05 for each in found]) < 0.1


def test_released_pretrainings_are_paired_by_their_number(fake_study):
    fake_study.add("own", [0.6, 0.66, 0.63]).add("released:theirs", [0.72, 0.75, 0.8], first=1)
    summary = summarize(fake_study.finish(pairs=[["released:theirs", "own"]]))
    (found,) = summary.procedures
    (line,) = [line for line in list_explanations(summary) if line.startswith("Procedures, seed by seed")]
    assert "paired by their number" in line and "released ones need share nothing else" in line
    assert (found.difference.num_seeds, found.unpaired_seeds) == ((2, 2), [0, 3])
    assert found.sides == pytest.approx(((0.72 + 0.75) / 2, (0.66 + 0.63) / 2))
    assert found.difference.variance.expt == pytest.approx(np.var([0.06, 0.12], ddof=1) / 2)
    assert not found.difference.is_conditional


def test_seeds_that_a_side_lacks_are_left_out_and_said(fake_study):
    fake_study.add("own", [0.6, 0.62, 0.64]).add("muon:own", [0.7, 0.72], first=1)
    fake_study.add("muon:own", [0], first=0, status="missing")
    summary = summarize(fake_study.finish())
    (found,) = summary.procedures
    assert (found.difference.num_seeds, found.unpaired_seeds) == ((2, 2), [0])
    assert found.sides == pytest.approx((0.71, 0.63))
    assert "topics, tiny, muon:own - own: without seed 0, of which a side has no run" in summary.warnings


def test_without_a_common_seed_or_a_score_there_is_no_number(fake_study):
    fake_study.add("own", [0.6]).add("own", [0], first=1, status="missing")
    fake_study.add("muon:own", [0.7], first=1).add("muon:own", [0], status="missing")
    fake_study.add("half:own", [0.7]).add("half:own", [0], first=1, status="failed", note="on purpose")
    summary = summarize(fake_study.finish())
    assert [each.problem for each in summary.procedures] == ["no seed in common", "half:own: failed (1 of 2)"]
    table = build_procedure_table(summary)
    assert [row[5] for row in table.rows] == ["no seed in common", "half:own: failed (1 of 2)"]
    assert {row[3] for row in table.rows} == {"-"} and {row[-1] for row in table.rows} == {"0"}


def test_one_seed_is_of_checkpoints(fake_study):
    (found,) = summarize(fake_study.add("own", [0.6]).add("muon:own", [0.7]).finish()).procedures
    assert (found.outcome, found.difference.p) == ("checkpoints only", None)


def test_a_study_without_procedures_leaves_no_trace(fake_study):
    summary = summarize(fake_study.add("none", [0.5, 0.6]).add("own", [0.6, 0.62]).finish())
    assert "procedures" not in summary.to_json()
    assert "procedures" not in [table.name for table in build_tables(summary)]


def test_models_and_tasks_are_rows_by_themselves_and_gaps_are_none(fake_study):
    for task in ("topics", "moods"):
        fake_study.add("own", [0.6, 0.62], task=task).add("muon:own", [0.7, 0.72], task=task)
    fake_study.add("own", [0.6, 0.62], model="other")  # models_of may leave the condition out
    summary = summarize(fake_study.finish())
    assert [(each.model, each.task) for each in summary.procedures] == [("tiny", "topics"), ("tiny", "moods")]


@pytest.mark.parametrize(("low", "point", "high", "p", "outcome"), [
    (0.02, 0.03, 0.04, 0.001, "more"), (-0.04, -0.03, -0.02, 0.001, "less"), (-0.005, 0.0, 0.005, 0.9, "alike"),
    (-0.02, 0.0, 0.005, 0.9, "undecided"), (-0.005, 0.0, 0.02, 0.9, "undecided"), (0.0, 0.01, 0.02, None, "checkpoints only"),
])  # fmt: skip
def test_an_interaction_in_a_word(low, point, high, p, outcome):
    variance = Variance(0.0, 1e-4, 0.0, (1, 3, 100))
    difference = Difference(Interval(point, low, high), p, (3, 3), variance, p_holm=p)
    assert judge_interaction(difference, 0.01, 0.05) == outcome


def test_a_condition_that_begins_elsewhere_has_no_gain_over_the_start(fake_study):
    fake_study.add("none", [0.5, 0.51]).add("mimetic", [0.55, 0.56], start="mimetic")
    fake_study.add("own", [0.6, 0.62], start="mimetic").add("muon:own", [0.6, 0.62], start="mimetic")
    fake_study.add("normal:own", [0.6, 0.62], start="normal")
    panel = summarize(fake_study.finish(init_scheme="mimetic")).panels[0]
    assert [panel.find(key).added is None for key in ("own", "muon:own", "normal:own")] == [False, False, True]


def test_a_study_from_end_to_end(command, local, tiny, tmp_path):
    """Some seconds, of twelve runs: from the command line to the files of the report."""
    given = [
        "study.conditions=[none,rotary:none,own,rotary+half:own]", "study.pairs=[[rotary+half:own,none]]",
        "study.pretrain_seeds=2", "study.num_replicates=200", "study.margin=.5",
    ]  # fmt: skip
    outcome = command("study", *tiny, *local(), *given)
    assert outcome.code == 0, outcome.err
    assert "Procedures, seed by seed" in outcome.out
    (folder,) = (tmp_path / "runs" / "reports").glob("*/")
    rows = list(csv.DictReader((folder / "procedures.csv").read_text().splitlines()))
    assert [(row["kind"], row["first"], row["second"], row["seeds"]) for row in rows] == [
        ("pair", "rotary:none", "none", "2"), ("pair", "rotary+half:own", "own", "2"),
        ("pair", "rotary+half:own", "none", "2"),
    ]  # fmt: skip
    assert float(rows[1]["first_flops"]) * 2 == float(rows[1]["second_flops"])
    assert rows[0]["first_flops"] == "0.0"
    stored = json.loads((folder / "summary.json").read_text())
    by_seed = {
        entry["condition"]: [run["score"] for run in entry["run_scores"]] for entry in stored["panels"][0]["entries"]
    }
    expected = np.mean(by_seed["rotary+half:own"]) - np.mean(by_seed["own"])
    assert float(rows[1]["difference"]) == pytest.approx(expected)
    for name in ("report.md", "procedures.tex"):
        text = (folder / name).read_text().replace("\\allowbreak{}", "")
        assert "rotary+half:own - own" in text.replace("\\", "")
    assert "condition rotary+half:own" in stored["facts"]

"""Learning dynamics: intervals that hold together and the step of separation, against hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from selfpretrain.numbers import format_score
from selfpretrain.report.blocks import build_blocks, list_explanations
from selfpretrain.report.comparisons import Interval
from selfpretrain.report.dynamics import describe_separations, find_separation
from selfpretrain.report.dynamics_tables import build_dynamics_tables
from selfpretrain.report.plots import draw_dynamics
from selfpretrain.report.summary import summarize

NONE = [0.5, 0.5, 0.5]
OWN = {10: [0.5, 0.52, 0.48], 20: [0.6, 0.62, 0.61], 40: [0.75, 0.76, 0.74]}
BOOKWIKI = {10: [0.5, 0.51, 0.52], 20: [0.7, 0.72, 0.74], 40: [0.76, 0.78, 0.77]}


@pytest.fixture
def study(fake_study):
    fake_study.add("none", NONE).add("own", OWN[40]).add("bookwiki", BOOKWIKI[40])
    return fake_study.add_checkpoints("own", OWN).add_checkpoints("bookwiki", BOOKWIKI)


def test_an_interval_holds_for_all_checkpoints_together(study):
    summary = summarize(study.finish())
    (found,) = summary.dynamics
    assert (found.steps, found.num_checkpoints, found.conditions) == ([10, 20, 40], 3, ["own", "bookwiki"])
    for scores, panel in zip(OWN.values(), found.panels, strict=True):
        gain = panel.find("own").gain
        of_own, of_none, of_examples = np.var(scores, ddof=1) / 3, 0.0, gain.variance.examples
        total = of_own + of_none + of_examples
        df = total**2 / (of_own**2 / 2 + of_examples**2 / 399)
        half = stats.t.ppf(1 - 0.05 / 3 / 2, df) * math.sqrt(total)
        point = np.mean(scores) - 0.5
        assert (gain.delta.low, gain.delta.high) == pytest.approx((point - half, point + half), abs=1e-9)
    # the last checkpoint is the study's own end, there with an interval of its own
    end, again = summary.panels[0].find("own").score, found.panels[-1].find("own").score
    assert end.point == again.point and end.low > again.low


@pytest.mark.parametrize(
    ("ends", "place"),
    [
        ([(-1, 1), (1, 2), (1, 2)], 1),
        ([(1, 2), (-1, 1), (1, 2)], 2),  # it was apart before, and then was not
        ([(-2, -1), (1, 2), (1, 3)], 1),  # on the other side
        ([(1, 2), (1, 2), (-1, 1)], None),
        ([(1, 2), (1, 2), (1, 2)], 0),
        ([(-2, -1), (-2, -1)], 0),
        ([(1, 2), None, (1, 2)], 2),  # a checkpoint without a score says nothing
        ([(1, 2), None], None),
        ([], None),
    ],
)
def test_where_two_separate(ends, place):
    assert find_separation([each and Interval(0, *each) for each in ends]) == place


def test_with_own_as_the_baseline_each_difference_is_said_once(fake_study):
    fake_study.add("own", OWN[40]).add("bookwiki", BOOKWIKI[40])
    fake_study.add_checkpoints("own", OWN).add_checkpoints("bookwiki", BOOKWIKI)
    (found,) = summarize(fake_study.finish(baseline="own")).dynamics
    assert [each.conditions for each in found.separations] == [("bookwiki", "own")]


def test_the_sentence_names_the_step_and_the_rule(study):
    summary = summarize(study.finish())
    separations = {each.conditions: each.step for each in summary.dynamics[0].separations}
    assert separations == {("own", "none"): 20, ("bookwiki", "none"): 20, ("own", "bookwiki"): None}
    first, second, third = describe_separations(summary.dynamics[0], summary)
    difference = summary.dynamics[0].panels[1].find("own").gain.delta
    assert first == (
        f"dynamics: own is above none from step 20 of 40 on: {difference.format('gain')} there (3 checkpoints, 95% "
        "intervals that hold together)"
    )
    assert second.startswith("dynamics: bookwiki is above none from step 20 of 40 on: ")
    assert third.startswith("dynamics: own and bookwiki do not separate up to step 40: -.020 [")
    assert summary.panels[0].evidence[-3:] == [first, second, third]
    assert any("each at 1 - .05/3" in line for line in list_explanations(summary))


def test_tables_have_every_checkpoint(study):
    summary = summarize(study.finish())
    scores, differences = build_dynamics_tables(summary)
    assert scores.header == ("model", "task", "steps", "own", "bookwiki")
    assert [row[2] for row in scores.rows] == ["10", "20", "40"]
    assert [row[3].partition(" ")[0] for row in scores.rows] == [format_score(np.mean(each)) for each in OWN.values()]
    assert differences.header[3:] == ("own - none", "bookwiki - none", "own - bookwiki")
    assert [row[3].endswith("*") for row in differences.rows] == [False, True, True]
    assert not any(row[5].endswith("*") for row in differences.rows)
    names = [getattr(block, "name", "") for block in build_blocks(summary)]
    assert names.count("dynamics") == 2 and "separations" in names  # a table and a figure


def test_what_is_missing_is_shown_and_said(study):
    study.add("mimetic", NONE).add_checkpoints("mix:own+bookwiki", {40: [0.7, 0.7, 0.7]})
    study.add_checkpoints("mix:own+bookwiki", {10: NONE, 20: NONE}, status="missing", note="kept no encoder")
    summary = summarize(study.finish())
    scores, differences = build_dynamics_tables(summary)
    assert [row[5].partition(" ")[0] for row in scores.rows] == ["missing", "missing", ".700"]
    assert [row[5] for row in differences.rows][:2] == ["-", "-"]
    kept = "mix:own+bookwiki: finished pretrainings that kept no encoder after so many steps (of how many seeds): 10 (3), 20 (3)"
    assert f"topics, tiny, {kept}" in summary.warnings
    separations = {each.conditions: each.step for each in summary.dynamics[0].separations}
    assert separations["mix:own+bookwiki", "none"] == 40


def test_one_seed_makes_no_claim(fake_study):
    fake_study.add("none", [0.5]).add("own", [0.9]).add_checkpoints("own", {1: [0.9], 2: [0.9]})
    summary = summarize(fake_study.finish())
    (separation,) = summary.dynamics[0].separations
    assert separation.step is None and not separation.is_claim
    assert "dynamics: own - none: one seed tells of these checkpoints only" in summary.panels[0].evidence


def test_the_figure_has_the_axis_of_its_schedule(study):
    summary = summarize(study.finish(is_log=True))
    files = draw_dynamics(summary)
    summary.dynamics[0].is_log = False
    assert files != draw_dynamics(summary)
    assert set(files) == {"png", "svg", "pdf"} and b"steps of pretraining" in files["svg"]


def test_a_study_without_checkpoints_has_none_of_it(fake_study):
    fake_study.add("none", NONE).add("own", OWN[40])
    summary = summarize(fake_study.finish())
    assert build_dynamics_tables(summary) == [] and "dynamics" not in summary.to_json()
    assert not any("dynamics" in str(getattr(block, "name", "")) for block in build_blocks(summary))

"""Over the tasks: what is counted, against what, and where nothing is."""

from __future__ import annotations

import csv
import io

import pytest
from scipy import stats

from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.write import format_csv
from selfpretrain.stats import compute_holm

NONE = [0.60, 0.61, 0.59]
OWN = {"a": 0.80, "b": 0.70, "c": 0.55, "d": 0.62, "e": 0.61, "f": 0.75}


@pytest.fixture
def study(fake_study):
    for task, score in OWN.items():
        fake_study.add("none", NONE, task).add("own", [score - 0.01, score, score + 0.01], task)
        fake_study.add("bookwiki", [0.70, 0.69, 0.71], task)
    return fake_study


def test_each_condition_against_the_baseline_and_own_against_the_reference(study):
    summary = summarize(study.finish(num_replicates=400))
    tallies = {(tally.condition, tally.against): tally for tally in summary.tallies}
    assert list(tallies) == [("own", "none"), ("bookwiki", "none"), ("own", "bookwiki")]
    own = tallies["own", "none"]
    assert (own.num_tasks, own.higher, own.lower) == (6, 5, 1) and own.p_sign == pytest.approx(14 / 64)
    assert own.share.point == pytest.approx(5 / 6)
    clear = [entry.gain for panel in summary.panels for entry in panel.entries if entry.condition == "own"]
    up = sum(gain.is_clear(0.05) and gain.delta.point > 0 for gain in clear)
    assert own.clear[0] == up >= 3 and own.discovered[0] >= own.clear[0]
    assert 0.6 < own.improvement.point < 1 and own.improvement.low < own.improvement.point
    bookwiki = tallies["bookwiki", "none"]
    assert (bookwiki.higher, bookwiki.p_sign, bookwiki.p_wilcoxon) == (6, pytest.approx(2 / 64), pytest.approx(2 / 64))
    assert bookwiki.improvement.point == 1
    assert tallies["own", "bookwiki"].lower == 3


def test_the_table_and_what_explains_it(study):
    summary = summarize(study.finish(num_replicates=400))
    (table,) = [table for table in build_tables(summary) if table.name == "over_tasks"]
    assert table.rows[0][:4] == ("tiny", "own", "none", "5 of 6")
    (first, *_) = csv.DictReader(io.StringIO(format_csv(table)))
    assert (first["higher"], first["lower"], first["tasks"]) == ("5", "1", "6")
    assert any(line.startswith("Over the tasks:") for line in list_explanations(summary))


def test_few_tasks_are_not_counted_and_failed_ones_left_out(fake_study):
    for task in "abcde":
        fake_study.add("none", NONE, task).add("own", NONE, task, status="failed" if task == "e" else "done")
    summary = summarize(fake_study.finish(num_replicates=400))
    assert summary.tallies == [] and "tallies" not in summary.to_json()
    assert not any(line.startswith("Over the tasks") for line in list_explanations(summary))


def test_of_several_numbers_of_labels_the_largest_counts(fake_study):
    for task in "abcde":
        fake_study.add_counts(task)
        for count, own in ((100, 0.5), (500, 0.7)):
            fake_study.add("none", NONE, f"{task}@{count}").add("own", [own] * 3, f"{task}@{count}")
    (tally,) = summarize(fake_study.finish(num_replicates=400)).tallies
    assert (tally.num_tasks, tally.higher) == (5, 5)


def test_one_seed_has_no_p_and_is_counted_all_the_same(fake_study):
    for task in "abcde":
        fake_study.add("none", [0.6], task).add("own", [0.7], task)
    (tally,) = summarize(fake_study.finish(num_replicates=400)).tallies
    assert (tally.higher, tally.clear, tally.discovered) == (5, (0, 0), (0, 0))


def test_where_own_equals_the_reference_is_counted(study):
    summary = summarize(study.finish(num_replicates=400, margin=0.15))
    tallies = {(tally.condition, tally.against): tally for tally in summary.tallies}
    p_values = []
    for panel in summary.panels:
        versus = panel.versus_reference
        inside = 0.15 - abs(versus.delta.point)  # each test's distance to the nearer end of the margin
        p_values.append(stats.t.sf(inside / versus.variance.standard_error, versus.variance.df))
    by_hand = int((compute_holm(p_values) < 0.05).sum())
    assert tallies["own", "bookwiki"].equivalent == (by_hand, 6) and 2 <= by_hand <= 5
    assert sum(p < 0.05 for p in p_values) >= by_hand
    assert tallies["own", "none"].equivalent is None
    (table,) = [table for table in build_tables(summary) if table.name == "over_tasks"]
    assert [row[-1] for row in table.rows] == ["-" if row[2] == "none" else f"{by_hand} of 6" for row in table.rows]
    assert any(
        "equivalent: two one-sided tests within each task's margin" in line for line in list_explanations(summary)
    )


def test_checkpoints_are_not_called_equivalent(fake_study):
    for task in "abcde":
        fake_study.add("none", [0.6], task).add("own", [0.7], task).add("bookwiki", [0.7], task)
    tallies = {(t.condition, t.against): t for t in summarize(fake_study.finish(num_replicates=400)).tallies}
    assert tallies["own", "bookwiki"].equivalent is None

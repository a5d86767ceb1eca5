"""A benchmark's average: the mean over its tasks, its interval, and what is missing from it."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.write import format_csv
from selfpretrain.stats.variance import compute_t_quantile


@pytest.fixture
def glue(fake_study):
    """A study of two tasks that GLUE counts, each of 400 examples, and one that it does not."""
    for name in ("cola", "rte", "topics"):
        fake_study.add_task(name)
    for name in ("cola", "rte"):
        card = load_task_card(name)
        fake_study.tasks[name] = replace(fake_study.tasks[name], benchmark=card.benchmark, hub_id=card.hub_id)
    return fake_study


def average(study, **settings):
    (found,) = summarize(study.finish(num_replicates=1000, **settings)).averages
    return found


def test_mean_and_interval_by_hand(glue):
    glue.add("own", [0.66, 0.7, 0.74], "cola").add("own", [0.65, 0.7, 0.75], "rte").add("own", [0.1] * 3, "topics")
    summary = summarize(glue.finish(num_replicates=1000))
    (row,) = summary.averages[0].rows
    by_seeds = np.var([0.655, 0.7, 0.745], ddof=1) / 3
    by_examples = sum(panel.entries[0].examples_variance for panel in summary.panels[:2]) / 4
    half = math.sqrt(compute_t_quantile(0.975, 2) ** 2 * by_seeds + compute_t_quantile(0.975, 399) ** 2 * by_examples)
    assert (row.mean.point, row.mean.low, row.mean.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))


def test_the_part_of_the_examples_is_a_binomial_s(glue):
    glue.add("own", [0.7], "cola").add("own", [0.9], "rte")
    cola, rte = (panel.entries[0] for panel in summarize(glue.finish(num_replicates=4000)).panels)
    assert cola.examples_variance == pytest.approx(0.7 * 0.3 / 400, rel=0.15)
    assert rte.examples_variance == pytest.approx(0.9 * 0.1 / 400, rel=0.15)


def test_luck_that_tasks_share_does_not_average_out(glue):
    for condition, second in (("own", [0.6, 0.7, 0.8]), ("bookwiki", [0.8, 0.7, 0.6])):
        glue.add(condition, [0.6, 0.7, 0.8], "cola").add(condition, second, "rte")
    shared, opposite = (row.mean for row in average(glue).rows)
    assert shared.point == opposite.point == pytest.approx(0.7)
    assert shared.high - shared.low > 3 * (opposite.high - opposite.low)


def test_finetunings_of_one_seed_are_averaged_and_those_of_a_checkpoint_are_its_seeds(glue):
    for name in ("cola", "rte"):
        glue.add("own", [0.68, 0.72], name, finetunings=2).add("offshelf", [0.9], name, finetunings=3)
    own, offshelf = average(glue).rows
    assert own.mean.point == pytest.approx(0.7)
    by_seeds = compute_t_quantile(0.975, 1) * math.sqrt(np.var([0.68, 0.72], ddof=1) / 2)  # two seeds, not four runs
    assert own.mean.high - own.mean.point == pytest.approx(by_seeds, rel=0.05)
    assert offshelf.mean.point == pytest.approx(0.9)


def test_the_interval_ends_where_the_metrics_do(glue):
    glue.tasks["cola"].metric = "mcc"  # from -1 on
    for name in ("cola", "rte"):
        glue.add("own", [0.1, 0.9], name)
    (row,) = average(glue).rows
    assert (row.mean.low, row.mean.high) == (-0.5, 1.0)


def test_the_text_of_a_task_is_its_own_there_and_what_lacks_has_no_mean(glue):
    glue.add("own", [0.6, 0.7], "cola").add("own", [0.8, 0.9], "rte").add("own_of:cola", [0.7, 0.8], "rte")
    glue.add("bookwiki", [0.7], "cola", status="failed").add("bookwiki", [0.7], "rte")
    glue.add("none", [0.5, 0.5], "cola").add("none", [0.5], "rte").add("none", [0], "rte", first=1, status="missing")
    glue.add("mimetic", [0.5], "cola")
    rows = {row.condition: row for row in average(glue).rows}
    assert rows["own_of:cola"].scores == [rows["own"].scores[0], rows["own_of:cola"].scores[1]]
    assert rows["own_of:cola"].mean.point == pytest.approx((0.65 + 0.75) / 2)
    assert (rows["bookwiki"].texts, rows["bookwiki"].reason) == (["failed (1 of 1)", ""], "1 of 2 tasks")
    assert (rows["none"].mean, rows["none"].reason) == (None, "other seeds by task")
    assert rows["mimetic"].texts == ["", "not in this study"]


def test_the_table_and_what_is_said_of_it(glue):
    for name in ("cola", "rte", "topics"):
        glue.add("none", [0.5, 0.5], name).add("own", [0.6, 0.7], name)
    summary = summarize(glue.finish())
    (table,) = [table for table in build_tables(summary) if table.name == "GLUE_tiny"]
    assert table.title == "GLUE, without mnli, mrpc, qnli, qqp, sst2, stsb: tiny"
    assert table.header == ("condition", "cola (accuracy)", "rte (accuracy)", "mean")
    assert table.rows[1][0] == "own" and all(cell.startswith(".650 [") for cell in table.rows[1][1:])
    rows = list(csv.DictReader(io.StringIO(format_csv(table))))
    assert [(row["condition"], row["task"]) for row in rows] == [
        (condition, task) for condition in ("none", "own") for task in ("cola", "rte", "mean")
    ]
    assert float(rows[5]["score"]) == pytest.approx(0.65) and float(rows[5]["low"]) < 0.65
    assert "(ax, mnli_mm, wnli: never counted)" in " ".join(list_explanations(summary))
    assert summary.to_json()["averages"][0]["missing"] == ["mnli", "mrpc", "qnli", "qqp", "sst2", "stsb"]


def test_of_several_numbers_of_labels_the_largest(glue):
    for key, count in (("cola@100", 100), ("cola@500", 500)):
        glue.tasks[key], glue.num_labels[key] = glue.tasks["cola"], count
        glue.add("own", [0.6, 0.7], key)
    glue.num_labels["rte"] = 300
    assert [*average(glue.add("own", [0.6, 0.7], "rte")).tasks] == ["cola@500", "rte"]


def test_one_task_is_no_average(glue):
    summary = summarize(glue.add("own", [0.6, 0.7], "cola").add("own", [0.6, 0.7], "topics").finish())
    assert summary.averages == [] and "averages" not in summary.to_json()
    assert not any(line.startswith("GLUE") for line in list_explanations(summary))


def test_a_task_without_data_is_shown_and_not_counted(glue):
    glue.add_task("mrpc")
    glue.tasks["mrpc"] = replace(glue.tasks["mrpc"], benchmark="GLUE", hub_id=load_task_card("mrpc").hub_id)
    glue.add("own", [0.6, 0.7], "cola").add("own", [0.7, 0.8], "rte")
    alone = average(glue)
    glue.add("own", [0, 0], "mrpc", status="absent", note="to be downloaded by hand")
    found = average(glue)
    assert list(found.tasks) == ["cola", "rte", "mrpc"]
    assert found.rows[0].texts == ["", "", "missing: to be downloaded by hand"]
    assert found.rows[0].mean == alone.rows[0].mean
    assert "mrpc" in found.missing and found.missing == alone.missing

"""The cross-task matrix: its cells in each unit, and the means of its rows and columns, against cells worked out by hand."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.cross import MEAN_COLUMN, MEAN_ROW
from selfpretrain.report.plots import draw_cross
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.write import format_csv
from selfpretrain.stats.variance import compute_df, compute_t_quantile

UNITS = ["score", "gain", "benefit"]


def build(study, **settings):
    """The matrices of a study of one model, by unit."""
    return {cross.unit: cross for cross in summarize(study.finish(num_replicates=1000, **settings)).crosses}


def get_cell(cross, text, task):
    return cross.cells[cross.texts.index(text)][cross.tasks.index(task)]


def astuple(interval):
    return interval.point, interval.low, interval.high


def add_square(study, scores, conditions=()):
    """Three tasks; scores[text][task] of three seeds, texts a, b, c; conditions: others alike on all tasks."""
    for task in "abc":
        for condition, given in dict(conditions).items():
            study.add(condition, given, task)
        for text in "abc":
            study.add("own" if text == task else f"own_of:{text}", scores[text][task], task)
    return study


LUCKY, FLAT = [0.6, 0.7, 0.8], [0.7, 0.7, 0.7]
SHARED = {"a": {"a": FLAT, "b": LUCKY, "c": LUCKY}, "b": {"a": LUCKY, "b": FLAT, "c": LUCKY[::-1]},
          "c": {"a": FLAT, "b": LUCKY[::-1], "c": FLAT}}  # fmt: skip
NONE = {"none": [0.5, 0.52, 0.54]}


def test_cells_in_every_unit(fake_study):
    for task, other in (("a", "b"), ("b", "a")):
        fake_study.add("none", [0.5, 0.5], task).add("own", [0.8, 0.8], task).add("bookwiki", [0.9, 0.9], task)
        fake_study.add(f"own_of:{other}", [0.6, 0.6], task, status="failed" if task == "b" else "done")
    crosses = build(fake_study)
    assert list(crosses) == UNITS
    for unit, own, other in (("score", 0.8, 0.6), ("gain", 0.3, 0.1), ("benefit", 75, 25)):
        cross = crosses[unit]
        assert (cross.texts, cross.tasks) == (["a", "b"], ["a", "b"])  # one text or task is no mean
        assert cross.cells[0][0].value.point == cross.cells[1][1].value.point == pytest.approx(own)
        assert cross.cells[1][0].value.point == pytest.approx(other)
        assert cross.cells[0][1].text == "failed (2 of 2)"


def test_the_matrix_shows_the_start_that_its_texts_share(fake_study):
    fake_study.add("none", [0.5, 0.5], "a").add("mimetic", [0.6, 0.6], "a").add("own", [0.8, 0.8], "a")
    fake_study.add("own_of:b", [0.7, 0.7], "a")
    gain = build(fake_study, init_scheme="mimetic")["gain"]
    assert gain.texts == ["a", "b", "nothing (the start)"]
    assert [row[0].value.point for row in gain.cells] == pytest.approx([0.3, 0.2, 0.1])
    assert build(fake_study)["gain"].texts == ["a", "b"]


def test_without_a_baseline_there_are_scores_alone(fake_study):
    fake_study.add("own", [0.8, 0.8], "a").add("own_of:elsewhere", [0.6, 0.6], "a")
    crosses = build(fake_study)
    assert list(crosses) == ["score"] and crosses["score"].texts == ["a", "elsewhere"]
    assert crosses["score"].cells[1][0].value.point == pytest.approx(0.6)


def test_where_the_reference_s_gain_is_not_clear_benefit_is_undefined(fake_study):
    for task, other, reference in (("a", "b", 0.9), ("b", "a", 0.5)):
        fake_study.add("none", [0.5, 0.5], task).add("own", [0.8, 0.8], task).add(f"own_of:{other}", [0.6, 0.6], task)
        fake_study.add("bookwiki", [reference] * 2, task)
    benefit = build(fake_study)["benefit"]
    assert [cell.text for cell in benefit.cells[0]] == ["", "undefined"]
    own = build(fake_study, reference="own")["benefit"]
    assert (own.cells[0][0].value, own.cells[0][0].text) == (None, "") and own.cells[1][0].value.point == pytest.approx(
        100 / 3
    )


# means


def test_a_text_s_means_by_hand(fake_study):
    summary = summarize(add_square(fake_study, SHARED, NONE).finish(num_replicates=1000))
    score, gain = summary.crosses
    entries = [summary.panels[place].find("own_of:a") for place in (1, 2)]
    by_seeds = 0.1**2 / 3  # the seeds' means over b and c are .6, .7 and .8
    by_examples = sum(entry.examples_variance for entry in entries) / 4
    half = math.sqrt(compute_t_quantile(0.975, 2) ** 2 * by_seeds + compute_t_quantile(0.975, 399) ** 2 * by_examples)
    assert astuple(get_cell(score, "a", MEAN_COLUMN).value) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    parts = [by_seeds, 0.02**2 / 3, sum(entry.gain.variance.examples for entry in entries) / 4]
    half = compute_t_quantile(0.975, compute_df(parts, [3, 3, 400])) * math.sqrt(sum(parts))
    assert astuple(get_cell(gain, "a", MEAN_COLUMN).value) == pytest.approx((0.18, 0.18 - half, 0.18 + half))


def test_a_task_s_means_by_hand(fake_study):
    """Of c, whose others have the seeds' scores in opposite order: what is left is the doubt by examples."""
    summary = summarize(add_square(fake_study, SHARED, NONE).finish(num_replicates=1000))
    score, gain = summary.crosses
    pooled = summary.panels[2].pooled
    half = compute_t_quantile(0.975, 399) * math.sqrt(pooled.examples_variance)
    assert astuple(get_cell(score, MEAN_ROW, "c").value) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    # six runs, right on examples drawn apart for each, so that errors are independent but for the examples' labels
    assert pooled.examples_variance == pytest.approx(np.mean([0.24, 0.21, 0.16] * 2) / 400 / 6, rel=0.2)
    parts = [0.0, 0.02**2 / 3, pooled.gain.variance.examples]
    half = compute_t_quantile(0.975, compute_df(parts, [3, 3, 400])) * math.sqrt(sum(parts))
    assert astuple(get_cell(gain, MEAN_ROW, "c").value) == pytest.approx((0.18, 0.18 - half, 0.18 + half))


def test_luck_that_a_seed_number_shares_does_not_average_out(fake_study):
    score = build(add_square(fake_study, SHARED))["score"]
    widths = {place: value.high - value.low for place in ((MEAN_ROW, "a"), (MEAN_ROW, "c"), ("a", MEAN_COLUMN))
              if (value := get_cell(score, *place).value)}  # fmt: skip
    assert widths[MEAN_ROW, "a"] > 2 * widths[MEAN_ROW, "c"]  # one text of a's is flat, the other lucky
    assert widths["a", MEAN_COLUMN] > 4 * widths[MEAN_ROW, "c"]


def test_the_mean_of_all_is_that_of_the_tasks_means(fake_study):
    crosses = build(add_square(fake_study, SHARED, {**NONE, "bookwiki": [0.9, 0.91, 0.92]}))
    for cross in crosses.values():
        of_tasks = [get_cell(cross, MEAN_ROW, task).value for task in "abc"]
        total = get_cell(cross, MEAN_ROW, MEAN_COLUMN).value
        assert total.point == pytest.approx(np.mean([value.point for value in of_tasks]))
        assert total.low < total.point < total.high


def test_a_mean_in_benefit_is_a_share_of_the_reference_s_mean_gain(fake_study):
    """None gains from no text: a's gains .1 and .3, the reference's .2 and .4; the mean of the shares would be 62.5."""
    for task, other, reference in (("b", 0.6, 0.7), ("c", 0.8, 0.9)):
        for condition, score in (("none", 0.5), ("own_of:a", other), ("own_of:d", 0.5), ("bookwiki", reference)):
            fake_study.add(condition, [score - 0.01, score + 0.01], task)
    benefit = build(fake_study)["benefit"]
    value = get_cell(benefit, "a", MEAN_COLUMN).value
    assert value.point == pytest.approx(100 * 0.4 / 0.6)
    assert value.low < 100 * 0.4 / 0.6 < value.high and value.high - value.low < 40
    assert get_cell(benefit, "d", MEAN_COLUMN).value.point == pytest.approx(0, abs=1e-9)


def test_what_lacks_leaves_no_mean_and_is_said(fake_study):
    for task in "abc":
        fake_study.add("none", [0.5, 0.5], task).add("own", [0.8, 0.8], task)
    for text, task in ("ab", "ac", "ba", "bc", "ca"):
        fake_study.add(f"own_of:{text}", [0.6, 0.6], task)
    fake_study.add("own_of:c", [0.6], "b", status="failed").add("own_of:c", [0.6], "b", first=1)
    fake_study.add("own_of:d", [0.6], "a").add("own_of:d", [0.6, 0.6], "b")
    score = build(fake_study)["score"]
    assert get_cell(score, "c", MEAN_COLUMN).text == "1 of 2 tasks"
    assert get_cell(score, "d", MEAN_COLUMN).text == "other seeds by task"
    assert get_cell(score, MEAN_ROW, "a").text == "other seeds by text"
    assert get_cell(score, MEAN_ROW, "b").text == "2 of 3 texts"
    assert get_cell(score, MEAN_ROW, "c").value.point == pytest.approx(0.6)
    assert get_cell(score, MEAN_ROW, MEAN_COLUMN).text == "1 of 3 tasks"
    assert get_cell(score, "a", MEAN_COLUMN).value.point == pytest.approx(0.6)


def test_of_several_numbers_of_labels_the_largest_counts(fake_study):
    for card in "ab":
        fake_study.add_counts(card)
        for count, score in ((100, 0.5), (500, 0.7)):
            for text in {"a", "b", "e"} - {card}:
                fake_study.add(f"own_of:{text}", [score] * 2, f"{card}@{count}")
    score = build(fake_study)["score"]
    assert get_cell(score, "e", MEAN_COLUMN).value.point == pytest.approx(0.7)
    assert get_cell(score, MEAN_ROW, "a@100").value.point == pytest.approx(0.5)


def test_the_tables_the_note_and_the_heat_map(fake_study, monkeypatch):
    from selfpretrain.report import plots

    monkeypatch.setitem(plots._STYLE, "svg.fonttype", "none")  # text as text, to be found
    summary = summarize(add_square(fake_study, SHARED, NONE).finish())
    tables = [table for table in build_tables(summary) if table.name.startswith("cross")]
    assert [table.name for table in tables] == ["cross_tiny_score", "cross_tiny_gain"]
    assert tables[0].header == ("pretrained on", "a", "b", "c", MEAN_COLUMN)
    assert [row[0] for row in tables[0].rows] == ["a", "b", "c", MEAN_ROW]
    assert all(" [" in cell for table in tables for row in table.rows for cell in row[1:])
    rows = list(csv.DictReader(io.StringIO(format_csv(tables[1]))))
    assert (rows[3]["pretrained_on"], rows[3]["task"], rows[3]["p_holm"]) == ("a", MEAN_COLUMN, "NA")
    assert float(rows[3]["value"]) == pytest.approx(0.18)
    assert float(rows[3]["low"]) < 0.18 < float(rows[3]["high"])
    text = " ".join(list_explanations(summary))
    assert "not other tasks or texts" in text and "mean gain as a share" not in text
    assert MEAN_ROW in draw_cross(summary.crosses[1], summary)["svg"].decode()

"""A report of test examples that belong together: wider intervals, the number of groups, at every place that resamples."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.summary import summarize
from selfpretrain.runs.results import DONE, TransferResult
from tests.report.conftest import NUM_EXAMPLES, make_labels

ROWS = [f"row{index}" for index in range(NUM_EXAMPLES)]
GROUPS = {"test": {row: place // 10 for place, row in enumerate(ROWS)}, "validation": {row: place // 8 for place, row in enumerate(ROWS)}}  # fmt: skip


@pytest.fixture
def passages(fake_study):
    """Ten questions a passage, of which a run knows all or none."""
    draw, labels = np.random.default_rng(0), make_labels("topics", "class")
    for condition, share in (("none", 0.5), ("own", 0.8), ("bookwiki", 0.8)):
        known = np.repeat(draw.random(NUM_EXAMPLES // 10) < share, 10)
        for seed in range(3):
            right = known ^ (draw.random(NUM_EXAMPLES) < 0.1)
            outputs = np.eye(4)[np.where(right, labels, (labels + 1) % 4)] * 3
            fake_study.add(condition, [0], outputs=outputs, first=seed)
            fake_study.write(fake_study.cells[-1], 0, outputs, split="validation")
    return fake_study


def measure(interval):
    return interval.high - interval.low


def test_every_interval_is_that_of_the_groups(passages):
    results = passages.finish(analyses=["ensembles", "calibration"])
    alone, grouped = summarize(results), summarize(replace(results, groups={"topics": GROUPS}))
    (panel,), (wide,) = alone.panels, grouped.panels
    assert (panel.num_groups, wide.num_groups, wide.num_units) == (None, 40, 40)
    for condition in ("none", "own", "bookwiki"):
        before, after = panel.find(condition), wide.find(condition)
        assert after.score.point == before.score.point
        assert measure(after.score) > 1.5 * measure(before.score)
    before, after = panel.find("own"), wide.find("own")
    assert after.gain.variance.sizes == (3, 3, 40)
    assert measure(after.gain.delta) > 1.5 * measure(before.gain.delta)
    assert measure(wide.versus_reference.delta) > 1.5 * measure(panel.versus_reference.delta)
    assert np.trace(after.covariances) > 2 * np.trace(before.covariances)
    for name in ("ensembles", "calibrations"):
        assert len(getattr(grouped, name)) == len(getattr(alone, name)) > 0
    assert measure(grouped.ensembles[0].together) > 1.5 * measure(alone.ensembles[0].together)
    assert measure(grouped.calibrations[0].plain.brier) > 1.5 * measure(alone.calibrations[0].plain.brier)
    assert measure(grouped.calibrations[0].temperature) > measure(alone.calibrations[0].temperature)  # by validation's


def test_contrasts_by_seed_draw_groups(passages):
    results = passages.finish(pairs=[["own", "none"]])
    alone, grouped = summarize(results), summarize(replace(results, groups={"topics": GROUPS}))
    before, after = (
        {each.name: each.difference for each in found.procedures}["own - none"] for found in (alone, grouped)
    )
    assert before.delta.point == after.delta.point
    assert (before.variance.sizes[2], after.variance.sizes[2]) == (NUM_EXAMPLES, 40)
    assert measure(after.delta) > 1.5 * measure(before.delta)


def test_the_reader_is_told(passages):
    results = passages.finish()
    summary = summarize(replace(results, groups={"topics": GROUPS}))
    (line,) = [line for line in list_explanations(summary) if line.startswith("Groups of test examples")]
    assert "no independent draws: topics 40 of 400 examples. Intervals and p draw whole groups" in line
    assert json.loads(json.dumps(summary.to_json()))["panels"][0]["num_groups"] == 40
    assert any("the 400 test examples in 40 groups" in line for line in summary.panels[0].evidence)
    assert not any(line.startswith("Groups of") for line in list_explanations(summarize(results)))


def test_what_is_left_out_leaves_its_group_smaller(passages):
    held = {"topics": {"training split": ROWS[:95]}}
    results = replace(passages.finish(held=held, exclude_overlap=True), groups={"topics": GROUPS})
    (other,) = summarize(results).without_overlap.panels
    assert (other.num_examples, other.num_groups) == (305, 31)


def test_another_test_set_has_groups_of_its_own(passages):
    results = passages.finish()
    test_set = TaskConfig(name="elsewhere", label_kind="class", metric="accuracy")
    cells = [replace(cell, status=DONE) for cell in results.cells]
    transfer = TransferResult(
        "topics", test_set, "", cells, {"test": {row: place // 4 for place, row in enumerate(ROWS)}}
    )
    summary = summarize(replace(results, transfers=[transfer]))
    assert summary.panels[0].num_groups is None and summary.transfers[0].panels[0].num_groups == 100


def test_validation_curves_draw_groups(fake_study):
    fake_study.add("own", [0.7, 0.7]).add("none", [0.6, 0.6])
    fake_study.add_curve("own", {100: 0.6, 200: 0.7})
    results = fake_study.finish()
    grouped = replace(results, groups={"topics": GROUPS})
    curves = [summarize(each).curves[0].lines["own"][0].score for each in (results, grouped)]
    assert curves[0].point == curves[1].point and curves[0] != curves[1]


def test_data_of_other_examples_are_refused(passages):
    results = replace(passages.finish(), groups={"topics": {"test": {"another": 0}}})
    with pytest.raises(UserError, match=r"example row0 of .* has no group"):
        summarize(results)


def test_a_finished_study_is_read_again_by_groups(command, tiny, local, examples, tmp_path):
    """The groups come from the data, not from the predictions: the same runs, of the same ids, and other intervals."""
    rows = [{**row, "page": f"p{number // 5}"} for number, row in enumerate(examples)]
    files = [
        f"task.{name}_path={local(rows[part], f'{name}.csv')[1].partition('=')[2]}"
        for name, part in (("validation", slice(10)), ("test", slice(10, 27)))  # page 5 lies on both sides
    ]
    given = [*tiny, *local(rows[27:]), *files, "study.pretrain_seeds=1", "study.num_replicates=200"]
    panels, runs = [], []
    for group in ([], ["task.group=page"]):
        outcome = command("study", *given, *group)
        assert outcome.code == 0, outcome.err
        (panel,) = json.loads(next((tmp_path / "runs" / "reports").glob("*/summary.json")).read_text())["panels"]
        panels.append(panel)
        runs.append(sorted(path.name for path in (tmp_path / "runs" / "finetune").iterdir()))
    assert runs[0] == runs[1] and len(runs[0]) == 4  # of two, with their locks
    assert [panel["num_groups"] for panel in panels] == [None, 4]
    scores = [[entry["score"] for entry in panel["entries"]] for panel in panels]
    assert [score["point"] for score in scores[0]] == [score["point"] for score in scores[1]] and scores[0] != scores[1]
    assert "in training, too: " in outcome.out.replace("\n", " ")

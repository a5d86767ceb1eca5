"""Where the variance lies, as a table, and the difference that a study could find, as a line of evidence."""

from __future__ import annotations

import re

import numpy as np
import pytest

from selfpretrain.report.summary import summarize
from selfpretrain.report.variance import build_variance_table, explain_variance
from selfpretrain.runs.results import read_runs
from selfpretrain.stats.components import estimate_example_components
from selfpretrain.stats.power import Expectation, compute_detectable, compute_power
from tests.report.conftest import make_labels


def find_line(panel):
    return [line for line in panel.evidence if line.startswith("what this study could find")]


def draw_outputs(rng, labels, hard, skill):
    """Outputs of a run that is right where its skill exceeds the example's difficulty."""
    right = skill + rng.normal(size=len(labels)) > hard
    return np.eye(4)[np.where(right, labels, (labels + 1) % 4)]


def add_runs(fake_study, condition, level, seeds=4, finetunings=3):
    """Runs with a skill of their own on examples of a difficulty of their own."""
    rng = np.random.default_rng(len(condition))
    hard = np.random.default_rng(7).normal(size=400)
    fake_study.add(condition, [0.5] * seeds, finetunings=finetunings)
    for cell in fake_study.cells[-seeds * finetunings :]:
        labels = make_labels("topics", "class")
        skill = level + 0.3 * np.random.default_rng(cell.pretrain_seed).normal() + 0.1 * rng.normal()
        fake_study.write(cell, 0.5, draw_outputs(rng, labels, hard, skill))


def test_the_components_of_a_condition(fake_study):
    fake_study.add_task("topics")
    add_runs(fake_study, "none", 0.3)
    add_runs(fake_study, "own", 0.8)
    summary = summarize(fake_study.finish(num_replicates=2000))
    entry = summary.panels[0].find("own")
    names = [source.name for source in entry.sources]
    assert names == ["seed", "fine-tuning", "examples", "seed x examples", "fine-tuning x examples"]
    sds = {source.name: source.sd for source in entry.sources}
    assert 0 <= sds["seed"].low < sds["seed"].point < sds["seed"].high
    assert sds["examples"].point == pytest.approx(0.012, abs=0.006)  # chances to be right, in 400
    assert 0 < entry.interaction_variance < entry.examples_variance


def test_they_are_those_of_what_each_example_adds(fake_study):
    add_runs(fake_study, "none", 0.3)
    results = fake_study.finish(num_replicates=4000)
    entry = summarize(results).panels[0].entries[0]
    aligned, _ = read_runs(results.cells, results.tasks["topics"])
    right = (aligned.predictions == aligned.labels).astype(float).reshape(4, 3, 400)
    exact = estimate_example_components(right, ["seed"])
    for source in entry.sources:
        scale = 400 if source.name.endswith("examples") else 1
        expected = exact.get_variance(source.name) / scale
        assert source.sd.point**2 == pytest.approx(expected, rel=0.1, abs=3e-6), source.name


def test_the_table(fake_study):
    fake_study.add("none", [0.6, 0.62, 0.58], finetunings=2).add("own", [0.7, 0.72, 0.74]).add("bookwiki", [0.8])
    fake_study.add("offshelf", [0.9, 0.92])
    summary = summarize(fake_study.finish())
    table = build_variance_table(summary)
    sources = ("seed", "fine-tuning", "examples", "seed x examples", "fine-tuning x examples")
    assert table.header == ("model", "task", "condition", *sources)
    rows = {row[2]: row for row in table.rows}
    assert list(rows) == ["none", "own", "offshelf"]  # a single run tells nothing
    assert re.fullmatch(r"\.0\d\d \[\.0\d\d, \.\d\d\d\]", rows["none"][3])
    assert rows["none"][4].endswith("] < 0")  # both fine-tunings of a seed score the same here
    assert rows["own"][4] == "-" and rows["offshelf"][3] == "-"  # one fine-tuning; one pretraining
    places = {name: place for place, name in enumerate(table.csv_header)}
    values = table.csv_rows[0]
    assert values[places["fine_tuning"]] == "0.0" and values[places["fine_tuning_negative"]] == "true"
    assert len(values) == len(table.csv_header) == len(table.csv_rows[1])
    assert explain_variance(summary)[0].startswith("Where the variance lies: ")
    assert "its part stands in that of the seed." in explain_variance(summary)[0]


def test_nothing_is_said_of_single_runs(fake_study):
    fake_study.add("none", [0.6]).add("own", [0.7])
    summary = summarize(fake_study.finish())
    assert explain_variance(summary) == [] and not find_line(summary.panels[0])


def test_missing_runs_are_no_hindrance(fake_study):
    fake_study.add("none", [0.6, 0.62], finetunings=2).add("none", [0], first=2, status="missing")
    fake_study.add("none", [0.63], first=3)
    entry = summarize(fake_study.finish()).panels[0].entries[0]
    assert entry.state == "partial" and {source.name for source in entry.sources} >= {"seed", "fine-tuning"}


def test_what_the_study_could_find(fake_study):
    add_runs(fake_study, "none", 0.3)
    add_runs(fake_study, "own", 0.8)
    add_runs(fake_study, "bookwiki", 0.7)
    panel = summarize(fake_study.finish()).panels[0]
    gain, (line,) = panel.find("own").gain, find_line(panel)
    twice = sum(panel.find(name).interaction_variance for name in ("none", "own"))
    expected = Expectation(gain.variance, gain.variance.total - twice)
    assert gain.detectable == pytest.approx(compute_detectable(expected, num_claims=3))
    assert compute_power(expected, gain.detectable, num_claims=3) == pytest.approx(0.8)
    found = [float(number) for number in re.findall(r": (\.\d+) or more", line)]
    assert found == pytest.approx([gain.detectable, panel.versus_reference.detectable], abs=6e-4)
    assert line.startswith("what this study could find with a chance of 80%: own - none: .")
    assert "; own - bookwiki: ." in line
    assert panel.evidence.index(line) == 2  # after the two differences it speaks of


def test_a_study_without_own_says_it_of_its_conditions(fake_study):
    fake_study.add("none", [0.6, 0.62, 0.58]).add("bookwiki", [0.8, 0.81, 0.79]).add("bookwiki_sized", [0.7, 0.7, 0.71])
    panel = summarize(fake_study.finish()).panels[0]
    assert [re.search("80%: (.+) - none: ", line)[1] for line in find_line(panel)] == ["bookwiki", "bookwiki_sized"]


def test_a_difference_larger_than_any(fake_study):
    """Two seeds far apart on a side."""
    fake_study.add("none", [0.4, 0.9]).add("own", [0.5, 0.9])
    (line,) = find_line(summarize(fake_study.finish()).panels[0])
    assert line.endswith("80%: own - none: none that the metric can have")


def test_no_variance_promises_nothing(fake_study):
    outputs = np.eye(4)[np.zeros(400, dtype=int)]
    fake_study.add("none", [0.5] * 2, outputs=outputs).add("own", [0.5] * 2, outputs=outputs)
    panel = summarize(fake_study.finish()).panels[0]
    assert panel.find("own").gain.detectable is None


def test_crossed_seeds_are_told_apart_by_their_factors(fake_study):
    """Without a pretraining there is no order of the data: the runs of one initialisation are its fine-tunings."""
    fake_study.add_task("topics")
    add_runs(fake_study, "none", 0.3, seeds=6, finetunings=1)
    add_runs(fake_study, "own", 0.8, seeds=6, finetunings=1)
    summary = summarize(fake_study.finish(seed_factors={"init": 2, "data": 3}))
    none, own = summary.panels[0].entries
    assert [source.name for source in none.sources] == [
        "initialisation", "fine-tuning", "examples", "initialisation x examples", "fine-tuning x examples",
    ]  # fmt: skip
    names = [source.name for source in own.sources]
    assert {"initialisation", "data order", "initialisation x data order"} <= {*names}
    assert not {"seed", "fine-tuning"} & {*names}
    table = build_variance_table(summary)
    rows = {row[2]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["none"]["data order"] == "-" and rows["own"]["fine-tuning"] == "-"
    assert rows["none"]["initialisation"] != "-" and rows["own"]["initialisation"] != "-"
    assert "its part stands in that of what the factors do together." in explain_variance(summary)[0]

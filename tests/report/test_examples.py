"""Examples where procedures disagree: which are chosen, with which texts, and where they must not be."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from selfpretrain.config import ReportConfig, TaskConfig
from selfpretrain.kinds import KINDS, LabelForm, TaskKind
from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.collect import choose_folder
from selfpretrain.report.examples import LENGTH, add_examples, choose_number, cut, list_csv
from selfpretrain.report.summary import summarize
from selfpretrain.report.write import save_report, write_report
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.sources.labelled import Split, TaskData
from tests.report.conftest import NUM_EXAMPLES, make_labels
from tests.report.test_write import make_plan

NAMES = ["world", "sports", "business", "science"]


def make_data(fake_study, name="topics", texts=None, labels=None, **changes):
    """The data behind a fake task, whose ids they have; a text tells its row."""
    task = replace(fake_study.tasks[name], label_names=NAMES, **changes)
    fake_study.tasks[name] = task
    texts = texts or [(f"a text of row {row}",) for row in range(NUM_EXAMPLES)]
    labels = make_labels(name, task.label_kind) if labels is None else labels
    ids = [f"row{row}" for row in range(NUM_EXAMPLES)]
    train = Split(["train"], texts[:1], labels[:1])
    return {name: TaskData(task, {"train": train, "test": Split(ids, texts, labels)}, "", [])}


def summarize_with(fake_study, data, number=None, **study):
    results = fake_study.finish(**study)
    summary = summarize(results)
    add_examples(summary, results, data, number)
    return summary


def add_three(fake_study):
    """own and bookwiki differ on row 3 and less on row 5; none differs from both everywhere."""
    labels = make_labels("topics", "class")
    certain = np.eye(4)[labels] * 4.0
    other = certain.copy()
    other[3] = np.eye(4)[(labels[3] + 1) % 4] * 4
    other[5] = certain[5] / 2
    fake_study.add("none", [0, 0], outputs=np.tile(np.linspace(0, 0.3, 4), (NUM_EXAMPLES, 1)))
    fake_study.add("own", [0, 0], outputs=certain)
    fake_study.add("bookwiki", [0, 0, 0], outputs=other)
    return labels


def test_those_furthest_apart_come_first_with_what_every_condition_says(fake_study):
    labels = add_three(fake_study)
    summary = summarize_with(fake_study, make_data(fake_study))
    versus_reference, versus_baseline = summary.disagreements
    assert versus_reference.pair == ("own", "bookwiki")
    assert versus_baseline.pair == ("own", "none")
    assert [example.id for example in versus_reference.examples] == ["row3", "row5"]  # all others are alike
    assert len(versus_baseline.examples) == 5
    assert (versus_reference.num_apart, versus_reference.num_examples) == (1, NUM_EXAMPLES)
    first = versus_reference.examples[0]
    assert first.texts == ("a text of row 3",)
    assert first.label == NAMES[labels[3]]
    own, bookwiki, none = first.views
    assert [view.condition for view in first.views] == ["own", "bookwiki", "none"]
    sure = np.exp(4) / (np.exp(4) + 3)
    assert own.of_label == pytest.approx(sure) and own.chosen == first.label and (own.num_right, own.num_runs) == (2, 2)
    assert bookwiki.of_chosen == pytest.approx(sure) and bookwiki.chosen == NAMES[(labels[3] + 1) % 4]
    assert bookwiki.of_label == pytest.approx((1 - sure) / 3) and (bookwiki.num_right, bookwiki.num_runs) == (0, 3)
    assert first.distance == pytest.approx(sure - (1 - sure) / 3, abs=1e-6)
    assert none.num_right == 2 * (labels[3] == 3)


def test_the_number_is_the_setting_and_of_own_files_none():
    public, docs = TaskConfig(name="a"), TaskConfig(name="b", loader="docs")
    local = TaskConfig(name="c", loader="local", path="x.csv")
    assert [choose_number(task, None) for task in (public, docs, local)] == [5, 5, 0]
    assert [choose_number(task, 2) for task in (public, local)] == [2, 2]
    assert choose_number(public, 0) == 0
    assert choose_number(replace(public, path="x.csv"), None) == 0


def test_without_own_what_the_study_compares(fake_study):
    fake_study.add("none", [0.4, 0.4]).add("half:bookwiki", [0.5, 0.5]).add("bookwiki", [0.6, 0.6])
    summary = summarize_with(fake_study, make_data(fake_study), 1)
    assert [each.pair for each in summary.disagreements] == [("half:bookwiki", "bookwiki"), ("bookwiki", "none")]


def test_the_same_study_chooses_the_same_whatever_the_order_of_its_rows(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.7, 0.7])
    data = make_data(fake_study)
    first = summarize_with(fake_study, data).disagreements
    assert first == summarize_with(fake_study, data).disagreements
    for cell in fake_study.cells[:2]:  # of the baseline alone
        path = cell.folder / "predictions" / "test.parquet"
        found = fake_study.finish().read_runs([cell], "topics", decoded=False)[0]
        write_predictions(path, found.ids[::-1], found.labels[::-1], found.predictions[0][::-1])
    assert [each.examples for each in summarize_with(fake_study, data).disagreements] == [
        each.examples for each in first
    ]


@pytest.mark.parametrize("kind", ["score", "multilabel"])
def test_other_forms_of_labels(fake_study, kind):
    fake_study.add_task("topics", kind)
    fake_study.add("none", [0.2, 0.3]).add("own", [0.8, 0.9])
    (found,) = summarize_with(fake_study, make_data(fake_study), 3).disagreements
    distances = [example.distance for example in found.examples]
    assert distances == sorted(distances, reverse=True) and len(distances) == 3
    view = found.examples[0].views[0]
    if kind == "score":
        assert view.num_right is None and view.of_chosen is None
        assert float(view.chosen) == pytest.approx(float(found.examples[0].label) - view.of_label, abs=0.1) or float(
            view.chosen
        ) == pytest.approx(float(found.examples[0].label) + view.of_label, abs=0.1)
    else:
        assert found.examples[0].label.removeprefix("not ") in NAMES[:3]
        assert view.chosen.removeprefix("not ") == found.examples[0].label.removeprefix("not ")
        assert (view.of_label >= 0.5) == (view.chosen == found.examples[0].label)


def write_answers(fake_study, cell, sums, answers):
    path = cell.folder / "predictions" / "test.parquet"
    ids = [f"row{row}" for row in range(NUM_EXAMPLES)]
    write_predictions(path, ids, np.ones_like(sums), sums, answers)


def test_answers_in_words_are_those_of_most_runs(fake_study):
    fake_study.tasks["topics"] = TaskConfig(name="topics", label_kind="span", metric="answer_f1")
    for condition, said in (("none", ["a hen"] * 3), ("own", ["the dog", "a cat", "the dog"])):
        fake_study.add(condition, [0, 0, 0], status="missing")
        for cell, answer in zip(fake_study.cells[-3:], said, strict=True):
            sums = np.ones((NUM_EXAMPLES, 2), np.float32)
            sums[7] = [0, 0.25] if condition == "none" else [1, 1]
            write_answers(fake_study, cell, sums, [answer] * NUM_EXAMPLES)
    fake_study.cells = [replace(cell, status="done") for cell in fake_study.cells]
    context = "x " * 600 + "the dog barks"
    labels = np.array([json.dumps([["the dog", 1200], ["dog", 1204], ["dog", 1204]])] * NUM_EXAMPLES, dtype=object)
    data = make_data(fake_study, texts=[("Who barks?", context)] * NUM_EXAMPLES, labels=labels)
    (found,) = summarize_with(fake_study, data).disagreements
    (example,) = found.examples
    assert (example.id, example.label) == ("row7", "the dog | dog")
    assert [(v.condition, v.chosen, v.of_label, v.num_right) for v in example.views] == [
        ("own", "the dog", 1.0, 3), ("none", "a hen", 0.25, 0),
    ]  # fmt: skip
    assert example.texts[0] == "Who barks?" and example.texts[1].endswith("x the dog barks")
    assert example.texts[1].startswith("…x")


def test_texts_are_cut_and_cleaned():
    assert cut("a\n b\t\x00c") == "a b �c"
    long = cut("word " * 200)
    assert len(long) <= LENGTH + 1 and long.endswith("…") and not long.startswith("…")
    assert cut("ab " * 500 + "goal " + "cd " * 500, 1500).startswith("…") and "goal" in cut(
        "ab " * 500 + "goal " + "cd " * 500, 1500
    )
    assert cut("goal " + "cd " * 20, 0) == ("goal " + "cd " * 20).strip()


def test_options_stand_behind_with_their_names(fake_study):
    fake_study.add("none", [0.4]).add("own", [0.9])
    data = make_data(
        fake_study,
        label_kind="choice",
        labels=make_labels("topics", "class"),
        texts=[("He ran", "", "a", "b", "c", "d")] * NUM_EXAMPLES,
    )
    (found,) = summarize_with(fake_study, data, 1).disagreements
    assert found.examples[0].texts == ("He ran", "world: a", "sports: b", "business: c", "science: d")


def test_what_is_lacking_is_a_line_and_the_report_still_comes_out(fake_study, monkeypatch):
    fake_study.add("none", [0.6]).add("own", [0.9])
    data = make_data(fake_study)
    for given, line in (
        ({}, "its data are not here"),
        ({"topics": replace(data["topics"], splits={"test": Split(["x"], [("y",)], np.zeros(1))})}, "not those that it was scored on"),
    ):  # fmt: skip
        summary = summarize_with(fake_study, given)
        assert not summary.disagreements
        assert any("topics, tiny: no examples are shown" in each and line in each for each in summary.warnings)
    monkeypatch.setitem(KINDS, "odd", TaskKind(LabelForm(np.int64, 1), ("accuracy",), KINDS["class"].decode))
    fake_study.tasks["topics"] = replace(fake_study.tasks["topics"], label_kind="odd")
    assert any("label_kind=odd" in line for line in summarize_with(fake_study, data).warnings)


def test_neither_off_nor_failed_says_anything(fake_study):
    fake_study.add("none", [0.6]).add("own", [0], status="failed")
    data = make_data(fake_study)
    assert not summarize_with(fake_study, data, 0).disagreements
    summary = summarize_with(fake_study, data)
    assert not summary.disagreements and not any("examples" in line for line in summary.warnings)


# where they go


def write(plan):
    write_report(plan, Console(file=io.StringIO(), width=100), [])
    return choose_folder(plan)


def test_texts_go_to_files_of_their_own_and_no_further(fake_study):
    add_three(fake_study)
    texts = [("SECRETTEXT <script>alert(1)</script>", "=SUM(A1)")] * NUM_EXAMPLES
    data = make_data(fake_study, texts=texts)
    plan = make_plan(fake_study)
    plan.data = data
    folder = write(plan)
    holders = {path.name for path in folder.iterdir() if b"SECRETTEXT" in path.read_bytes()}
    assert holders - {"report.html"} == {"examples.csv"}
    assert "disagreements" not in (folder / "summary.json").read_text()
    rows = list(csv.DictReader(io.StringIO((folder / "examples.csv").read_text(encoding="utf-8"))))
    assert [row["id"] for row in rows[:6]] == ["row3"] * 3 + ["row5"] * 3
    assert rows[0]["text_1"].startswith("SECRETTEXT") and rows[0]["text_2"] == "'=SUM(A1)"
    assert "examples.csv" in (folder / "report.md").read_text()
    plan.settings = replace(plan.settings, report=ReportConfig(examples=0))
    write(plan)
    assert not [path.name for path in folder.iterdir() if b"SECRETTEXT" in path.read_bytes()]
    assert not (folder / "examples.csv").exists()


def test_a_number_in_the_file_stays_a_number(fake_study):
    add_three(fake_study)
    header, rows = list_csv(summarize_with(fake_study, make_data(fake_study)).disagreements)
    values = [dict(zip(header, row, strict=True)) for row in rows]
    assert all(float(row["of_label"]) >= 0 and row["runs"] in ("2", "3") for row in values)


def test_equal_studies_give_equal_files(fake_study, tmp_path):
    add_three(fake_study)
    data = make_data(fake_study)
    for name in ("one", "two"):
        summary = summarize_with(fake_study, data)
        save_report(summary, build_blocks(summary), tmp_path / name)
    assert (tmp_path / "one" / "examples.csv").read_bytes() == (tmp_path / "two" / "examples.csv").read_bytes()

"""``selfpretrain init``: the study file that is written, that it runs as written, and what is refused."""

from __future__ import annotations

import shlex

import pytest
import yaml

from selfpretrain.door import compose_settings
from selfpretrain.study.tasks import choose_tasks
from selfpretrain.welcome.starter import make_name
from tests.conftest import make_rows, write_csv


@pytest.fixture
def started(command, tmp_path, monkeypatch):
    """``started(rows)``: init of a file of these rows, in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def give(rows, *more, name="reviews.csv"):
        write_csv(tmp_path / name, rows)
        return command("init", name, *more)

    return give


def find_task():
    return choose_tasks(compose_settings("study", ["study=reviews.yaml"]))[0]


def test_the_file_runs_as_printed(command, started, tiny, tmp_path):
    outcome = started(make_rows())
    assert (outcome.code, outcome.err) == (0, "")
    steps = [shlex.split(line)[:3] for line in outcome.out.splitlines() if line.startswith("  selfpretrain ")]
    assert [words[1] for words in steps] == ["plan", "study", "report"]
    text = (tmp_path / "reviews.yaml").read_text()
    assert all(" ".join(words) in text for words in steps)
    task, settings = find_task(), compose_settings("study", ["study=reviews.yaml"])
    assert (task.path, task.text, task.label, task.metric) == ("reviews.csv", ["body"], ["topic"], "accuracy")
    assert (settings.study.name, settings.study.effort) == ("reviews", "quick")
    small = [word for word in tiny if not word.startswith("study.conditions")]
    done = command(
        *steps[1][1:], *small, "study.conditions=[none]", "study.pretrain_seeds=2", "study.num_replicates=200"
    )
    assert done.code == 0, done
    assert len(list(tmp_path.glob("runs/reports/reviews*/report.md"))) == 1
    assert command(*steps[0][1:], *small, "study.conditions=[none]", "study.pretrain_seeds=2").code == 0


def test_what_is_said_of_the_data(started):
    rows = make_rows()
    rows[3]["body"] = rows[1]["body"]  # of the same label
    rows[5]["body"] = rows[2]["body"]  # of another
    said = started(rows).out
    assert "80 rows read from reviews.csv (CSV, commas, UTF-8)" in said
    assert "2 classes, column 'topic', training rows: a: " in said
    assert (
        "warning: duplicates: 2 of 80 rows have the text of another row" in said
        and "1 texts have several labels" in said
    )
    assert "test: 16 of 80 training examples cut off by content hash" in said
    assert "lengths: 8 words in the median" in said
    assert 'metric: accuracy (always saying "a" would be right in 50%)' in said
    assert "text: body (" in said and "label: topic (named as labels are)" in said


def test_classes_of_unequal_size_are_scored_by_macro_f1(started):
    rows = [{**row, "topic": "b" if number % 8 == 0 else "a"} for number, row in enumerate(make_rows())]
    said = started(rows).out
    assert 'metric: macro_f1 (always saying "a" would be right in 88%, so that accuracy would say little)' in said
    assert find_task().metric == "macro_f1"


ODD = ['it\'s: a "name" # {no comment}', "true", "${x}", "[a,b]", "\u00e9t\u00e9", "a, b", "1", " "]


@pytest.mark.parametrize("name", ODD[:-1])
def test_columns_of_any_name(started, name):
    rows = [{name: row["body"], "topic": row["topic"]} for row in make_rows()]
    assert started(rows).code == 0
    assert find_task().text == [name]


@pytest.mark.parametrize("name", ["2024_05", "1e5", "true", "null"])
def test_files_of_any_name(command, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / f"{name}.csv", make_rows())
    assert command("init", f"{name}.csv").code == 0
    assert yaml.safe_load((tmp_path / f"{name}.yaml").read_text())["study"]["name"] == name


def test_the_user_s_word_counts(started, tmp_path):
    outcome = started(make_rows(), "task.text=[title,body]", "task.test_fraction=.3", "study.name=mine")
    assert outcome.code == 0 and "text: title, body (as you said)" in outcome.out
    entry = yaml.safe_load((tmp_path / "mine.yaml").read_text())["study"]["tasks"][0]
    assert entry == {
        "name": "mine", "path": "reviews.csv", "text": ["title", "body"], "label": "topic", "test_fraction": 0.3, "metric": "accuracy",
    }  # fmt: skip


def test_nothing_is_overwritten(started, tmp_path):
    (tmp_path / "reviews.yaml").write_text("mine")
    outcome = started(make_rows())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "selfpretrain: reviews.yaml is there already and stays; name another: selfpretrain init reviews.csv study.name=<name>\n"
    )
    assert (tmp_path / "reviews.yaml").read_text() == "mine"


ROWS = make_rows()


@pytest.mark.parametrize(("arguments", "rows", "parts"), [
    (["gone.csv"], ROWS, ["task.path=gone.csv does not exist"]),
    ([], ROWS, ["no file is named", "selfpretrain init x.csv"]),
    (["reviews.csv", "x.csv"], ROWS, ["2 files are named"]),
    (["path=reviews.csv"], ROWS, ["did you mean 'task.path'?"]),
    (["reviews.csv", "task.texts=body"], ROWS, ["setting task.texts", "did you mean 'text'?"]),
    (["reviews.csv", "effort=quick"], ROWS, ["not effort=quick"]),
    (["reviews.csv", "task.label=topics"], ROWS, ["no column 'topics'"]),
    (["reviews.csv"], [{"body": row["body"]} for row in ROWS], ["one column only, 'body'"]),
    (["reviews.csv"], [{"body": row["body"], "title": row["title"]} for row in ROWS], ["no column looks like a label", "task.label="]),
    *((["reviews.csv", f"study.name={name}"], ROWS, [f"has the name {name!r}; allowed: letters"]) for name in ("", "a b", "a=b", "a/b")),
    (["reviews.csv", "study.name=agnews"], ROWS, ["agnews is the name of a card"]),
    (["reviews.csv"], ROWS[:20], ["has 20 rows", "at least 50"]),
])  # fmt: skip
def test_wrong_input_is_one_line(command, tmp_path, monkeypatch, arguments, rows, parts):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", rows)
    outcome = command("init", *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert all(part in outcome.err for part in parts), outcome.err
    assert not list(tmp_path.glob("*.yaml"))


def test_an_empty_file(command, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("")
    outcome = command("init", path)
    assert outcome.code == 2 and "is empty" in outcome.err


def test_names():
    assert [make_name(path) for path in ("a/My reviews.csv.gz", "snli.csv", "quickstart.jsonl", "?.csv")] == [
        "My_reviews", "my_snli", "my_quickstart", "mine",
    ]  # fmt: skip

"""A study's tasks: several files of the user's, and data that are missing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from selfpretrain.config import MissingData, UserError
from selfpretrain.report import plots
from selfpretrain.report.collect import collect_results
from selfpretrain.report.summary import summarize
from selfpretrain.study.audit import print_audit


def write_tasks(**paths):
    """``study.tasks=[...]`` of these files, by name; a name without a file is a card's."""
    columns = {"text": "body", "label": "topic"}
    entries = [{"name": name, "path": f"'{path}'", **columns} if path else name for name, path in paths.items()]
    return "study.tasks=" + json.dumps(entries).replace('"', "")


@pytest.fixture
def files(local, examples):
    """Two files of different texts."""
    rows = [{**row, "body": f"{row['body']} there"} for row in examples]
    return [Path(local(each, name)[1].partition("=")[2]) for each, name in ((examples, "x.csv"), (rows, "y.csv"))]


@pytest.fixture
def nothing_here(monkeypatch):
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)


def list_ids(plan, task):
    return {cell.id for g in plan.groups if g.task == task for cells in g.cells.values() for cell in cells.values()}


# files of the user's


def test_files_are_tasks_with_the_runs_that_each_has_alone(make_plan, files):
    """Under whatever name: what is in a file decides."""
    plan = make_plan(write_tasks(reviews=files[0], tickets=files[1]))
    assert list(plan.data) == ["reviews", "tickets"]
    alone = make_plan()  # task=local, the first of the two
    assert list_ids(plan, "reviews") == list_ids(alone, "local")
    assert list_ids(plan, "reviews").isdisjoint(list_ids(plan, "tickets"))
    assert alone.pretrainings.keys() < plan.pretrainings.keys() and alone.corpora.keys() < plan.corpora.keys()


def test_what_is_made_per_task_is_made_of_files(make_plan, files):
    conditions = "study.conditions=[none,own,mix:own+own_of:reviews]"
    counts = ["study.cross=true", "study.label_counts=[8,all]"]
    plan = make_plan(write_tasks(reviews=files[0], tickets=files[1]), conditions, *counts)
    found = {(group.task, group.condition) for group in plan.groups}
    own = {"none", "own"}
    wanted = {"reviews": {*own, "own_of:tickets"}, "tickets": {*own, "mix:own+own_of:reviews", "own_of:reviews"}}
    assert found == {(f"{t}{count}", c) for t, keys in wanted.items() for c in keys for count in ("", "@8")}
    assert {cell.condition for cell in plan.corpora.values()} == {
        "own of reviews", "own of tickets", "mix:own+own_of:reviews of tickets"
    }  # fmt: skip


def test_a_path_is_relative_to_where_the_command_is_started(make_plan, files, monkeypatch, tmp_path):
    absolute = make_plan(write_tasks(reviews=files[0]))
    monkeypatch.chdir(tmp_path)
    assert list_ids(make_plan(write_tasks(reviews="x.csv")), "reviews") == list_ids(absolute, "reviews")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert list_ids(make_plan(write_tasks(reviews="~/x.csv")), "reviews") == list_ids(absolute, "reviews")


def test_one_file_may_be_two_tasks_if_these_differ(make_plan, files):
    tasks = f"study.tasks=[{{name:a,path:{files[0]},text:body,label:topic}},{{name:b,path:{files[0]},text:title,label:topic}}]"
    assert list(make_plan(tasks).data) == ["a", "b"]


def test_a_copy_under_another_name_is_the_same_file(make_plan, files):
    files[1].write_bytes(files[0].read_bytes())
    with pytest.raises(UserError, match="a and b are the same file, read in the same way; give it once"):
        make_plan(write_tasks(a=files[0], b=files[1]))


def test_a_study_file_of_one_s_own(command, tiny, files, tmp_path, monkeypatch):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    rows = [
        f"    - {{name: {name}, path: {path.name}, text: body, label: topic}}"
        for name, path in zip("ab", files, strict=True)
    ]
    lines = ["# @package _global_", "study:", "  name: ours", "  conditions: [none]", "  tasks:", *rows]
    (tmp_path / "mine" / "study" / "ours.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})
    given = [setting for setting in tiny if not setting.startswith("study.conditions")]
    outcome = command("study", "-cd", "mine", "study=ours", *given, "study.pretrain_seeds=1")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "study ours" in outcome.out and "tasks a, b; conditions none" in outcome.out
    scored = json.loads(next(tmp_path.glob("runs/reports/ours-*/summary.json")).read_text())["panels"]
    assert [panel["task"] for panel in scored] == ["a", "b"]
    configs = tmp_path.glob("runs/finetune/*/config.yaml")
    (run,) = (path.parent.name for path in configs if OmegaConf.load(path).task.name == "a")
    columns = ["task=local", "task.path=y.csv", "task.text=body", "task.label=topic"]
    assert command("evaluate", *tiny, *columns, f"init=run:{run}").code == 0


# data that are missing


def test_a_task_without_data_is_a_gap(make_plan, files, nothing_here):
    plan = make_plan(write_tasks(reviews=files[0], jigsaw=None))
    assert list(plan.tasks) == list(plan.data) == ["reviews"]
    why = "to be downloaded by hand"
    assert [(gap.task, gap.condition, gap.why) for gap in plan.gaps] == [("jigsaw", c, why) for c in ("none", "own")]
    assert list_ids(plan, "reviews") == list_ids(make_plan(), "local")
    (panel, gap) = summarize(collect_results(plan, [])).panels
    assert (panel.entries[0].state, panel.entries[0].counts["missing"]) == ("missing", 2)  # not run yet
    assert [(entry.state, entry.counts["absent"]) for entry in gap.entries] == [("absent", 2)] * 2


@pytest.mark.parametrize("condition", ["own_of:jigsaw", "mix:own+own_of:jigsaw"])
def test_a_condition_that_wants_a_missing_text_is_a_gap(make_plan, nothing_here, condition):
    plan = make_plan(f"study.conditions=[none,{condition}]")
    assert [(group.condition, group.task) for group in plan.groups] == [("none", "local")]
    (gap,) = plan.gaps
    assert (gap.condition, gap.task, gap.why) == (condition, "local", "the text of jigsaw (to be downloaded by hand)")


def test_the_texts_of_what_is_here_are_audited(make_plan, files, nothing_here):
    console = Console(file=io.StringIO(), width=160)
    print_audit(make_plan(write_tasks(reviews=files[0], jigsaw=None, tickets=files[1])), console)
    text = console.file.getvalue()
    assert "audit of reviews" in text and "audit of tickets" in text and "audit of jigsaw" not in text
    assert "data of jigsaw: missing: task=jigsaw has to be downloaded by hand" in text


def test_a_missing_task_keeps_its_place(make_plan, files, nothing_here):
    cells = collect_results(make_plan(write_tasks(jigsaw=None, reviews=files[0]), "study.cross=true"), []).cells
    assert [(c.task, c.condition) for c in cells if c.pretrain_seed == c.finetune_seed == 0] == [
        ("jigsaw", "none"), ("jigsaw", "own"), ("jigsaw", "own_of:reviews"),
        ("reviews", "none"), ("reviews", "own"), ("reviews", "own_of:jigsaw"),
    ]  # fmt: skip


def test_without_any_data_there_is_no_study(make_plan, files, nothing_here):
    with pytest.raises(MissingData, match="task=jigsaw has to be downloaded by hand"):
        make_plan(write_tasks(jigsaw=None))
    with pytest.raises(UserError, match=r"no task of the study has data here: task=jigsaw .* missing, too: agnews"):
        make_plan(write_tasks(jigsaw=None, agnews=None))


def test_wrong_data_are_no_gap(make_plan, files, nothing_here, tmp_path, monkeypatch):
    """They stop the study before anything starts, and so does a path that leads nowhere."""
    with pytest.raises(UserError, match=r"study\.tasks, gone: .*z\.csv does not exist"):
        make_plan(write_tasks(reviews=files[0], gone=tmp_path / "z.csv"))
    (tmp_path / "jigsaw_toxicity_pred").mkdir()
    for split in ("train", "test"):
        (tmp_path / "jigsaw_toxicity_pred" / f"{split}.csv").write_text("comment_text,toxic\nword,2\n")
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    with pytest.raises(UserError, match="has no column 'severe_toxic'"):
        make_plan(write_tasks(reviews=files[0], jigsaw=None))


def test_a_study_shows_its_gap_and_goes_on_when_the_data_are_there(command, tiny, files, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    given = [
        "study",
        *tiny,
        write_tasks(reviews=files[0], sst2=None),
        "study.pretrain_seeds=1",
        "study.conditions=[none]",
    ]
    folder = tmp_path / "glue" / "sst2"
    folder.mkdir(parents=True)
    planned = command("plan", *given[1:])
    assert planned.code == 0 and "tasks reviews, sst2 (missing)" in planned.out
    assert "data of sst2: missing: task=sst2: " in planned.out and "has no validation.jsonl.gz" in planned.out
    outcome = command(*given)
    assert outcome.code == 1
    assert outcome.err == "missing: the data of sst2; the same command goes on with them once they are here\n"
    why = "missing: the mirror has no test split"
    report = next(tmp_path.glob("runs/reports/*/report.md"))
    assert f"| roberta_tiny | sst2 (accuracy) | none | {why} |" in report.read_text()
    assert why in (report.parent / "report.tex").read_text() and why in " ".join(outcome.out.split())
    assert "sst2, roberta\\_tiny: no answer, its data are missing: the mirror has no test split." in report.read_text()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/status")}
    assert len(done) == 1
    for split, rows in (("train", 300), ("validation", 60)):
        lines = [
            json.dumps({"sentence": f"{split} {row} {'good' if row % 2 else 'bad'}", "label": row % 2})
            for row in range(rows)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    again = command(*given)
    assert (again.code, again.err) == (0, ""), again
    assert "fine-tuning: 1 of 2 cells to run" in again.out
    assert {path: path.stat().st_mtime_ns for path in done} == done

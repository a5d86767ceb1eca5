"""The options of a choice: from columns or lists to texts, and every way they can be wrong."""

from __future__ import annotations

import csv
import dataclasses
import json
import os

import datasets
import numpy as np
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.kinds import arrange
from selfpretrain.sources import hub
from selfpretrain.sources.cache import load_documents
from selfpretrain.sources.cache import load_task as load_kept
from selfpretrain.sources.evaluation import load_file
from selfpretrain.sources.tasks import iter_own_text, load_task, read_task

needs_mirror = pytest.mark.skipif(not os.environ.get("SELFPRETRAIN_DATA"), reason="SELFPRETRAIN_DATA is not set")
SIZES = {"train": 52, "validation": 12, "test": 16}


def make_rows(count=80, num_options=3):
    return [
        {
            "context": f"context {row}",
            "begin": f"so {row}" if row % 2 else "",
            "answers": [f"answer {row} {number}" for number in range(num_options)],
            "right": row % num_options,
        }
        for row in range(count)
    ]


def write(path, rows):
    """As JSON, or as CSV with the lists as JSON in their cells."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(
                {name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows
            )
    else:
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def make_task(path, *overrides):
    """As the command line makes it."""
    usual = [
        "task.text=context",
        "task.label=right",
        *([] if "task.options=null" in overrides else ["task.options=answers"]),
    ]
    return compose_settings(
        "finetune", ["model=roberta_tiny", "task=local", f"task.path={path}", *usual, *overrides]
    ).task


def spread_by_hand(rows):
    return [{**{f"o{n}": option for n, option in enumerate(row["answers"])}, **row} for row in rows]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_column_of_lists_and_a_column_each_are_one_task(tmp_path, name):
    rows = make_rows()
    path = write(tmp_path / name, spread_by_hand(rows))
    lists = load_task(make_task(path), "runs")
    apart = load_task(make_task(path, "task.options=[o0,o1,o2]", "task.label_kind=choice"), "runs")
    assert (lists.task.label_kind, lists.task.metric) == ("choice", "accuracy")
    assert lists.task.label_names == ["0", "1", "2"]
    assert {split: len(part.ids) for split, part in lists.splits.items()} == SIZES
    assert lists.fingerprint == apart.fingerprint
    for split in lists.splits.values():
        assert split.labels.dtype == np.int64
        for texts, label in zip(split.texts, split.labels.tolist(), strict=True):
            row = int(texts[0].split()[1])
            assert texts == (f"context {row}", *rows[row]["answers"]) and label == rows[row]["right"]
    assert any(
        note.startswith("label: 3 options, the right one in column 'right', training rows: 0: ") for note in lists.notes
    )


def test_a_second_text_begins_every_option(tmp_path):
    path = write(tmp_path / "x.jsonl", make_rows())
    data = load_task(make_task(path, "task.text=[context,begin]"), "runs")
    texts = {int(parts[0].split()[1]): parts for split in data.splits.values() for parts in split.texts}
    assert texts[2] == ("context 2", "", "answer 2 0", "answer 2 1", "answer 2 2")  # half of them are blank
    assert arrange(data.task, [texts[3]]) == [("context 3", f"so 3 answer 3 {number}") for number in range(3)]
    assert arrange(data.task, [texts[2]])[1] == ("context 2", "answer 2 1")


def test_texts_of_the_context_can_be_one(tmp_path):
    rows = [{**row, "begin": f"so {number}"} for number, row in enumerate(make_rows())]
    path = write(tmp_path / "x.jsonl", rows)
    data = load_task(make_task(path, "task.text=[context,begin]", "task.join_text=true"), "runs")
    texts = {parts[0].split()[1]: parts for split in data.splits.values() for parts in split.texts}
    assert texts["2"] == ("context 2\nso 2", "answer 2 0", "answer 2 1", "answer 2 2")


def test_own_text_is_the_context_and_every_option_of_training_rows(tmp_path):
    path = write(tmp_path / "x.jsonl", make_rows())
    data = load_task(make_task(path, "task.text=[context,begin]"), "runs")
    wanted = {"\n".join(filter(None, texts)) for texts in data.splits["train"].texts}
    documents = list(iter_own_text(make_task(path, "task.text=[context,begin]"), "runs"))
    assert len(documents) == SIZES["train"] and set(documents) == wanted
    other = list(iter_own_text(make_task(path, "task.text=[context,begin]", "task.corpus_columns=[answers]"), "runs"))
    assert {document.count("\n") for document in other} == {2} and all("context" not in text for text in other)


def test_what_is_kept_is_what_was_read(tmp_path):
    task = make_task(write(tmp_path / "x.jsonl", make_rows()))
    made = load_task(task, str(tmp_path / "runs"))
    read_task(task, str(tmp_path / "runs"))
    (folder,) = (path for path in (tmp_path / "runs" / "tasks").iterdir() if path.is_dir())
    kept = load_kept(folder)
    assert (kept.task, kept.fingerprint) == (made.task, made.fingerprint)
    assert all(kept.splits[name].texts == split.texts for name, split in made.splits.items())
    assert len(load_documents(folder)) == SIZES["train"]


def test_labels_of_other_names(tmp_path):
    rows = [{**row, "right": "ABC"[row["right"]]} for row in make_rows()]
    path = write(tmp_path / "x.jsonl", rows)
    data = load_task(make_task(path, "task.label_values=[A,B,C]"), "runs")
    plain = load_task(make_task(write(tmp_path / "y.jsonl", make_rows())), "runs")
    assert data.fingerprint == plain.fingerprint
    strings = write(tmp_path / "z.jsonl", [{**row, "right": str(row["right"])} for row in make_rows()])
    assert load_task(make_task(strings), "runs").fingerprint == plain.fingerprint


def change(row, **values):
    rows = make_rows()
    rows[row].update(values)
    return rows


@pytest.mark.parametrize(
    ("rows", "overrides", "words"),
    [
        (change(6, answers=["a", "b"]), [], "row 7: 2 options in column 'answers', the task has 3; give every example as many"),
        (change(0, answers=["a", "b", "c", "d"]), [], "row 1: 4 options in column 'answers', the task has 3"),
        (change(6, answers=["a", " ", "c"]), [], "row 7: empty or whitespace text in column 'answers[1]' (1 of 80 rows)"),
        (change(6, answers=["a", {"b": 1}, "c"]), [], "row 7: column 'answers[1]' holds a dict, not text; set task.options="),
        (change(6, answers="a|b|c"), [], "row 7: 'a|b|c' in column 'answers' is no list of options; write it as JSON"),
        (change(6, answers=None), [], "row 7: 'None' in column 'answers' is no list of options"),
        (change(6, answers=["a", "b", " A"], right=2), [], "row 7: the right option is among the wrong ones, too; change"),
        (change(6, right=3), [], "row 7: the label 3 is none of the options 0, 1, 2; write the number of the right one, from 0"),
        (change(6, right=-1), [], "row 7: the label -1 is none of the options"),
        (change(6, right=""), [], "row 7: no label in column 'right'"),
        (change(6, context=" "), [], "row 7: empty or whitespace text in column 'context'"),
        (make_rows(num_options=1), [], "has 1 option for an example and a choice needs two"),
        (make_rows(), ["task.options=[answers,begin]"], "column 'answers' holds a list, not text; set task.options="),
        (make_rows(), ["task.options=endings"], "no column 'endings'; its columns are 'context', 'begin', 'answers', 'right'"),
        (make_rows(), ["task.options=[begin,other]"], "no column 'other'"),
        (make_rows(), ["task.options=null", "task.label_kind=choice"], "task.label_kind=choice needs the options: task.options="),
        (make_rows(), ["task.label_kind=class"], "is not for task.label_kind=class; set task.label_kind=choice, or task.options=null"),
        (make_rows(), ["task.options=[begin,right]"], "column 'right' of task.options is in task.text, task.label or"),
        (make_rows(), ["task.options=[begin,begin]"], "column 'begin' of task.options is in"),
        (make_rows(), ["task.options=context"], "column 'context' of task.options is in"),
        (make_rows(), ["task.text=[context,begin]", "task.unordered_pair=true"], "set task.unordered_pair=false"),
        (make_rows(), ["task.label_names=[a,b]"], "task.label_names names 2 options, an example of"),
        (make_rows(), ["task.label_values=[1,2,3,4]"], "task.label_values names 4 options, an example of"),
        (make_rows(), ["task.metric=macro_f1"], "task.metric=macro_f1 does not fit labels of kind choice; allowed: accuracy"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(tmp_path, rows, overrides, words):
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(UserError) as error:
        load_task(make_task(path, *overrides), "runs")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_wrong_options_that_are_equal_do_no_harm(tmp_path):
    path = write(tmp_path / "x.jsonl", change(6, answers=["a", "b", "b"], right=0))
    assert sum(len(split.ids) for split in load_task(make_task(path), "runs").splits.values()) == 80


def test_a_file_to_evaluate_on_has_as_many_options(tmp_path):
    trained = load_task(make_task(write(tmp_path / "x.jsonl", make_rows())), "runs").task
    task = make_task(write(tmp_path / "y.jsonl", make_rows(10)))
    assert load_file(task, trained, "runs").task.label_names == trained.label_names
    task = make_task(write(tmp_path / "y.jsonl", make_rows(10, num_options=4)))
    with pytest.raises(UserError, match=r"names 3 options, an example of .*y\.jsonl has 4"):
        load_file(task, trained, "runs")


def make_hub_rows(name, count):
    """Rows as the hub has them: the columns of the card and those beside them."""
    for row in range(count):
        endings, right = [f"ends {row} {number}" for number in range(4)], row % 4
        if name == "swag":
            yield {"video-id": "v", "startphrase": f"First {row}. It", "sent1": f"First {row}.", "sent2": "It",
                   **{f"ending{number}": ending for number, ending in enumerate(endings)}, "label": right}  # fmt: skip
        elif name == "hellaswag":
            yield {"ind": row, "ctx_a": f"First {row}.", "ctx_b": "it", "ctx": f"First {row}. it", "endings": endings,
                   "label": str(right)}  # fmt: skip
        else:
            yield {"id": row, "question_category": 5, "question_propmt": f"First {row}.", "candidate_answers": endings,
                   "correct_answer_idx": right}  # fmt: skip


@pytest.mark.parametrize("name", ["swag", "hellaswag", "codah"])
def test_the_cards_read_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "commits", {})
    card, sizes = load_task_card(name), {"train": 100, "validation": 30}
    (tmp_path / "data").mkdir()
    for source in card.splits.values():
        data = datasets.Dataset.from_list(list(make_hub_rows(name, sizes[source])))
        if name == "swag":
            data = data.cast_column("label", datasets.ClassLabel(names=["0", "1", "2", "3"]))
        data.to_parquet(tmp_path / "data" / f"{source}-00000-of-00001.parquet")
    files = [{"split": source, "path": f"data/{source}-*"} for source in card.splits.values()]
    configs = json.dumps([{"config_name": card.hub_config or "default", "data_files": files}])
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    num_rows = {split: sizes[source] for split, source in card.splits.items()}
    card = dataclasses.replace(card, hub_id=str(tmp_path), num_rows=num_rows)
    data = load_task(card, "runs")
    assert sum(len(split.ids) for split in data.splits.values()) == sum(num_rows.values())
    assert all((split.labels < 4).all() and len(split.texts[0]) == len(card.text) + 4 for split in data.splits.values())
    first, second = arrange(data.task, data.splits["test"].texts[:1])[2]
    row = int(first.removeprefix("First ").removesuffix("."))
    begin = {"swag": "It ", "hellaswag": "it ", "codah": ""}[name]
    assert second == f"{begin}ends {row} 2" and data.splits["test"].labels[0] == row % 4
    context = {"swag": ". It", "hellaswag": ". it", "codah": "."}[name]
    documents = list(iter_own_text(card, "runs"))
    assert len(documents) == len(data.splits["train"].ids)
    row = int(documents[0].split("\n")[1].split()[1])
    assert documents[0] == "\n".join([f"First {row}{context}", *(f"ends {row} {number}" for number in range(4))])


@needs_mirror
def test_codah_of_the_mirror():
    data = load_task(load_task_card("codah"), "runs")
    assert sum(len(split.ids) for split in data.splits.values()) == 2776
    assert not any("official" in note or "among the wrong ones" in note for note in data.notes)
    assert all(len(parts) == 5 for split in data.splits.values() for parts in split.texts)


@needs_mirror
def test_hellaswag_rows_of_the_mirror():
    card = dataclasses.replace(load_task_card("hellaswag"), splits={"train": "validation"}, num_rows={})
    data = load_task(card, "runs")
    texts = [parts for split in data.splits.values() for parts in split.texts]
    assert len(texts) >= 1000 and any(not parts[1] for parts in texts) and any(parts[1] for parts in texts)
    assert all(second.strip() == second for _, second in arrange(data.task, texts) if not second.startswith(" "))

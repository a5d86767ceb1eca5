"""Answers in a context, from every form of cell; what is wrong with one is said by row; a passage is never on two sides."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path

import datasets
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources import hub
from selfpretrain.sources.answers import MAX_CONTEXT, Answer, list_answers, load_answers
from selfpretrain.sources.cache import load_documents
from selfpretrain.sources.cache import load_task as load_kept
from selfpretrain.sources.evaluation import load_file
from selfpretrain.sources.tasks import iter_own_text, load_task, read_task

needs_mirror = pytest.mark.skipif(not os.environ.get("SELFPRETRAIN_DATA"), reason="SELFPRETRAIN_DATA is not set")
PLACES = ["Rome", "Paris", "Berlin", "Prague"]


def make_rows(count=80, per_passage=4):
    """Questions, four about each passage, with the answer as the hub gives it."""
    rows = []
    for row in range(count):
        passage = row // per_passage
        met = ", ".join(f"{place}\u2019s queen" for place in PLACES[:3])
        context = f"In year {passage} the king of {PLACES[passage % 4]} met {met}, {passage} times."
        answer = f"{PLACES[row % 3]}\u2019s queen"
        answers = {"text": [answer, "king"], "answer_start": [context.index(answer), context.index("king")]}
        rows.append({"question": f"Who was met, {row}?", "context": context, "answers": answers})
    return rows


@pytest.fixture
def given(tmp_path):
    """``given(rows)``: the task of a file of these rows."""

    def give(rows, name="x.jsonl", **settings):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        settings = {"text": ["question", "context"], "label": ["answers"], "label_kind": "span", **settings}
        return TaskConfig(name="local", loader="local", path=str(path), **settings)

    return give


def list_read(task):
    """Each example by its question: its context and answers."""
    data = load_task(task, "runs")
    return {
        texts[0]: (texts[1], load_answers(label))
        for split in data.splits.values()
        for texts, label in zip(split.texts, split.labels, strict=True)
    }, data


# the forms

FORMS = {
    "as the hub has it": lambda texts, starts: {"text": texts, "answer_start": starts},
    "as SQuAD's own file has it": lambda texts, starts: [
        {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
    ],
    "as JSON text": lambda texts, starts: json.dumps({"text": texts, "answer_start": starts}),
    "as Python writes it": lambda texts, starts: str({"text": texts, "answer_start": starts}),
    "texts alone": lambda texts, starts: list(texts),
    "JSON text of texts": lambda texts, starts: json.dumps(texts),
    "one text": lambda texts, starts: texts[0],
    "one object": lambda texts, starts: {"text": texts[0], "answer_start": starts[0]},
    "an object without a place": lambda texts, starts: {"text": texts},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_cell_may_have_any_of_these_forms(given, form):
    rows = make_rows()
    written = [{**row, "answers": FORMS[form](*row["answers"].values())} for row in rows]
    read, data = list_read(given(written))
    one = form.startswith("one")
    for row in rows:
        context, answers = read[row["question"]]
        wanted = list(map(Answer, *row["answers"].values()))
        assert context == row["context"] and answers == (wanted[:1] if one else wanted)
    notes = [note for note in data.notes if "no place" in note]
    said = "80 rows say no place of an answer: where it first stands in the context"
    assert notes == ([f"train: {said}"] if "answer_start" not in str(written[0]["answers"]) else [])
    assert data.task.metric == "exact_match" and data.task.label_names == []
    assert any(note.startswith("train: 80 rows read") for note in data.notes)
    sizes = f"{len(data.splits['train'].ids)} training rows, the median answer 2 words, the longest 2"
    assert f"label: span, column 'answers', {sizes}; metric exact_match; none is missing" in "\n".join(data.notes)


def test_a_plain_text_is_found_where_it_first_stands():
    assert list_answers("[1]") == [("[1]", None)] and list_answers("{x") == [("{x", None)]
    assert list_answers(["a", {"text": "b", "answer_start": 3}]) == [("a", None), ("b", 3)]


def test_a_csv_file(given, tmp_path):
    rows = make_rows()
    with open(tmp_path / "x.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "answers"])
        writer.writerows([row["question"], row["context"], json.dumps(row["answers"])] for row in rows)
    task = dataclasses.replace(given(rows), path=str(tmp_path / "x.csv"))
    assert list_read(task)[0] == list_read(given(rows))[0]


# what is wrong

CONTEXT = "The golden \u2019Super  Bowl\u2019 was in California."
WRONG = {
    "at another place": ({"text": ["golden"], "answer_start": [5]}, "is not at character 5 of the context, where 'olden ' stands; it stands at 4"),
    "in other case": ("Golden", "'Golden' is not in the context; write it as the context has it at 4: 'golden'"),
    "in other white space": ("Super Bowl", "write it as the context has it at 12: 'Super  Bowl'"),
    "white space at its end": ("California ", "write it as the context has it at 32: 'California'"),
    "nowhere": ("Denver", "the answer 'Denver' is not in the context; correct it, or remove the row"),
    "one of several nowhere": ({"text": ["golden", "x"], "answer_start": [4, 8]}, "'x' is not at character 8"),
    "beyond the context": ({"text": ["golden"], "answer_start": [400]}, "answer_start is 400; it is the number"),
    "before it": ({"text": ["golden"], "answer_start": [-4]}, "answer_start is -4"),
    "a place that is text": ({"text": ["golden"], "answer_start": ["4"]}, "answer_start is '4'"),
    "a place that is no whole number": ({"text": ["golden"], "answer_start": [4.5]}, "answer_start is 4.5"),
    "fewer places than answers": ({"text": ["golden", "Bowl"], "answer_start": [4]}, "2 answers and 1 places"),
    "a number": (7, "the answer 7 is neither text nor of the form"),
    "a number in a list": ({"text": [7], "answer_start": [4]}, "the answer 7 is no text"),
    "an object of other names": ({"answer": "golden"}, "is neither text nor of the form"),
    "an empty answer": ({"text": [" "], "answer_start": [3]}, "the answer ' ' is no text"),
    "none": (None, "no answer in column 'answers'"),
    "an empty list": ({"text": [], "answer_start": []}, "no answer in column 'answers'"),
    "an empty cell": (" ", "no answer in column 'answers'"),
    "half of a surrogate pair": ("\ud800", "is not in the context"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_refused_with_its_row(given, name):
    rows = make_rows()
    rows[6] |= {"context": CONTEXT, "answers": WRONG[name][0]}
    with pytest.raises(UserError) as error:
        load_task(given(rows), "runs")
    assert "x.jsonl, row 7: " in str(error.value) and WRONG[name][1] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_context_of_a_book_is_refused(given):
    rows = make_rows()
    rows[2]["context"] = "In year " * 1_250_000
    with pytest.raises(
        UserError, match=rf"row 3: the context has 10,000,000 characters, and {MAX_CONTEXT:,} are the most"
    ):
        load_task(given(rows), "runs")


def test_texts_are_a_question_and_its_context(given):
    rows = make_rows()
    for settings in ({"text": ["context"]}, {"join_text": True}, {"unordered_pair": True}):
        with pytest.raises(UserError, match=r"set task\.text=\[question,context\]"):
            load_task(given(rows, **settings), "runs")
    with pytest.raises(UserError, match=r"is an object.*task\.label_kind=span if it is an answer in a context"):
        load_task(given(rows, label_kind=None), "runs")


# splits and own text


def test_the_questions_of_a_passage_are_on_one_side(given):
    rows = make_rows(400)
    rows[5]["context"] = rows[4]["context"].replace(" ", "  ").upper()  # the same passage but for white space and case
    rows[5]["answers"] = rows[5]["context"][:4]
    task = given(rows)
    data = load_task(task, "runs")
    passages = {
        name: {" ".join(texts[1].lower().split()) for texts in split.texts} for name, split in data.splits.items()
    }
    assert len(set.union(*passages.values())) == sum(map(len, passages.values())) == 100
    assert sum(len(split.ids) for split in data.splits.values()) == 400 and data.overlap == ()
    turned = load_task(given(rows[::-1], "y.jsonl"), "runs")
    assert turned.fingerprint == data.fingerprint
    half = load_task(dataclasses.replace(task, max_train_examples=60), "runs")
    assert len(half.splits["train"].ids) == 60 and set(half.splits["train"].ids) < set(data.splits["train"].ids)
    assert len({texts[1] for texts in half.splits["train"].texts}) > 30  # not all questions of a few passages


def test_an_overlap_is_a_passage_in_training(given, tmp_path):
    rows = make_rows()
    test = [{**rows[0], "question": "Another one?"}, {**rows[1], "context": rows[1]["context"] + " Again."}]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, test)), encoding="utf-8")
    path = str(tmp_path / "valid.jsonl")
    (tmp_path / "valid.jsonl").write_text(
        "\n".join(map(json.dumps, [{**row, "context": f"{row['context']} Yes."} for row in rows[8:10]])),
        encoding="utf-8",
    )
    data = load_task(given(rows, test_path=str(tmp_path / "test.jsonl"), validation_path=path), "runs")
    (seen,) = [
        name for name, texts in zip(data.splits["test"].ids, data.splits["test"].texts, strict=True)
        if texts[1] == rows[0]["context"]
    ]  # fmt: skip
    assert data.overlap == (seen,)


def test_the_own_text_has_each_passage_once(given):
    task = given(make_rows())
    data, documents = load_task(task, "runs"), list(iter_own_text(task, "runs"))
    train = data.splits["train"].texts
    assert len(documents) == len({texts[1] for texts in train}) < len(train) / 2
    lines = [line for document in documents for line in document.split("\n")]
    assert sorted(lines) == sorted({texts[1] for texts in train}) + sorted(texts[0] for texts in train)
    for document in documents:
        passage, *questions = document.split("\n")
        assert set(questions) == {texts[0] for texts in train if texts[1] == passage}
    assert list(iter_own_text(dataclasses.replace(task, max_train_examples=10), "runs")) == documents
    contexts = list(iter_own_text(dataclasses.replace(task, corpus_columns=["context"]), "runs"))
    assert sorted(contexts) == sorted({texts[1] for texts in train})


def test_what_was_read_is_kept(given):
    task = given(make_rows())
    first = read_task(task, "runs")
    (folder,) = [path for path in Path("runs/tasks").iterdir() if path.is_dir()]
    kept = load_kept(folder)
    for name, split in load_task(task, "runs").splits.items():
        assert kept.splits[name].labels.tolist() == first.splits[name].labels.tolist() == split.labels.tolist()
        assert kept.splits[name].texts == split.texts
    assert kept.fingerprint == load_task(task, "runs").fingerprint
    assert sorted(map("\n".join, load_documents(folder))) == sorted(iter_own_text(task, "runs"))


def test_another_file_is_read_as_the_run_reads_its_own(given):
    trained = load_task(given(make_rows()), "runs").task
    data = load_file(given(make_rows(12)[::-1], "y.jsonl", label_kind=None), trained, "runs")
    assert len(data.splits["test"].ids) == 12 and data.task.label_kind == "span"


# the card


def write_hub(folder, monkeypatch, train, test):
    """The card of SQuAD for a folder laid out as on the hub, with these rows."""
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    monkeypatch.setattr(hub, "commits", {})
    card, files = load_task_card("squad"), []
    for source, rows in (("train", train), ("validation", test)):
        (folder / "plain_text").mkdir(exist_ok=True)
        whole = [{"id": str(number), "title": "A title", **row} for number, row in enumerate(rows)]
        path = f"plain_text/{source}-00000-of-00001.parquet"
        datasets.Dataset.from_list(whole).to_parquet(folder / path)
        files.append({"split": source, "path": f"plain_text/{source}-*"})
    configs = json.dumps([{"config_name": "plain_text", "data_files": files}])
    (folder / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    return dataclasses.replace(card, hub_id=str(folder), num_rows={"train": len(train), "test": len(test)})


def test_the_card_reads_the_hub(tmp_path, monkeypatch):
    test = [{**row, "context": f"{row['context']} Indeed."} for row in make_rows(40)]
    card = write_hub(tmp_path, monkeypatch, make_rows(100), test)
    read, data = list_read(card)
    assert {name: len(split.ids) for name, split in data.splits.items()} == {"train": 80, "validation": 20, "test": 40}
    assert read["Who was met, 3?"][1] == list(map(Answer, *test[3]["answers"].values()))
    assert not any("official" in note for note in data.notes)


def test_what_is_wrong_in_the_hubs_training_rows_is_left_out(tmp_path, monkeypatch):
    train, test = make_rows(100), make_rows(40)
    train[3]["answers"] = {"text": ["king"], "answer_start": [0]}
    train[4]["answers"] = {"text": [], "answer_start": []}
    card = write_hub(tmp_path, monkeypatch, train, test)
    data = load_task(card, "runs")
    assert sum(len(data.splits[name].ids) for name in ("train", "validation")) == 98
    (note,) = [note for note in data.notes if "count as" in note]
    assert note.startswith("train: 1 rows count as without a label, the first row 4: the answer 'king' is not at")
    assert "train: 2 rows without a label dropped" in data.notes
    test[7]["answers"] = {"text": ["king"], "answer_start": [0]}
    (tmp_path / "other").mkdir()
    card = write_hub(tmp_path / "other", monkeypatch, train, test)
    with pytest.raises(UserError, match=r"validation, row 8: the answer 'king' is not at character 0"):
        load_task(card, "runs")


@needs_mirror
def test_the_mirror():
    data = load_task(load_task_card("squad"), "runs")
    assert any("3939 of 87599 official rows" in note for note in data.notes)
    assert len(data.splits["test"].ids) == 10570 and not data.overlap
    assert all(len(load_answers(label)) >= 1 for label in data.splits["test"].labels)

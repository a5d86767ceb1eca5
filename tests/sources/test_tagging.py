"""Tagged sentences: from lists, text and CoNLL's columns to examples, and every way they can be wrong."""

from __future__ import annotations

import dataclasses
import gzip
import json

import datasets
import numpy as np
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.config import TaskConfig, UserError
from selfpretrain.door import compose_settings
from selfpretrain.hashing import hash_section
from selfpretrain.sources import conll, hub
from selfpretrain.sources.cache import load_task as load_kept
from selfpretrain.sources.evaluation import load_file
from selfpretrain.sources.tasks import iter_own_text, load_task, read_task

TAGS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
SIZES = {"train": 52, "validation": 12, "test": 16}


def make_rows(count=80):
    """One person or place in each, of one or two words; all texts differ."""
    rows = []
    for row in range(count):
        kind, length = ("PER", "LOC")[row % 2], 1 + row // 2 % 2
        words = [f"w{row}", "met", *[f"N{row}"] * length, "."]
        rows.append({"tokens": words, "ner_tags": ["O", "O", f"B-{kind}", *[f"I-{kind}"] * (length - 1), "O"]})
    return rows


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def make_task(path, *overrides):
    """As the command line makes it."""
    usual = ["task=local", f"task.path={path}", "task.text=tokens", "task.label=ner_tags"]
    return compose_settings("finetune", ["model=roberta_tiny", *usual, *overrides]).task


def change(row, **values):
    rows = make_rows()
    rows[row].update(values)
    return rows


def test_an_example_is_its_words_and_its_label_their_tags(tmp_path):
    rows = make_rows()
    data = load_task(make_task(write(tmp_path / "x.jsonl", rows)), "runs")
    task = data.task
    assert (task.label_kind, task.metric, task.tag_scheme, task.label_names) == ("token", "entity_f1", "iob", TAGS)
    assert {name: len(split.ids) for name, split in data.splits.items()} == SIZES
    for split in data.splits.values():
        for (text,), label in zip(split.texts, split.labels, strict=True):
            row = rows[int(text.split()[0][1:])]
            assert text == " ".join(row["tokens"]) and label == " ".join(row["ner_tags"])
    own = list(iter_own_text(make_task(tmp_path / "x.jsonl"), "runs"))
    assert sorted(own) == sorted(text for (text,) in data.splits["train"].texts)
    (note,) = (note for note in data.notes if note.startswith("label: "))
    assert (
        "5 tags (iob), column 'ner_tags', 52 training rows with " in note and "words and 52 entities: 'B-LOC': " in note
    )


def test_what_is_kept_is_what_was_read(tmp_path):
    task = make_task(write(tmp_path / "x.jsonl", make_rows()))
    made = load_task(task, str(tmp_path / "runs"))
    read_task(task, str(tmp_path / "runs"))
    (folder,) = (path for path in (tmp_path / "runs" / "tasks").iterdir() if path.is_dir())
    kept = load_kept(folder)
    assert (kept.task, kept.fingerprint) == (made.task, made.fingerprint)
    for name, split in made.splits.items():
        assert kept.splits[name].texts == split.texts and kept.splits[name].labels.tolist() == split.labels.tolist()


def as_conll(rows, between="\t"):
    return "\n\n".join("\n".join(between.join([w, "_", t]) for w, t in zip(*row.values(), strict=True)) for row in rows)


@pytest.mark.parametrize("between", ["\t", " ", "  "])
@pytest.mark.parametrize("breaks", ["\n", "\r\n"])
def test_columns_of_conll_are_the_same_task(tmp_path, between, breaks):
    text = (
        "-DOCSTART- -X- O\n\n#begin document (a); part 000\n" + as_conll(make_rows(), between) + "\n\n\n#end document\n"
    )
    path = tmp_path / "x.conll.gz"
    path.write_bytes(gzip.compress(text.replace("\n", breaks).encode()))
    data = load_task(make_task(path), "runs")
    assert data.fingerprint == load_task(make_task(write(tmp_path / "x.jsonl", make_rows())), "runs").fingerprint
    assert data.notes[0].endswith("(CoNLL, a sentence a row, UTF-8, gzip)")


def test_the_columns_between_can_be_read_too():
    content = conll.read("# NN B-NP O\nx NN I-NP O\n\ny VB B-VP B-PER\n", "f")
    assert content.names == ["tokens", "2", "3", "ner_tags"] and content.num_rows == 2
    assert content.columns == [
        [["#", "x"], ["y"]], [["NN", "NN"], ["VB"]], [["B-NP", "I-NP"], ["B-VP"]], [["O", "O"], ["B-PER"]]
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [
    ("a O\nb\n", "x.conll, line 2 has 1 columns, the first line 2; each line is a word, its tag last"),
    ("a\tO\n\nb c\tO\td\n", "line 3 has 3 columns"),
    ("word\nword\n", "line 1 has 1 columns"),
    ("-DOCSTART- O\n\n", "has a header but no rows"),
])  # fmt: skip
def test_what_is_no_conll_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "x.conll").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_task(make_task(tmp_path / "x.conll"), "runs")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rows", "overrides", "message"), [
    (change(4, ner_tags=["O"] * 3), [], "x.jsonl, row 5: 4 words in column 'tokens' and 3 tags in column 'ner_tags'; give every"),
    (change(4, tokens=["a", "", "b", "c"]), [], "row 5: word 2 in column 'tokens' is empty; a word has at least one character"),
    (change(4, tokens=["a", "New York", "b", "c"]), [], "row 5: word 2 in column 'tokens' is 'New York', with white space; .* make it several"),
    (change(4, tokens=["a", "1\u00a0000", "b", "c"]), [], r"row 5: word 2 .* is '1\\xa0000', with white space"),
    (change(4, tokens=["a", None, "b", "c"]), [], "row 5: word 2 in column 'tokens' is None and no text"),
    (change(4, tokens=["a", 1.5, "b", "c"]), [], "row 5: word 2 in column 'tokens' is 1.5 and no text"),
    (change(4, tokens=[["a", "b"], ["c"]], ner_tags=[["O", "O"], ["O"]]), [], "row 5: word 1 in column 'tokens' is a list; a row is one sentence"),
    (change(4, tokens={"a": 1}), [], "row 5: .* in column 'tokens' is no list of words"),
    (change(4, ner_tags={"a": 1}), [], "row 5: .* in column 'ner_tags' is no list of tags"),
    (change(4, tokens=[], ner_tags=[]), [], "row 5: empty or whitespace text in column 'tokens'"),
    (change(4, ner_tags=[]), [], "row 5: no label in column 'ner_tags'"),
    (change(4, ner_tags=None), [], "row 5: no label in column 'ner_tags'"),
    (change(4, ner_tags=["O", "O", "B PER", "O"]), [], "row 5: tag 3 in column 'ner_tags' is 'B PER', with white space"),
    (change(4, ner_tags=["O", "O", "PER", "O"]), [], "the tags of local are of no scheme: .* or set task.tag_scheme=plain"),
    (change(4, ner_tags=["O", "O", "E-PER", "O"]), ["task.tag_scheme=iob"], "task.tag_scheme=iob has no tag 'E-PER'; its tags are O and B-<type>, I-<type>"),
    (make_rows(), ["task.label_names=[O,B-PER,I-PER,B-LOC]"], "tag 4, 'I-LOC', never occurs in training; known: O, B-PER"),
    (make_rows(), ["task.label_names=[O,B PER]"], "task.label_names has 'B PER'; a tag has"),
    (make_rows(), ["task.label_names=[O,B-PER]", "task.label_values=[1]"], "has 2 names for 1 classes"),
    ([{**row, "ner_tags": [0] * len(row["tokens"])} for row in make_rows()], [], r"the tags in column 'ner_tags' are numbers; name them .* task.label_names=\[O,B-PER"),
    ([{**row, "ner_tags": ["O"] * len(row["tokens"])} for row in make_rows()], [], "hold one tag only .O. and need at least two"),
    (make_rows(), ["task.metric=accuracy"], "task.metric=accuracy does not fit labels of kind token; allowed: entity_f1, token_accuracy"),
    (make_rows(), ["task.text=[tokens,ner]", "task.label_kind=token"], "task.label_kind=token is of one column of words and one of their tags"),
    (make_rows(), ["task.join_text=true"], "task.label_kind=token is of one column of words"),
    (make_rows(), ["task.label=[ner_tags,x]"], "task.label_kind=token is of one column of words"),
    (make_rows(), ["task.text=words"], "no column 'words'; its columns are 'tokens', 'ner_tags'"),
    (make_rows(20), [], "has 20 rows; a study needs at least 50"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, rows, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        load_task(make_task(write(tmp_path / "x.jsonl", rows), *overrides), "runs")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_files_of_their_own_are_held_to_the_training_tags(tmp_path, name):
    path = write(tmp_path / "x.jsonl", make_rows())
    other = write(tmp_path / "y.jsonl", change(2, ner_tags=["O", "O", "B-ORG", "O", "O"]))
    with pytest.raises(UserError, match=r"y.jsonl, row 3: tag 3, 'B-ORG', never occurs in training; known: B-LOC"):
        load_task(make_task(path, f"task.{name}_path={other}"), "runs")
    none = write(tmp_path / "z.jsonl", [{**row, "ner_tags": ["O"] * len(row["tokens"])} for row in make_rows(20)])
    given = make_task(path, f"task.{name}_path={none}")
    with pytest.raises(
        UserError, match=r"no run could be scored by task.metric=entity_f1 .* task.metric=token_accuracy"
    ):
        load_task(given, "runs")
    by_words = load_task(dataclasses.replace(given, metric="token_accuracy"), "runs")
    assert len(by_words.splits[name].ids) == 20 and by_words.task.metric == "token_accuracy"


def test_a_list_as_numpy_prints_it_is_refused(tmp_path):
    rows = [{name: json.dumps(value) for name, value in row.items()} for row in make_rows()]
    rows[3]["ner_tags"] = "['O' 'O' 'B-LOC' 'I-LOC' 'O']"
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(UserError, match=r"row 4: .* is a list as NumPy prints it; write it as JSON"):
        load_task(make_task(path, "task.label_kind=token"), "runs")
    rows[3]["ner_tags"] = str(make_rows()[3]["ner_tags"])  # as Python prints it
    assert len(load_task(make_task(write(path, rows), "task.label_kind=token"), "runs").splits["train"].ids) == 52


def test_words_in_one_text_may_look_like_lists(tmp_path):
    rows = [{name: " ".join(value) for name, value in row.items()} for row in make_rows()]
    rows[0] = {"tokens": "[1]  [a ]", "ner_tags": "O B-PER O"}
    data = load_task(make_task(write(tmp_path / "x.jsonl", rows), "task.label_kind=token"), "runs")
    assert ("[1] [a ]",) in [text for split in data.splits.values() for text in split.texts]


def test_a_part_of_speech_is_a_plain_tag(tmp_path):
    rows = [{"tokens": row["tokens"], "ner_tags": ["NOUN", "VERB", *["PROPN"] * (len(row["tokens"]) - 3), "PUNCT"]} for row in make_rows()]  # fmt: skip
    data = load_task(make_task(write(tmp_path / "x.jsonl", rows), "task.metric=token_accuracy"), "runs")
    assert data.task.tag_scheme == "plain" and data.task.label_names == ["NOUN", "PROPN", "PUNCT", "VERB"]


def test_a_file_is_scored_with_the_tags_and_the_scheme_of_the_run(tmp_path):
    trained = load_task(make_task(write(tmp_path / "x.jsonl", make_rows()), "task.tag_scheme=iobes"), "runs").task
    other = write(tmp_path / "y.jsonl", [row for row in make_rows() if "B-PER" in row["ner_tags"]])
    data = load_file(make_task(other), trained, "runs")
    assert (data.task.label_names, data.task.tag_scheme, data.task.metric) == (TAGS, "iobes", "entity_f1")
    assert len(data.splits["test"].ids) == 40
    strange = write(tmp_path / "z.jsonl", change(2, ner_tags=["O", "O", "B-ORG", "O", "O"]))
    with pytest.raises(UserError, match=r"z.jsonl, row 3: tag 3, 'B-ORG', never occurs in training"):
        load_file(make_task(strange), trained, "runs")


def test_the_scheme_enters_the_id_of_what_it_decides():
    assert hash_section("task", TaskConfig()) == hash_section("task", TaskConfig(tag_scheme=None))
    assert hash_section("task", TaskConfig(tag_scheme="iob")) != hash_section("task", TaskConfig(tag_scheme="plain"))


# of the hub


@pytest.fixture
def tagged(tmp_path, monkeypatch):
    """``tagged(names)``: a card of a folder laid out as on the hub, its tags numbers of these names."""
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "commits", {})

    def make(names=("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), **settings):
        features = datasets.Features(
            tokens=datasets.List(datasets.Value("string")),
            ner_tags=datasets.List(datasets.ClassLabel(names=list(names))),
        )
        rows = [{**row, "ner_tags": list(map(names.index, row["ner_tags"]))} for row in make_rows()]
        rows[3]["ner_tags"] = [-1] * len(rows[3]["tokens"])
        rows[4] = {"tokens": [], "ner_tags": []}
        (tmp_path / "owner" / "data").mkdir(parents=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "owner" / "data" / "train.parquet")
        card = TaskConfig(
            name="x", hub_id=str(tmp_path / "owner"), splits={"train": "train"}, text="tokens", label="ner_tags"
        )
        return dataclasses.replace(card, label_kind="token", **settings)

    return make


def test_tags_of_the_hub_have_its_names(tagged):
    data = load_task(tagged(), "runs")
    assert data.task.label_names == TAGS and data.task.tag_scheme == "iob"
    assert "train: 2 rows without a label dropped" in data.notes
    labels = dict(zip((text for (text,) in data.splits["train"].texts), data.splits["train"].labels, strict=True))
    wanted = {" ".join(row["tokens"]): " ".join(row["ner_tags"]) for row in make_rows()}
    assert all(wanted[text] == label for text, label in labels.items())


def test_a_card_that_names_tags_has_them_in_the_order_of_the_hub(tagged):
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    card = tagged(label_names=names)
    data = load_task(card, "runs")
    assert data.task.label_names == names and "train: 2 rows without a label dropped" in data.notes
    with pytest.raises(UserError, match=r"classes \['O', 'B-PER', .* are not the card's \['B-PER', 'O'\]"):
        load_task(dataclasses.replace(card, label_names=["B-PER", "O"]), "runs")


@pytest.mark.parametrize("ending", ["jsonl.gz", "conll"])
def test_the_card_of_conll_2012(tmp_path, monkeypatch, ending):
    card = load_task_card("conll2012")
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    with pytest.raises(
        UserError, match=r"conll2012 has to be downloaded by hand: get OntoNotes 5.0 .*; put train.jsonl.gz and "
    ) as error:
        load_task(card, "runs")
    assert "\n" not in str(error.value) and "conll2012_ontonotesv5" in str(error.value)
    folder = tmp_path / "conll2012_ontonotesv5"
    folder.mkdir()
    for number, split in enumerate(("train", "validation", "test")):
        rows = [{**row, "tokens": [f"{split}{number}", *row["tokens"][1:]]} for row in make_rows(60)]
        text = as_conll(rows) if ending == "conll" else "\n".join(map(json.dumps, rows))
        (folder / f"{split}.{ending}").write_bytes(
            gzip.compress(text.encode()) if ending.endswith("gz") else text.encode()
        )
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    data = load_task(card, "runs")
    assert [len(split.ids) for split in data.splits.values()] == [60, 60, 60] and data.task.label_names == TAGS
    assert all(split.labels.dtype == np.dtype(object) for split in data.splits.values())

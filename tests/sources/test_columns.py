"""A label is the text it is, and what its kind may be is said or asked, never guessed."""

import json
from typing import Any

import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import load_task


def load(tmp_path, values: list[Any], as_json: bool = False, **changes: Any) -> TaskData:
    """120 rows in which the labels ``values`` recur; as CSV, whose cells are all text, or as JSON."""
    rows = [{"text": f"this is text {row}", "label": values[row % len(values)]} for row in range(max(120, len(values)))]
    path = tmp_path / ("x.jsonl" if as_json else "x.csv")
    if as_json:
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        cells = ['"' + str(row["label"]).replace('"', '""') + '"' for row in rows]
        path.write_text("text,label\n" + "".join(f"{row['text']},{c}\n" for row, c in zip(rows, cells, strict=True)))
    return load_task(TaskConfig("local", loader="local", path=str(path), text="text", label="label", **changes), "runs")


def refuse(tmp_path, values: list[Any], as_json: bool = False, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        load(tmp_path, values, as_json, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "classes",
    [
        ["01", "1", "007", "7"],
        ["11_2", "1_12", "1_1_2", "2_1"],
        ["9007199254740993", "9007199254740992"],
        ["100", "1E2", "1e2"],
        ["+1", "1"],
        ["None", "null"],
        ["NA", "nan", "N/A"],
        ["inf", "infinity"],
        ["False", "false"],
        ["[UNK]", "(other)"],
        ["1.2.3", "1.2.30"],
        ["2024-01-05", "2024-01-06"],
    ],
)
def test_labels_are_the_text_they_are(tmp_path, classes):
    task = load(tmp_path, classes).task
    assert (task.label_kind, sorted(task.label_names)) == ("class", sorted(classes))


def test_stored_numbers_are_classes_by_value(tmp_path):
    big = 2**60
    assert load(tmp_path, [0, 1, 10, 2], as_json=True).task.label_names == ["0", "1", "2", "10"]
    assert load(tmp_path, [1.0, 2.0], as_json=True).task.label_names == ["1", "2"]
    assert load(tmp_path, [True, False], as_json=True).task.label_names == ["false", "true"]
    assert load(tmp_path, [big, big + 1], as_json=True).task.label_names == [str(big), str(big + 1)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            [str(n) for n in range(60)],
            "60 different whole numbers (0, 1, 2, 3, 4, ...), which may be classes or scores",
        ),
        ([str(n) for n in range(120)], "120 different whole numbers"),
        (["1.1", "1.10", "1.2", "2.0"], "1.1 and 1.10 would be one number"),
        (["3.8", "3.9", "4.1"], "3 different numbers"),
        ([f"{n // 20}.{n % 20}" for n in range(80)], "1.1 and 1.10 would be one number"),
    ],
)
def test_doubtful_numbers_are_refused_with_both_ways(tmp_path, values, words):
    message = refuse(tmp_path, values)
    assert words in message
    assert message.endswith("set task.label_kind=class or task.label_kind=score")
    assert load(tmp_path, values * 2, label_kind="class").task.label_names == sorted(
        values, key=int if "." not in values[0] else str
    )
    assert load(tmp_path, values, label_kind="score").task.label_names == []


@pytest.mark.parametrize(
    "values",
    [["1,5", "2,0", "3"], ["1,234", "999", "2,000"], ["1.234,5", "2.000,0"], ["50%", "10 %"], ["$5", "$7.50"],
     ["1 234", "2\u00a0000"], ["1'000", "2'500"], ["1.234.567", "2.000.000"]],
)  # fmt: skip
def test_numbers_written_for_people(tmp_path, values):
    message = refuse(tmp_path, values)
    assert "may be a number or a name; write numbers plainly, as 1234.5, and set task.label_kind=score" in message
    assert "task.label_kind=class" in message
    assert "write it plainly, as 1234.5" in refuse(tmp_path, values, label_kind="score")
    assert load(tmp_path, values, label_kind="class").task.label_names == sorted(values)


def test_scores_are_finite_and_lose_nothing(tmp_path):
    scores = [repr(n / 7e5) for n in range(60)]
    assert load(tmp_path, scores).task.label_kind == "score"
    assert "row 3: the score 'nan'" in refuse(tmp_path, [*scores[:2], "nan", *scores[2:]])
    ids = [str(2**60 + n) for n in range(60)]
    assert "row 1: the score '1152921504606846976' is not a finite number of at most 15 digits" in refuse(
        tmp_path, ids, label_kind="score"
    )


LISTS = [["joy"], ["joy", "love"], ["anger"], []]


@pytest.mark.parametrize(
    "values",
    [
        [str(each) for each in LISTS],
        [json.dumps(each) for each in LISTS],
        ["joy", "joy|love", "anger|love", "anger"],
        ["joy", "joy, love", "anger, love", "anger"],
        ["joy;love", "joy;anger", "love;anger", "joy"],
    ],
)
def test_text_that_may_be_a_list_is_asked_about(tmp_path, values):
    message = refuse(tmp_path, values)
    assert "may be several labels; set task.label_kind=multilabel" in message and "task.label_kind=class" in message
    assert load(tmp_path, values, label_kind="multilabel").task.label_names == ["anger", "joy", "love"]
    assert load(tmp_path, values, label_kind="class").task.label_names == sorted(values)


def test_lists_are_several_labels(tmp_path):
    data = load(tmp_path, LISTS, as_json=True)
    assert (data.task.label_kind, data.task.label_names) == ("multilabel", ["anger", "joy", "love"])
    test = data.splits["test"]
    for (text,), labels in zip(test.texts, test.labels, strict=True):
        expected = LISTS[int(text.split()[-1]) % 4]
        assert labels.tolist() == [name in expected for name in data.task.label_names]
    assert "the label ['joy'] is a list; set task.label_kind=multilabel" in refuse(
        tmp_path, LISTS, as_json=True, label_kind="class"
    )


@pytest.mark.parametrize("value", ["['a' 'b']", "[1 2]", "{'a': 1}", "['a', ['b']]"])
def test_lists_that_cannot_be_read(tmp_path, value):
    assert "is no list of labels; write it as JSON" in refuse(tmp_path, ["['a']", value], label_kind="multilabel")


def test_a_vector_of_zeros_and_ones_is_no_list_of_names(tmp_path):
    message = refuse(tmp_path, [[1, 0, 0], [0, 1, 1]], as_json=True)
    assert "row 1: [1, 0, 0] in column 'label' names a label twice" in message and "task.label=[a,b,c]" in message


def test_an_unknown_label_in_a_list(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"text": "a", "label": ["joy", "awe"]}\n{"text": "b", "label": []}')
    message = refuse(tmp_path, LISTS, as_json=True, test_path=str(tmp_path / "test.jsonl"))
    assert "row 1: the label 'awe' never occurs in training; known: anger, joy, love" in message


def test_names_with_commas_are_names(tmp_path):
    names = ["Arts, Crafts", "Food, Wine", "Music"]
    assert load(tmp_path, names).task.label_names == names


@pytest.mark.parametrize("label", [{"name": "a"}, {"id": 1, "name": "b"}])
def test_objects_are_no_labels(tmp_path, label):
    assert "row 2: the label in column 'label' is an object, {" in refuse(tmp_path, ["a", label], as_json=True)


def test_only_an_empty_cell_is_missing(tmp_path):
    assert "rows 2, 5, 8, 11, 14 and 35 more: no label" in refuse(tmp_path, ["a", " ", "b"])
    for missing in (None, float("nan"), ""):
        assert "rows 2, 5, 8, 11, 14 and 35 more: no label" in refuse(tmp_path, ["a", missing, "b"], as_json=True)


@pytest.mark.parametrize("classes", [["a", "b"], ["1", "2"]])
@pytest.mark.parametrize("word", ["NaN", "null", "N/A", "None"])
def test_a_rare_label_named_like_what_is_missing(tmp_path, classes, word):
    values = [word, *classes * 30]
    message = refuse(tmp_path, values)
    assert f"row 1: no label in column 'label', or a class named '{word}' (2 of 120 rows)" in message
    assert "task.label_kind=class" in message
    assert word in load(tmp_path, values, label_kind="class").task.label_names


@pytest.mark.parametrize(
    ("metric", "validation", "kind", "words"),
    [
        ("mcc", ["0", "0"], "class", "all labels equal 0: mcc needs at least two different labels"),
        ("f1", ["0", "0"], "class", "no label is 1: f1 scores class 1"),
        ("pearson", ["1", "1"], "score", "all labels equal 1.0: pearson needs"),
        ("micro_auc", ["[]", "[]"], "multilabel", "all labels equal 0.0: micro_auc needs"),
    ],
)
def test_a_metric_no_run_could_have(tmp_path, metric, validation, kind, words):
    values = ["['a']", "['b']"] if kind == "multilabel" else ["0", "1"]
    path = tmp_path / "held_out.csv"
    path.write_text("text,label\n" + "".join(f"held out {row},{value}\n" for row, value in enumerate(validation)))
    for split in ("validation_path", "test_path"):
        message = refuse(tmp_path, values, label_kind=kind, metric=metric, **{split: str(path)})
        assert f"no run could be scored by task.metric={metric} on the labels in label: {words}" in message
    if kind == "class":  # defined, if of little use
        assert load(tmp_path, values, validation_path=str(path)).task.metric == "accuracy"


def test_labels_in_other_spellings_are_named(tmp_path):
    notes = load(
        tmp_path, ["thing", "Thing ", "thing\u200b", "perso\u0308n", "pers\xf6n", "sci-tech", "Sci Tech"]
    ).notes
    assert "train: white space at the ends of 17 labels left out" in notes
    warning = next(note for note in notes if "spellings that" in note)
    assert "'Thing' and 'thing' and 'thing\\u200b'" in warning
    assert "'perso\\u0308n' and 'pers\xf6n'" in warning
    assert "'Sci Tech' and 'sci-tech'" in warning
    assert not any("spellings that" in note for note in load(tmp_path, ["1_12", "11_2", "c", "c++"]).notes)


def test_kind_counts_and_range_are_said(tmp_path):
    notes = load(tmp_path, ["b", "a", "b"]).notes
    assert notes[0] == f"train: 120 rows read from {tmp_path}/x.csv (CSV, commas, UTF-8)"
    assert any(note.startswith("label: 2 classes, column 'label', training rows: a: ") for note in notes)
    assert any("(task.label_kind=score if they are scores)" in note for note in load(tmp_path, ["1", "2"]).notes)
    assert any("0 to 8.43" in note for note in load(tmp_path, [f"{n / 7:.2f}" for n in range(60)]).notes)
    many = next(note for note in load(tmp_path, [f"c{n}" for n in range(50)]).notes if "classes" in note)
    assert "label: 50 classes" in many and len(many) < 250
    rare = load(tmp_path, ["a", "b"] * 100 + ["nan"] * 4, label_kind="class").notes
    assert any(note.startswith("warning: 'nan' is a class of ") for note in rare)


def test_overlap_is_counted_and_named(tmp_path):
    (tmp_path / "test.csv").write_text(
        "text,label\n" + "".join(f"THIS is  text {n},a\nnew {n},b\n" for n in range(120))
    )
    data = load(tmp_path, ["a", "b"], test_path=str(tmp_path / "test.csv"))
    in_training = {int(text.split()[-1]) for (text,) in data.splits["train"].texts}
    text_of = dict(zip(data.splits["test"].ids, data.splits["test"].texts, strict=True))
    assert {text_of[example][0] for example in data.overlap} == {f"THIS is  text {n}" for n in in_training}
    said = f"examples whose text is in training too: validation 0 of 24, test {len(in_training)} of 240"
    assert f"warning: {said}; scores on them may be memory" in data.notes

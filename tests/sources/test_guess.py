"""Which columns are proposed as text and label, and when none is."""

from __future__ import annotations

import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources.guess import guess_columns
from selfpretrain.sources.tables import Table

NUM = 60
LONG = [f"a text of some seven words, number {n}" for n in range(NUM)]
SHORT = [f"title {n}" for n in range(NUM)]
CLASSES = ["good", "bad", "fair"] * (NUM // 3)


def make(**columns) -> Table:
    return Table("x.csv", columns, NUM, "CSV, commas, UTF-8")


def guess(task=None, **columns):
    chosen, reasons = guess_columns(task or TaskConfig(name="x"), make(**columns))
    return chosen.text, chosen.label, reasons


def test_names_come_first():
    text, label, reasons = guess(
        id=list(map(str, range(NUM))), text=SHORT, html=LONG, topic=CLASSES, flag=["x", "y"] * (NUM // 2)
    )
    assert (text, label) == (["text"], ["topic"])
    assert "named" in reasons["text"] and "named" in reasons["label"]


def test_then_the_longest_text_and_the_fewest_classes():
    text, label, reasons = guess(a=SHORT, b=LONG, c=CLASSES, d=["x", "y"] * (NUM // 2))
    assert (text, label) == (["b"], ["d"])
    assert "the most of the text columns (a 2)" in reasons["text"]
    assert reasons["label"] == "2 different values in 60 rows, the fewest of the columns that recur (c 3)"


def test_what_says_something_else_is_no_label():
    columns = {"split": ["train", "test"] * (NUM // 2), "language": ["en", "de"] * (NUM // 2), "kind": CLASSES}
    assert guess(body=LONG, **columns)[1] == ["kind"]
    with pytest.raises(UserError, match=r"no column looks like a label.*task\.label=<column>"):
        guess(body=LONG, split=columns["split"], id=list(range(NUM)))


@pytest.mark.parametrize(
    "pair", [("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"), ("question", "answer")]
)
def test_pairs_by_their_names(pair):
    assert guess(**{pair[0]: LONG, pair[1]: SHORT, "label": CLASSES})[:2] == (list(pair), ["label"])


def test_yes_and_no_are_a_label():
    assert guess(question=LONG, answer=["yes", "no"] * (NUM // 2))[:2] == (["question"], ["answer"])


def test_answers_and_tags():
    span, _ = guess_columns(TaskConfig(), make(question=SHORT, context=LONG, answers=[{"text": ["a"]}] * NUM))
    assert (span.text, span.label, span.label_kind) == (["question", "context"], ["answers"], "span")
    tagged, _ = guess_columns(
        TaskConfig(), make(id=list(range(NUM)), tokens=[["a", "b"]] * NUM, ner_tags=[["O", "B-X"]] * NUM)
    )
    assert (tagged.text, tagged.label) == (["tokens"], ["ner_tags"])


def test_several_columns_of_0_and_1_are_labels():
    columns = {name: ["0", "1"] * (NUM // 2) for name in ("toxic", "insult")}
    assert guess(comment=LONG, **columns)[1] == ["toxic", "insult"]
    assert guess(comment=LONG, kind=CLASSES, **columns)[1] == ["insult"]  # the last of the fewest


def test_scores_are_labels_by_their_names_alone():
    numbers = [f"{n / 7:.3f}" for n in range(NUM)]
    assert guess(text=LONG, score=numbers)[1] == ["score"]
    with pytest.raises(UserError, match="no column looks like a label"):
        guess(text=LONG, height=numbers)


def test_what_is_said_stays():
    task = TaskConfig(text=["title"], label=["body"])
    assert guess_columns(task, make(title=SHORT, body=LONG)) == (task, {})
    assert guess(TaskConfig(label=["kind"]), body=LONG, kind=CLASSES, label=CLASSES)[:2] == (["body"], ["kind"])


def test_one_column_or_no_text():
    with pytest.raises(UserError, match=r"two columns named 'text'; rename one"):
        guess_columns(TaskConfig(name="x"), Table("x.csv", {"label": CLASSES}, NUM, "CSV", frozenset({"text"})))
    with pytest.raises(UserError, match=r"one column only, 'text'.*task\.delimiter"):
        guess(text=LONG)
    with pytest.raises(UserError, match=r"no column looks like a text.*task\.text=<column> of 'a', 'label'"):
        guess(a=list(range(NUM)), label=CLASSES)

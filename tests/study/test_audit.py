"""Which texts stand behind a task's conditions, and what is printed of them."""

from __future__ import annotations

import gzip

import pytest

from selfpretrain.config import TextCard
from selfpretrain.sources import documents
from selfpretrain.study.audit import audit_study, list_unknown


@pytest.fixture
def twins(local, examples):
    """A task of 80 rows of which several test texts are nearly in training: every other is the one before and two words."""
    long = [" ".join(f"{row['id']}w{word}" for word in range(30)) for row in examples[::2]]
    texts = [text for first in long for text in (first, f"{first} and more")]
    rows = [{**row, "body": text} for row, text in zip(examples, texts, strict=True)]
    return local(rows, "twins.csv")


@pytest.fixture
def general(tmp_path, monkeypatch):
    """Overrides for a small general text, which names some of the rows, with words around."""
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    monkeypatch.setattr(documents, "load_text_card", lambda name: TextCard(name="toy", mirror=["toy.txt.gz"]))
    articles = [f"before it {' '.join(f'{2 * n}w{word}' for word in range(30))} {'after ' * 60}" for n in range(20)]
    (tmp_path / "toy.txt.gz").write_bytes(gzip.compress("\n\n".join(articles).encode()))
    return ["tokenizer.source=general", "study.general=docs"]


def test_texts_of_a_task_each_once(make_plan, twins, general):
    conditions = "study.conditions=[none,own,bookwiki,bookwiki_sized,mix:own+bookwiki,own_then_bookwiki]"
    plan = make_plan(*twins, *general, conditions)
    found = audit_study(plan)
    assert {key: list(texts) for key, texts in found.items()} == {
        "local": ["training split, own of local", "docs, 20 MiB", "docs, sized"]
    }
    own, docs, sized = found["local"].values()
    train = {texts[0] for texts in plan.data["local"].splits["train"].texts}
    test = plan.data["local"].splits["test"]
    texts = {example: text for example, (text,) in zip(test.ids, test.texts, strict=True)}
    near = [e for e, text in texts.items() if {text.removesuffix(" and more"), f"{text} and more"} & train - {text}]
    assert own["test"].near == near and len(near) > 3
    named = [example for example, text in texts.items() if int(text.split("w")[0]) < 40]
    assert docs["test"].list_held() == sorted(named) and docs["test"].near == []
    assert 0 < len(sized["test"].list_held()) <= len(named) < len(texts)


def test_a_text_of_other_columns_is_another(make_plan, twins):
    given = [*twins, "task.corpus_columns=[title]", "study.label_counts=[20,all]"]
    found = audit_study(make_plan(*given, "study.conditions=[none,own]"))
    assert list(found) == ["local@20", "local"]
    assert list(found["local"]) == ["training split", "own of local"]
    assert found["local"] == found["local@20"]
    assert found["local"]["own of local"]["test"].list_held() == []
    assert found["local"]["training split"]["test"].near


def test_the_command_prints_counts_and_how_to_read_them(command, twins, tiny):
    arguments = ["corpus", "audit", *twins, *tiny, "study.conditions=[none,own]"]
    first, again = command(*arguments), command(*arguments)
    assert (first.code, first.err) == (0, "")
    assert first.out == again.out
    assert "audit of local" in first.out and "training split, own" in first.out
    assert "near: of a Jaccard similarity" in first.out
    assert "data of local: labels of neighbouring rows" in first.out


def test_what_cannot_be_audited_is_named(make_plan, twins):
    plan = make_plan(*twins, "study.conditions=[none,own]")
    assert list_unknown(plan) == []
    plan.conditions = ["none", "offshelf"]
    assert list_unknown(plan) == ["offshelf: what the released checkpoint was trained on is unknown"]

"""Several texts together: each whole, each at an even pace, and whose they are."""

from __future__ import annotations

import dataclasses
import gzip
from collections import Counter

import pytest

from selfpretrain.config import CorpusConfig, TaskConfig, TextCard, UserError
from selfpretrain.door import compose_settings
from selfpretrain.hashing import to_plain
from selfpretrain.sources import documents
from selfpretrain.sources.documents import compute_fingerprint, count_bytes, estimate_bytes, iter_documents, iter_mixed
from selfpretrain.sources.tasks import load_task

OWN, CARD = {"source": "own"}, {"source": "card", "card": "toy"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the runs lie."""
    monkeypatch.chdir(tmp_path)


def make_task(folder, name, num_rows):
    path = folder / f"{name}.csv"
    rows = "".join(f"{name} text number {n},{n % 2}\n" for n in range(num_rows))
    path.write_text("text,label\n" + rows, encoding="utf-8")
    return TaskConfig(name=name, loader="local", path=str(path), text="text", label="label")


@pytest.fixture
def mine(tmp_path):
    return make_task(tmp_path, "mine", 200)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    task = make_task(tmp_path, "theirs", 600)
    monkeypatch.setattr(documents, "load_task_card", lambda name: task)
    return task


@pytest.fixture
def collection(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    monkeypatch.setattr(documents, "load_text_card", lambda name: TextCard(name="toy", mirror=["toy.txt.gz"]))
    text = "\n\n".join(f"article {n} with a few more words in it" for n in range(1000))
    (tmp_path / "toy.txt.gz").write_bytes(gzip.compress(text.encode()))


def mix(*parts, **more):
    return CorpusConfig(source="mix", parts=list(parts), **more)


def read(corpus, task):
    return list(iter_documents(corpus, task, "runs"))


def test_a_mix_holds_both_texts_and_nothing_of_what_is_scored(mine, theirs):
    found = read(mix(OWN, {"source": "own_of", "task": "theirs"}), mine)
    data = [load_task(task, "runs") for task in (mine, theirs)]
    wanted = [text for task in data for (text,) in task.splits["train"].texts]
    assert Counter(found) == Counter(wanted)
    scored = {text for task in data for split in ("validation", "test") for (text,) in task.splits[split].texts}
    assert scored and not scored & set(found)


def test_every_text_keeps_its_order_and_its_pace(mine, collection):
    found, own, toy = read(mix(OWN, CARD), mine), read(CorpusConfig(), mine), read(CorpusConfig(**CARD), None)
    assert [text for text in found if text.startswith("mine")] == own
    assert [text for text in found if text.startswith("article")] == toy
    share = len(own) / len(found)
    for start in range(0, len(found) - 100, 100):
        part = found[start : start + 100]
        assert sum(text.startswith("mine") for text in part) == pytest.approx(100 * share, abs=2)
    assert any(text.startswith("mine") for text in found[-20:])  # the end is held out


def test_the_order_of_naming_says_nothing(mine, theirs, collection):
    one, other = mix(OWN, CARD), mix(CARD, OWN)
    assert read(one, mine) == read(other, mine)
    names = {compute_fingerprint(corpus, mine, "runs") for corpus in (one, other)}
    assert len(names) == 1
    alone = {compute_fingerprint(CorpusConfig(**part), mine, "runs") for part in (OWN, CARD)}
    assert not names & alone
    sized = mix(OWN, {**CARD, "size_as": "own"})
    assert compute_fingerprint(sized, mine, "runs") not in names


def test_equal_texts_are_both_there(mine):
    assert sorted(read(mix(OWN, {"source": "own", "max_mb": 1}), mine)) == sorted(2 * read(CorpusConfig(), mine))
    assert list(iter_mixed([lambda: iter([]), lambda: iter(["a", "b"])])) == ["a", "b"]


def test_a_part_may_be_cut_and_so_may_the_whole(mine, collection):
    own = sum(map(count_bytes, read(CorpusConfig(), mine)))
    sized = read(mix(OWN, {**CARD, "size_as": "own"}), mine)
    assert sum(map(count_bytes, sized)) == pytest.approx(2 * own, abs=1_100)
    assert estimate_bytes(mix(OWN, {**CARD, "size_as": "own"}), mine, "runs") == 2 * own
    assert estimate_bytes(mix(OWN, CARD), mine, "runs") is None  # a collection is not read for it
    whole = mix(OWN, CARD, max_mb=0.005)
    assert sum(map(count_bytes, read(whole, mine))) == pytest.approx(0.005 * 2**20, abs=1_100)
    assert estimate_bytes(whole, mine, "runs") == int(0.005 * 2**20)


def test_another_task_may_be_named_by_all_its_settings(mine, theirs):
    by_name, by_settings = ({"source": "own_of", "task": task} for task in ("theirs", to_plain(theirs)))
    assert read(mix(OWN, by_name), mine) == read(mix(OWN, by_settings), mine)
    prints = {compute_fingerprint(mix(OWN, other), mine, "runs") for other in (by_name, by_settings)}
    assert len(prints) == 1
    fewer = dataclasses.replace(theirs, max_train_examples=5)  # labels, not text
    assert compute_fingerprint(mix(OWN, {"source": "own_of", "task": to_plain(fewer)}), mine, "runs") in prints


@pytest.mark.parametrize(("given", "words"), [
    (["corpus.parts=[{source:own}]"], "needs two texts"),
    (["corpus=own", "corpus.parts=[{source:own},{source:own}]"], "is for corpus.source=mix, not own"),
    (["corpus.parts=[own,bookwiki]"], "corpus.parts has 'own'; allowed: {source: own}"),
    (["corpus.parts=[{source:own},{source:mix}]"], "corpus.parts has {'source': 'mix'}"),
    (["corpus.parts=[{source:own},{source:card}]"], "needs corpus.card=<name>"),
    (["corpus.parts=[{source:own},{source:own_of}]"], "needs corpus.task=<name>"),
    (["corpus.parts=[{source:own},{source:card,crad:docs}]"], "did you mean 'card'"),
    (["corpus.parts=[{source:own},{source:card,card:docs,max_mb:-1}]"], "corpus.max_mb=-1"),
])  # fmt: skip
def test_what_is_no_mix_is_one_line(given, words):
    with pytest.raises(UserError) as refusal:
        compose_settings("pretrain", ["corpus=mix", *given])
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_mix_on_the_command_line():
    settings = compose_settings("pretrain", ["corpus=mix", "corpus.parts=[{source:own},{source:card,card:docs}]"])
    assert settings.corpus.parts == [{"source": "own"}, {"source": "card", "card": "docs"}]

"""Collections become documents; slices have the size asked for and are spread over the collection."""

import dataclasses
import gzip
import itertools

import pytest

from selfpretrain.config import CorpusConfig, TaskConfig, TextCard, UserError
from selfpretrain.sources import documents, texts
from selfpretrain.sources.documents import compute_fingerprint, count_bytes, iter_documents, iter_slice

CARD = TextCard(name="toy", mirror=["toy/a.txt.gz", "toy/b.txt.gz"], parts=[{"hub_id": "owner/toy", "split": "train"}])


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def collection(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    monkeypatch.setattr(documents, "load_text_card", lambda name: CARD)
    write(tmp_path / "toy" / "a.txt.gz", "\n\n".join(f"article {n}\nsecond paragraph {n}" for n in range(3000)))
    write(tmp_path / "toy" / "b.txt.gz", "\n".join(f"paragraph {n} of one book " + "x" * 80 for n in range(3000)))
    return tmp_path


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"some text number {n},{n % 2}\n" for n in range(2000)), encoding="utf-8")
    return TaskConfig(name="local", loader="local", path=str(path), text="text", label="label")


def test_join_paragraphs():
    lines = ["a\n", "b\n", "\n", "\n", "c\n", "  \n", "dd\n"]
    assert list(texts.join_paragraphs(lines)) == ["a\nb", "c", "dd"]
    assert list(texts.join_paragraphs(lines, blank_ends=False)) == ["a\nb\nc\ndd"]
    assert list(texts.join_paragraphs(lines, max_bytes=4, blank_ends=False)) == ["a\nb", "c", "dd"]
    assert list(texts.join_paragraphs(["long paragraph", "b"], max_bytes=4)) == ["long paragraph", "b"]
    assert list(texts.cut_document("a\n\nb", 100)) == ["a\nb"]


def test_collection_from_the_mirror(collection):
    found = list(texts.iter_text(CARD, "runs"))
    assert found[0] == "article 0\nsecond paragraph 0"
    assert sum(text.startswith("article") for text in found) == 3000
    book = found[3000:]
    assert len(book) > 10
    assert max(map(count_bytes, book)) <= texts.MAX_DOCUMENT_BYTES
    assert [line.split()[1] for text in book for line in text.split("\n")] == [str(n) for n in range(3000)]


def test_collection_fingerprint_follows_content(collection):
    first = texts.compute_text_fingerprint(CARD, "runs")
    assert texts.compute_text_fingerprint(CARD, "other") == first
    assert texts.compute_text_fingerprint(dataclasses.replace(CARD, version=2), "runs") != first
    write(collection / "toy" / "b.txt.gz", "changed")
    assert texts.compute_text_fingerprint(CARD, "runs") != first


def test_damaged_and_missing_files_are_refused(collection):
    (collection / "toy" / "b.txt.gz").write_bytes(gzip.compress(b"caf\xe9\n"))
    with pytest.raises(UserError, match=r"b\.txt\.gz is not UTF-8"):
        list(texts.iter_text(CARD, "runs"))
    (collection / "toy" / "b.txt.gz").write_bytes(gzip.compress(b"text " * 1000)[:-9])
    with pytest.raises(UserError, match=r"b\.txt\.gz is damaged"):
        list(texts.iter_text(CARD, "runs"))
    (collection / "toy" / "b.txt.gz").unlink()
    with pytest.raises(UserError, match="is missing beside its other files"):
        list(texts.iter_text(CARD, "runs"))


@pytest.mark.parametrize("budget", [1_000, 20_000, 200_000])
def test_slice_has_its_size_and_is_spread(collection, budget):
    def open_source():
        return texts.iter_text(CARD, "runs")

    pieces = list(iter_slice(open_source, budget))
    assert budget <= sum(map(count_bytes, pieces)) <= budget + 2_100
    if budget >= 20_000:
        total = sum(map(count_bytes, open_source()))
        articles = sum(count_bytes(text) for text in open_source() if text.startswith("article"))
        share = sum(count_bytes(text) for text in pieces if text.startswith("article")) / sum(map(count_bytes, pieces))
        assert share == pytest.approx(articles / total, abs=0.2)
    assert list(iter_slice(open_source, budget)) == pieces


def test_slices_are_nested():
    source = [f"document {number} with a few words" for number in range(2000)]
    slices = [list(iter_slice(lambda: iter(source), budget)) for budget in (2_000, 20_000, 10**9)]
    for small, large in itertools.pairwise(slices):
        assert set(small) < set(large)
    assert slices[-1] == source  # a smaller collection is given whole, in its order


def test_sources_and_sizes(collection, task):
    own = list(iter_documents(CorpusConfig(source="own"), task, "runs"))
    assert len(own) == 1440  # 2000 - 400 test - 160 validation
    size = sum(map(count_bytes, own))
    sized = list(iter_documents(CorpusConfig(source="card", card="toy", size_as="own"), task, "runs"))
    assert size <= sum(map(count_bytes, sized)) <= size + 1_100
    small = list(iter_documents(CorpusConfig(source="own", max_mb=0.01), task, "runs"))
    assert set(small) < set(own)
    assert 0.01 * 2**20 - 1 <= sum(map(count_bytes, small)) <= 0.01 * 2**20 + 100


def test_other_tasks_text(task, monkeypatch):
    monkeypatch.setattr(documents, "load_task_card", lambda name: task)
    corpus = CorpusConfig(source="own_of", task="other")
    assert list(iter_documents(corpus, None, "runs")) == list(iter_documents(CorpusConfig(source="own"), task, "runs"))
    assert compute_fingerprint(corpus, None, "runs") == compute_fingerprint(CorpusConfig(source="own"), task, "runs")


def test_fingerprints(collection, task):
    corpus = CorpusConfig(source="own")
    first = compute_fingerprint(corpus, task, "runs")
    # fewer labels leave the corpus as it is
    assert compute_fingerprint(corpus, dataclasses.replace(task, max_train_examples=50), "runs") == first
    assert compute_fingerprint(dataclasses.replace(corpus, max_mb=0.01), task, "runs") != first
    card = CorpusConfig(source="card", card="toy")
    assert compute_fingerprint(card, None, "runs") == compute_fingerprint(card, task, "runs")
    assert compute_fingerprint(dataclasses.replace(card, size_as="own"), task, "runs") not in (
        first, compute_fingerprint(card, task, "runs"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        (CorpusConfig(source="own"), "needs a task"),
        (CorpusConfig(source="card", card="toy", size_as="own"), "task=<name>"),
    ],
)
def test_settings_that_do_not_fit(collection, corpus, words):
    for function in (compute_fingerprint, lambda *arguments: list(iter_documents(*arguments))):
        with pytest.raises(UserError, match=words):
            function(corpus, None, "runs")


def test_size_as_own_of_own(task):
    with pytest.raises(UserError, match=r"corpus\.size_as=null"):
        list(iter_documents(CorpusConfig(source="own", size_as="own"), task, "runs"))

"""What is large is streamed: memory for a task of many rows, and for BookWiki as the hub has it, does not follow their size."""

import dataclasses
import gzip
import json
import math
import shutil
import tracemalloc
from collections.abc import Callable, Iterator

import datasets
import huggingface_hub.constants
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from benchmarks import reading
from benchmarks.memory import TreePeak
from selfpretrain.cards import load_task_card, load_text_card
from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TaskConfig, TokenizerConfig, UserError
from selfpretrain.data import workers
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.sources import hub, tasks, texts
from selfpretrain.sources.tasks import iter_own_text, read_task
from selfpretrain.stages.corpus import build_corpus

NUM_ROWS, TEXT_BYTES = 7_000, 400
TENTH = 360_000  # of the rows of Amazon Polarity
BYTES_PER_ROW = 40  # that a first reading may take of memory; with numbers and hashes in memory it is 290
MB = 1e6


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "commits", {})
    monkeypatch.setattr(tasks, "_read", {})


def measure_peak(work: Callable[[], object]) -> float:
    """The most that Python and NumPy held for this besides what was there before, in MB."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


def iter_rows(count: int) -> Iterator[dict[str, object]]:
    chance = np.random.default_rng(0)
    for row in range(count):
        words = chance.integers(0, 10**9, TEXT_BYTES // 10).astype(str)
        yield {"label": row % 2, "title": " ".join(words[:4]), "content": " ".join(words[4:])}


def write_jsonl(folder, splits):
    folder = folder / "mirror" / "amazon_polarity"
    folder.mkdir(parents=True)
    for split, count in splits.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "wt", compresslevel=1) as file:
            file.writelines(json.dumps(row) + "\n" for row in iter_rows(count))


def write_parquet(folder, splits):
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        table = pyarrow.Table.from_pylist(list(iter_rows(count)))
        pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture(params=["mirror", "hub"])
def task(request, tmp_path, monkeypatch) -> TaskConfig:
    card, splits = dataclasses.replace(load_task_card("amazon_polarity"), num_rows={}), {"train": NUM_ROWS, "test": 400}
    if request.param == "mirror":
        write_jsonl(tmp_path, splits)
        monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path / "mirror"))
        return card
    write_parquet(tmp_path / "hub" / "data", splits)
    return dataclasses.replace(card, hub_id=str(tmp_path / "hub"))


def test_a_task_is_read_in_little_more_than_its_text_and_kept_out_of_memory(task, tmp_path, monkeypatch):
    text = NUM_ROWS * TEXT_BYTES / MB
    read_task(dataclasses.replace(task, max_train_examples=50), str(tmp_path / "warm"))  # what is imported or kept once
    tasks._read.clear()
    runs = str(tmp_path / "runs")
    assert measure_peak(lambda: read_task(task, runs)) < 1.5 * text + 2
    monkeypatch.setattr(hub, "read_splits", lambda card: pytest.fail("the task was read again"))
    tasks._read.clear()
    assert measure_peak(lambda: read_task(task, runs)) < 0.1 * text
    assert measure_peak(lambda: sum(map(len, iter_own_text(task, runs)))) < 0.1 * text + 0.5
    few = dataclasses.replace(task, max_train_examples=200)
    assert measure_peak(lambda: read_task(few, runs)) < 0.6 * text
    tasks._read.clear()
    assert measure_peak(lambda: read_task(few, runs).splits["train"].texts[0]) < 0.1 * text
    assert len(read_task(few, runs).splits["train"].ids) == 200


def test_the_memory_of_a_first_reading_hardly_grows_with_the_rows(tmp_path):
    text_bytes, sizes = 200, (TENTH // 4, TENTH)
    for num_rows in sizes:  # first, as what this process holds counts too
        reading.write_rows(tmp_path / f"{num_rows}" / "hub", {"train": num_rows, "test": 1_000}, text_bytes)
    peaks = []
    for num_rows in sizes:
        folder, peak = tmp_path / f"{num_rows}", TreePeak()
        reading.time_reading("first", folder / "hub", folder / "runs", peak)
        peaks.append(peak.mb or math.nan)
        shutil.rmtree(folder)
    assert (peaks[1] - peaks[0]) * 2**20 < BYTES_PER_ROW * (sizes[1] - sizes[0]), peaks


def test_a_data_set_of_the_hub_is_known_by_its_commit(tmp_path, monkeypatch):
    write_parquet(tmp_path / "data", {"train": 200, "test": 60})
    load, reads = datasets.load_dataset_builder, []

    def read(hub_id, **named):
        reads.append(hub_id)
        return load(str(tmp_path))

    monkeypatch.setattr(datasets, "load_dataset_builder", read)
    card = dataclasses.replace(load_task_card("amazon_polarity"), num_rows={})
    for commit, wanted in (("c0ffee", 2), ("c0ffee", 2), ("beef", 4)):
        tasks._read.clear()
        hub.commits[f"{card.hub_id}@main"] = commit
        assert len(read_task(card, str(tmp_path / "runs")).splits["test"].ids) == 60
        assert len(list(iter_own_text(card, str(tmp_path / "runs")))) == 160
        assert len(reads) == wanted


def write_snapshot(folder, part, files):
    """A copy of the hub's cache, with these texts in the files of one part of a card."""
    layout = "plain_text/train/{:04d}.parquet" if part.get("revision") else "20231101.en/train-{:05d}-of-{:05d}.parquet"
    base = folder / f"datasets--{part['hub_id'].replace('/', '--')}"
    reference = base / "refs" / part.get("revision", "main")
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text("c0ffee" * 6 + "beef")
    for number, rows in enumerate(files):
        path = base / "snapshots" / reference.read_text() / layout.format(number, len(files))
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pyarrow.table({"id": list(map(str, range(len(rows)))), "text": rows})
        pyarrow.parquet.write_table(table, path, use_dictionary=False, data_page_size=20_000)  # one row group


@pytest.fixture
def write_bookwiki(tmp_path, monkeypatch):
    """``write_bookwiki(articles, sentences)``: both parts of the card as the hub's cache holds them, some files each."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def write(articles, sentences):
        for part, rows in zip(load_text_card("bookwiki").parts, (articles, sentences), strict=True):
            write_snapshot(tmp_path / "hub", part, [rows[: len(rows) // 2], rows[len(rows) // 2 :]])
        hub.commits.clear()
        return tmp_path / "hub"

    return write


def build(runs_dir, **changes):
    return build_corpus(
        Settings(
            corpus=CorpusConfig(source="card", card="bookwiki", **changes),
            tokenizer=TokenizerConfig(kind="wordpiece", vocab_size=300, source="own", train_mb=0.3),
            runtime=RuntimeConfig(runs_dir=str(runs_dir), num_workers=1, progress=False),
        )
    )


def test_documents_and_parts_never_run_into_one_another(write_bookwiki, tmp_path):
    articles = [f"article{n} opens here\n\nalpha {'alpha ' * (n % 7)}\nalpha ends" for n in range(300)]
    sentences = [f"sentence{n} omega omega" for n in range(5000)]
    write_bookwiki(articles, sentences)
    found = list(texts.iter_text(load_text_card("bookwiki"), "runs"))
    joined = ["\n".join(line.strip() for line in article.split("\n") if line.strip()) for article in articles]
    assert found[:300] == joined
    assert "\n".join(found[300:]).split("\n") == sentences and len(found) > 305
    folder = build(tmp_path / "runs")
    corpus, tokenizer = TokenFile.open(folder), Tokenizer.load(folder / "tokenizer")
    entries = tokenizer.get_tokens()
    assert {"alpha", "omega"} <= set(entries)
    documents = np.split(corpus.tokens, np.cumsum(corpus.sizes)[:-1])
    assert len(documents) == len(found)
    for text, ids in zip(found, documents, strict=True):
        assert ids.tolist() == [*tokenizer.encode_batch([text])[0], tokenizer.sep_id]
        assert (ids == tokenizer.sep_id).sum() == 1
        assert len({entries[number] for number in ids} & {"alpha", "omega"}) == 1


def test_memory_for_bookwiki_does_not_follow_its_size(write_bookwiki, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 50_000)
    monkeypatch.setattr(hub, "READ_BYTES", 50_000)
    peaks, arrow, read = [], [0.0], hub.iter_column

    def watch(path, column):  # what Arrow holds, Python does not know
        for cell in read(path, column):
            arrow[0] = max(arrow[0], pyarrow.total_allocated_bytes() / MB)
            yield cell

    monkeypatch.setattr(hub, "iter_column", watch)
    for number, size in enumerate((1, 1, 4)):  # the first one imports
        words = np.random.default_rng(0).integers(0, 4000, 80_000 * size).astype(str).tolist()
        articles = [" ".join(words[first : first + 60]) for first in range(0, len(words), 60)]
        sentences = [" ".join(words[first : first + 12]) for first in range(0, len(words), 12)]
        write_bookwiki(articles, sentences)
        del words, articles, sentences
        arrow[0] = 0.0
        held = measure_peak(lambda number=number: build(tmp_path / f"runs{number}"))
        peaks.append((held, arrow[0]))
    assert peaks[2][0] < 1.3 * peaks[1][0] and peaks[2][1] < 1.3 * peaks[1][1] + 0.1, peaks


def test_a_slice_of_bookwiki_has_its_size_and_takes_of_both_parts(write_bookwiki, tmp_path):
    write_bookwiki(
        [f"alpha number {n} " + "x" * 300 for n in range(2000)], [f"omega number {n}" for n in range(30_000)]
    )
    manifest = TokenFile.open(build(tmp_path / "runs", max_mb=0.3)).manifest
    assert abs(manifest["text_bytes"] + manifest["documents"] - 0.3 * 2**20) < 2 * texts.MAX_DOCUMENT_BYTES


def test_files_of_the_hub_that_are_missing_or_damaged(write_bookwiki, tmp_path, monkeypatch):
    card, folder = load_text_card("bookwiki"), write_bookwiki(["alpha"] * 10, ["omega"] * 10)
    first, second = sorted(folder.rglob("train-*.parquet"))
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(
        UserError, match=r"1 of 00002 files of 20231101\.en/train-\*\.parquet are here; unset HF_HUB_OFF"
    ):
        list(texts.iter_text(card, "runs"))
    second.write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet cannot be read as Parquet: .*; delete it, so"):
        list(texts.iter_text(card, "runs"))
    pyarrow.parquet.write_table(pyarrow.table({"body": ["alpha"]}), second)
    with pytest.raises(UserError, match=r"has no column 'text'; its columns are body"):
        list(texts.iter_text(card, "runs"))
    first.unlink()
    second.unlink()
    with pytest.raises(UserError, match=r"wikipedia@main holds no 20231101\.en/train-\*\.parquet"):
        list(texts.iter_text(card, "runs"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    hub.commits.clear()
    with pytest.raises(
        UserError, match=r"wikipedia@main cannot be downloaded: .*without a network set SELFPRETRAIN_DATA"
    ):
        texts.compute_text_fingerprint(card, "runs")


def test_a_disk_that_is_full_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setitem(hub.commits, "owner/toy@main", "c0ffee")
    with pytest.raises(
        UserError, match=r"owner/toy@c0ffee cannot be downloaded: the disk is full; free .* set HF_HOME"
    ) as error:
        hub.fetch_files("owner/toy", None, None, "train")
    assert "\n" not in str(error.value)

"""A corpus is complete or absent, the same for any number of processes, and built once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from selfpretrain import children
from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TaskConfig, TokenizerConfig, UserError
from selfpretrain.data import store, workers
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.runs.folder import is_corpus_built
from selfpretrain.runs.identity import name_corpus
from selfpretrain.sources import documents, tasks
from selfpretrain.stages import corpus as module
from selfpretrain.stages.corpus import build_corpus

CARD = CorpusConfig(source="card", card="made_up")
TOKENIZER = TokenizerConfig(kind="bpe", vocab_size=300)


def build(corpus, tokenizer, runtime, task=None):
    return build_corpus(Settings(corpus=corpus, task=task or TaskConfig(), tokenizer=tokenizer, runtime=runtime))


def compute_corpus_id(corpus, task, tokenizer, runtime):
    return name_corpus(documents.compute_fingerprint(corpus, task, runtime.runs_dir), tokenizer, runtime)


def make_documents(count: int = 40) -> list[str]:
    return [f"Document {i} is about {i * i} things: café, naïve {chr(0x4E00 + i)}." * (1 + i % 3) for i in range(count)]


class Source:
    """Stands in for the package corpora."""

    def __init__(self, texts: list[str]):
        self.texts = texts
        self.reads = 0

    def iter_documents(self, corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> Iterator[str]:
        self.reads += 1
        yield from self.texts

    def compute_fingerprint(self, corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> str:
        return repr((corpus.source, corpus.card, len(self.texts)))


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    fake = Source(make_documents())
    monkeypatch.setattr(documents, "iter_documents", fake.iter_documents)
    monkeypatch.setattr(documents, "compute_fingerprint", fake.compute_fingerprint)
    return fake


def make_runtime(folder: Path, num_workers: int = 1) -> RuntimeConfig:
    return RuntimeConfig(runs_dir=str(folder), num_workers=num_workers, progress=False)


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_documents_come_back_from_the_files(source, tmp_path):
    source.texts[3:3] = ["", " \n ", " \x00 "]
    folder = build(CARD, TokenizerConfig(vocab_size=200), make_runtime(tmp_path))
    opened, tokenizer = TokenFile.open(folder), Tokenizer.load(folder / "tokenizer")
    kept = [text for text in source.texts if text.strip(" \n\x00")]
    expected = [[*ids, tokenizer.sep_id] for ids in tokenizer.encode_batch(kept)]
    assert [part.tolist() for part in np.split(opened.tokens, np.cumsum(opened.sizes)[:-1])] == expected
    manifest = opened.manifest
    assert manifest["documents"] == len(kept)
    assert manifest["dropped"] == {"empty_documents": 3}
    assert manifest["tokens"] == len(opened.tokens)
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in source.texts)
    assert manifest["unknown_tokens"] == int((np.asarray(opened.tokens) == tokenizer.unk_id).sum())
    assert manifest["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    assert manifest["source"]["corpus"]["card"] == "made_up"
    assert manifest["audit"] is None
    assert folder.name == compute_corpus_id(CARD, None, TokenizerConfig(vocab_size=200), make_runtime(tmp_path))


def test_a_built_corpus_is_returned_at_once(source, tmp_path):
    runtime = make_runtime(tmp_path)
    assert not is_corpus_built(compute_corpus_id(CARD, None, TOKENIZER, runtime), runtime)
    folder = build(CARD, TOKENIZER, runtime)
    before, reads = read_tree(folder), source.reads
    assert build(CARD, TOKENIZER, runtime) == folder
    assert is_corpus_built(folder.name, runtime)
    assert (read_tree(folder), source.reads) == (before, reads)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_the_number_of_processes_changes_no_byte(kind, source, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 150)
    config = TokenizerConfig(kind=kind, vocab_size=300)
    trees = [
        read_tree(build(CARD, config, make_runtime(tmp_path / str(number), number)).parent) for number in (1, 2, 3)
    ]
    assert len(trees[0]) > 5
    assert trees[0] == trees[1] == trees[2]


def test_a_stopped_build_goes_on_after_the_shards_that_are_done(source, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 150)
    whole = read_tree(build(CARD, TOKENIZER, make_runtime(tmp_path / "undisturbed")))
    monkeypatch.setattr(store, "SHARD_BYTES", 400)
    encoded: list[str] = []
    encode = workers.encode_chunk

    def stop_once(tokenizer, chunk, dtype):
        if len(encoded) > 25 and "stop" not in encoded:
            encoded.append("stop")
            raise KeyboardInterrupt
        encoded.extend(chunk)
        return encode(tokenizer, chunk, dtype)

    monkeypatch.setattr(workers, "encode_chunk", stop_once)
    with pytest.raises(KeyboardInterrupt):
        build(CARD, TOKENIZER, make_runtime(tmp_path / "stopped"))
    (hidden,) = list_folders(tmp_path / "stopped" / "corpora")
    assert hidden.startswith(".")
    monkeypatch.setattr(module, "train_tokenizer", None)  # it is there
    folder = build(CARD, TOKENIZER, make_runtime(tmp_path / "stopped"))
    assert read_tree(folder) == whole
    assert list_folders(folder.parent) == [folder.name]
    encoded.remove("stop")
    repeated = len(encoded) - len(source.texts)
    assert 0 <= repeated < 10  # what one shard holds
    assert set(encoded) == set(source.texts)


def test_the_id_is_of_what_makes_the_files(source, tmp_path, tmp_path_factory):
    runtime = make_runtime(tmp_path)
    given = train_tokenizer(TOKENIZER, iter(source.texts))
    folders = [tmp_path_factory.mktemp("given") for _ in range(2)]
    for folder in folders:
        given.save(folder)
    ids = {
        name: compute_corpus_id(corpus, None, config, runtime)
        for name, corpus, config in [
            ("plain", CARD, TOKENIZER),
            ("kind", CARD, TokenizerConfig(kind="wordpiece", vocab_size=300)),
            ("size", CARD, TokenizerConfig(kind="bpe", vocab_size=301)),
            ("train_mb", CARD, TokenizerConfig(kind="bpe", vocab_size=300, train_mb=1)),
            ("text", CorpusConfig(source="card", card="other"), TOKENIZER),
            ("given", CARD, TokenizerConfig(path=str(folders[0]))),
        ]
    }
    assert len(set(ids.values())) == len(ids)
    assert compute_corpus_id(CARD, None, TokenizerConfig(path=str(folders[1])), runtime) == ids["given"]
    assert compute_corpus_id(CARD, None, TOKENIZER, make_runtime(tmp_path / "x", 7)) == ids["plain"]
    whole = TokenizerConfig(kind="bpe", vocab_size=300, train_mb=200)  # an integer where the default is 200.0
    assert compute_corpus_id(CARD, None, whole, runtime) == ids["plain"]


def test_a_given_tokenizer_is_kept_in_the_corpus(source, tmp_path):
    given = train_tokenizer(TOKENIZER, iter(source.texts))
    given.save(tmp_path / "given")
    folder = build(CARD, TokenizerConfig(path=str(tmp_path / "given")), make_runtime(tmp_path))
    assert Tokenizer.load(folder / "tokenizer").fingerprint == given.fingerprint
    assert TokenFile.open(folder).manifest["tokenizer"]["origin"] == "given"
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    with pytest.raises(UserError, match="does not exist"):
        build(CARD, TokenizerConfig(path=str(tmp_path / "no")), make_runtime(tmp_path))


def test_a_vocabulary_smaller_than_asked_is_noted(source, tmp_path):
    config = TokenizerConfig(kind="bpe", vocab_size=9000)
    manifest = TokenFile.open(build(CARD, config, make_runtime(tmp_path))).manifest
    assert f"tokenizer: {manifest['tokenizer']['vocab_size']} of 9000 entries" in manifest["notes"][0]


def make_task_data(task: TaskConfig, runs_dir: str) -> tasks.TaskData:
    assert task.max_train_examples is None  # all the text belongs to the corpus
    parts = {
        name: tasks.Split(["0"], [(f"{task.name} {name}", "second")], np.zeros(1, np.int64))
        for name in ("train", "validation", "test")
    }
    return tasks.TaskData(task, parts, f"fingerprint of {task.name}", ["train: one row dropped"])


@pytest.mark.parametrize(
    ("corpus", "owner"),
    [(CorpusConfig(source="own"), "mine"), (CorpusConfig(source="own_of", task="theirs"), "theirs")],
)
def test_own_text_is_audited_against_the_evaluation_text(corpus, owner, source, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "read_task", make_task_data)
    monkeypatch.setattr(documents, "load_task_card", lambda name: TaskConfig(name=name))
    source.texts = [f"{owner} test\nsecond", *source.texts]
    task = TaskConfig(name="mine", max_train_examples=5)
    manifest = TokenFile.open(build(corpus, TOKENIZER, make_runtime(tmp_path), task)).manifest
    counts = {split: (found["examples"], found["exact"], found["near"]) for split, found in manifest["audit"].items()}
    assert counts == {"validation": (1, 0, 0), "test": (1, 1, 0)}
    assert manifest["source"]["task"]["name"] == owner
    assert manifest["source"]["task"]["split"] == "train"
    assert manifest["source"]["task"]["fingerprint"] == f"fingerprint of {owner}"
    assert manifest["notes"] == ["train: one row dropped"]


@pytest.mark.parametrize("texts", [["", "  \n "], []])
def test_empty_text_is_refused_and_nothing_stays(texts, source, tmp_path):
    given = train_tokenizer(TOKENIZER, iter(source.texts))
    given.save(tmp_path / "given")
    source.texts = texts
    with pytest.raises(UserError, match="text is empty") as caught:
        build(CARD, TokenizerConfig(path=str(tmp_path / "given")), make_runtime(tmp_path))
    assert "\n" not in str(caught.value)
    assert list_folders(tmp_path / "corpora") == []


def list_folders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()]


def test_a_text_that_is_no_utf8_is_refused_by_every_number_of_processes(source, tmp_path, monkeypatch):
    given = train_tokenizer(TOKENIZER, iter(source.texts))
    given.save(tmp_path / "given")
    source.texts.insert(30, "half \ud800")
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 150)
    for number in (1, 2):
        with pytest.raises(UserError, match="lone surrogate"):
            build(CARD, TokenizerConfig(path=str(tmp_path / "given")), make_runtime(tmp_path, number))
    assert list_folders(tmp_path / "corpora") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_is_one_line(code, source, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.TokenWriter, "append", refuse)
    with pytest.raises(UserError, match="runs_dir") as caught:
        build(CARD, TOKENIZER, make_runtime(tmp_path))
    assert "\n" not in str(caught.value)
    assert list_folders(tmp_path / "corpora") == []


def test_a_runs_dir_that_is_a_file_is_one_line(source, tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="runs_dir"):
        build(CARD, TOKENIZER, make_runtime(tmp_path / "runs"))


def test_processes_that_die_are_named_and_block_nobody(source, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 150)
    monkeypatch.setattr(children, "COMMAND", "raise SystemExit(3)")
    with pytest.raises(UserError, match=r"exit code 3.*num_workers=1"):
        build(CARD, TOKENIZER, make_runtime(tmp_path, 2))
    assert list_folders(tmp_path / "corpora") == []


def test_memory_is_bounded(source, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 1)
    tokenizer = train_tokenizer(TOKENIZER, iter(source.texts))
    tokenizer.save(tmp_path)
    read = 0

    def iter_many() -> Iterator[str]:
        nonlocal read
        for read in range(1, 200):
            yield f"document {read}"

    encoded = workers.iter_encoded(tokenizer, tmp_path, iter_many(), np.uint16, 2)
    for taken, _ in enumerate(encoded, 1):
        assert read <= taken + workers.SERIAL_CHUNKS + children.PREFETCH * 2
    assert taken == 199


BUILDER = """
import signal, sys, time
from pathlib import Path
from selfpretrain.sources import documents
from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TokenizerConfig
from selfpretrain.data import workers
from selfpretrain.stages import corpus as module
from selfpretrain.stages.corpus import build_corpus

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests begun in the background inherit that it is ignored
runs_dir, wait = Path(sys.argv[1]), float(sys.argv[2])
texts = [f"Document {i} is about {i * i} things" for i in range(60)]
workers.CHUNK_CHARACTERS = 200

def iter_documents(*_):
    with open(runs_dir / "log", "a") as log:
        log.write("read\\n")
    for i, text in enumerate(texts):
        if i == 50 and (runs_dir / "corpora").exists() and (runs_dir / "log").read_text().count("read") == 2:
            (runs_dir / "halfway").touch()
            time.sleep(wait)
        yield text

documents.iter_documents = iter_documents
documents.compute_fingerprint = lambda *_: "same"
runtime = RuntimeConfig(runs_dir=str(runs_dir), num_workers=2)
corpus, tokenizer = CorpusConfig(source="card"), TokenizerConfig(kind="bpe", vocab_size=300)
print(build_corpus(Settings(corpus=corpus, tokenizer=tokenizer, runtime=runtime)))
"""
ROOT = Path(module.__file__).parents[2]


def start_builder(runs_dir: Path, wait: float) -> subprocess.Popen[str]:
    runs_dir.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILDER, str(runs_dir), str(wait)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def count_processes(word: str) -> int:
    """Living processes, other than this one, with ``word`` in their command line."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += word.encode() in entry.read_bytes()
        except OSError:  # it ended meanwhile
            continue
    return found


def test_two_builders_at_once_build_once(tmp_path):
    first, second = start_builder(tmp_path, 1), start_builder(tmp_path, 1)
    shown = [builder.communicate(timeout=60) for builder in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), shown
    assert shown[0][0] == shown[1][0]
    assert (tmp_path / "log").read_text() == "read\nread\n"  # once to train the tokenizer, once to encode
    assert "another process builds it, waiting" in shown[0][1] + shown[1][1]
    TokenFile.open(shown[0][0].strip())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_builder_leaves_nothing_that_matters(kind, tmp_path):
    runs_dir = tmp_path / "killed"
    builder = start_builder(runs_dir, 60)
    wait_until((runs_dir / "halfway").exists)
    assert count_processes(str(runs_dir / "corpora")) == 2
    builder.send_signal(kind)
    builder.communicate(timeout=30)
    assert builder.returncode != 0
    wait_until(lambda: count_processes(str(runs_dir / "corpora")) == 0)
    left = list_folders(runs_dir / "corpora")
    assert all(name.startswith(".") for name in left)
    assert len(left) == (0 if kind == signal.SIGINT else 1)
    again, undisturbed = start_builder(runs_dir, 0), start_builder(tmp_path / "other", 0)
    folders = [Path(process.communicate(timeout=60)[0].strip()) for process in (again, undisturbed)]
    assert read_tree(folders[0]) == read_tree(folders[1])
    assert list_folders(runs_dir / "corpora") == [folders[0].name]

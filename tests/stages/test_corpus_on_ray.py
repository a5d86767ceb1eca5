"""A corpus that a Ray cluster tokenises is the local one, byte for byte, whoever is killed on the way."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from selfpretrain.cluster import connected, map_on_cluster
from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TaskConfig, TokenizerConfig, UserError
from selfpretrain.data import store, workers
from selfpretrain.stages.corpus import build_corpus
from tests.conftest import make_rows, start_ray, write_csv

ray = pytest.importorskip("ray", reason='pip install "selfpretrain[ray]"')


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One CPU and a small store; what the package asks for a connection finds it there."""
    start_ray(1)
    yield
    ray.shutdown()


def build(runs_dir: Path, path: Path, engine: str) -> Path:
    return build_corpus(
        Settings(
            corpus=CorpusConfig(source="own"),
            task=TaskConfig(name="mine", loader="local", path=str(path), text="body", label="topic"),
            tokenizer=TokenizerConfig(kind="bpe", vocab_size=300),
            runtime=RuntimeConfig(runs_dir=str(runs_dir), num_workers=1, progress=False, corpus_engine=engine),
        )
    )


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_files_are_those_of_the_local_engine_after_a_stop_too(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK_CHARACTERS", 100)
    path = write_csv(tmp_path / "x.csv", make_rows())
    local = build(tmp_path / "local", path, "local")
    monkeypatch.setattr(store, "SHARD_BYTES", 400)
    append, appended = store.TokenWriter.append, []

    def stop_once(*given, **named):
        appended.append(given)
        if len(appended) == 10:
            raise KeyboardInterrupt
        append(*given, **named)

    monkeypatch.setattr(store.TokenWriter, "append", stop_once)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "ray", path, "ray")
    folder = build(tmp_path / "ray", path, "ray")
    assert folder.name == local.name
    assert read_tree(folder) == read_tree(local)
    documents = sum(len(sizes) for _, sizes, *_ in appended)
    assert documents < len(make_rows()) + 20  # all of the text and at most one shard again


def lose_a_process(number: int, marker: Path) -> int:
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    if number == 13:
        raise UserError("13 is unlucky")
    time.sleep(0.01 * (number % 3))
    return 2 * number


def test_a_killed_process_is_replaced_and_the_order_kept(tmp_path):
    work = partial(lose_a_process, marker=tmp_path / "killed")
    assert list(map_on_cluster(work, range(8))) == [2 * number for number in range(8)]
    assert (tmp_path / "killed").exists()
    with pytest.raises(UserError, match="13 is unlucky"):
        list(map_on_cluster(work, range(10, 20)))


def test_a_connection_that_was_there_stays():
    with connected("127.0.0.1:1"):  # not asked: this process is connected already
        pass
    assert ray.is_initialized()

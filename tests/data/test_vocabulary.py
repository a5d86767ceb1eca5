from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest

from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TokenizerConfig, UserError
from selfpretrain.data.store import read_manifest
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.data.vocabulary import compute_vocabulary_id, prepare_vocabulary, sample_vocabulary
from selfpretrain.runs.identity import name_corpus
from selfpretrain.sources import documents, hub
from selfpretrain.stages.corpus import build_corpus

GENERAL = TokenizerConfig(kind="bpe", vocab_size=300, source="general", card="docs")
RELEASED = TokenizerConfig(kind="bpe", vocab_size=300, source="released", released="someone/roberta@abc")
TEXTS = {"docs": ["the general text speaks of rivers and roads"] * 30, "other": ["zig zag zebra zoo"] * 30}


def build(corpus, tokenizer, runtime):
    return build_corpus(Settings(corpus=corpus, tokenizer=tokenizer, runtime=runtime))


def compute_corpus_id(corpus, task, tokenizer, runtime):
    return name_corpus(documents.compute_fingerprint(corpus, task, runtime.runs_dir), tokenizer, runtime)


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A runs folder, and collections of a few lines; ``runtime.read`` counts the readings of the general text."""
    made = RuntimeConfig(runs_dir=str(tmp_path / "runs"), num_workers=1, progress=False)
    made.read = 0  # type: ignore[attr-defined]

    def iter_documents(corpus, task, runs_dir):
        made.read += corpus.card == "docs"  # type: ignore[attr-defined]
        yield from TEXTS[corpus.card]

    monkeypatch.setattr(documents, "iter_documents", iter_documents)
    monkeypatch.setattr(
        documents, "compute_fingerprint", lambda corpus, task, runs_dir: f"{corpus.card} {corpus.max_mb}"
    )
    return made


@pytest.fixture
def released(tmp_path, monkeypatch):
    """The file the hub would give for ``RELEASED``; returns how often it was asked."""
    folder = tmp_path / "released"
    train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=300), TEXTS["docs"] + TEXTS["other"]).save(folder)
    asked = []

    def fetch(name):
        asked.append(name)
        return folder / "tokenizer.json"

    monkeypatch.setattr(hub, "fetch_tokenizer", fetch)
    return asked


def test_corpora_share_the_vocabulary_of_the_general_text(runtime):
    texts = [CorpusConfig(source="card", card=card) for card in TEXTS]
    before = [compute_corpus_id(text, None, GENERAL, runtime) for text in texts]
    assert not Path(runtime.runs_dir).exists()  # an id is there before the vocabulary is
    shared = prepare_vocabulary(GENERAL, runtime)
    folders = [build(text, GENERAL, runtime) for text in texts]
    assert [folder.name for folder in folders] == before
    assert {Tokenizer.load(folder / "tokenizer").fingerprint for folder in folders} == {shared.fingerprint}
    assert read_manifest(folders[1])["tokenizer"]["origin"] == "trained on the general text (docs), for all corpora"
    assert runtime.read == 2  # learnt from once, encoded once
    own = TokenizerConfig(kind="bpe", vocab_size=300)
    apart = [Tokenizer.load(build(text, own, runtime) / "tokenizer").fingerprint for text in texts]
    assert len({*apart, shared.fingerprint}) == 2  # only that of the general text itself is the same


def test_what_makes_a_vocabulary_names_it(runtime, released):
    base = compute_vocabulary_id(GENERAL, runtime.runs_dir)
    others = [
        TokenizerConfig(**{**vars(GENERAL), **change})
        for change in ({"card": "other"}, {"vocab_size": 301}, {"kind": "wordpiece"}, {"train_mb": 1.0})
    ]
    ids = [compute_vocabulary_id(config, runtime.runs_dir) for config in (*others, RELEASED)]
    assert len({base, *ids}) == 6
    ignored = TokenizerConfig(**{**vars(GENERAL), "released": "a/b@c"})
    assert compute_vocabulary_id(ignored, runtime.runs_dir) == base


def test_a_released_vocabulary_is_fetched_once(runtime, released):
    first = prepare_vocabulary(RELEASED, runtime)
    assert prepare_vocabulary(RELEASED, runtime).fingerprint == first.fingerprint
    assert released == ["someone/roberta@abc"]
    text = CorpusConfig(source="card", card="other")
    corpus_id = compute_corpus_id(text, None, RELEASED, runtime)
    shutil.rmtree(Path(runtime.runs_dir) / "vocabularies")
    assert compute_corpus_id(text, None, RELEASED, runtime) == corpus_id
    manifest = read_manifest(build(text, RELEASED, runtime))
    assert manifest["tokenizer"]["fingerprint"] == first.fingerprint
    assert manifest["tokenizer"]["origin"] == "released with someone/roberta@abc"


def test_a_size_that_a_released_vocabulary_has_not_is_refused(runtime, released):
    config = TokenizerConfig(**{**vars(RELEASED), "vocab_size": 400})
    for use in (lambda: prepare_vocabulary(config, runtime), lambda: sample_vocabulary(config, TEXTS["docs"])):
        with pytest.raises(UserError, match=r"tokenizer\.vocab_size=400.* has 300; .*tokenizer\.source=general"):
            use()
    assert not [path for path in Path(runtime.runs_dir).rglob("*") if path.is_file() and path.suffix != ".lock"]


# the hub


def test_without_a_network_one_line_names_the_way_out(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host.\nmore of it")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("it would try again for half a minute")
    )
    with pytest.raises(UserError) as caught:
        hub.fetch_tokenizer("google/electra-small-discriminator@0000000000000000000000000000000000000000")
    message = str(caught.value)
    assert "no route to host;" in message
    assert "\n" not in message and "tokenizer.source=general" in message and "tokenizer.path=<folder" in message


def test_what_was_downloaded_once_needs_no_network(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    file = tmp_path / "models--a--b" / "snapshots" / commit / "tokenizer.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *_, **__: pytest.fail("it asked the network all the same")
    )
    real = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *a, **k: real(*a, **{**k, "cache_dir": tmp_path})
    )
    assert hub.fetch_tokenizer(f"a/b@{commit}").read_text() == "{}"


@pytest.mark.parametrize("name", ["a/b", "a/b@", "@abc"])
def test_a_released_vocabulary_needs_a_commit(name):
    with pytest.raises(UserError, match=r"<repo>@<commit>"):
        hub.fetch_tokenizer(name)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_one_that_was_cut_short_is_refused_with_what_to_delete(runtime, share):
    prepare_vocabulary(GENERAL, runtime)
    (file,) = Path(runtime.runs_dir).glob("vocabularies/*/tokenizer.json")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UserError, match=rf"tokenizer\.json is damaged .*; delete {file.parent} and run"):
        prepare_vocabulary(GENERAL, runtime)
    shutil.rmtree(file.parent)
    prepare_vocabulary(GENERAL, runtime)

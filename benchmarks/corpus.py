"""Text to token files, MB per second: build_corpus against datasets.map and group_texts as in transformers' run_mlm.

    SELFPRETRAIN_DATA=<mirror> python -m benchmarks corpus [peer=run_mlm|ids] [size_mb=10] [workers=2]

Both sides read the same text with the same tokenizer and the same number of processes and end with tokens on disk.
Ours starts from the mirror's compressed files and also writes checksums; the peer starts from the same documents as
JSON lines. Peak memory is that of all processes of a side together, see memory.py.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import harness
from benchmarks.harness import Row, interleave, open_contestants
from benchmarks.memory import TreePeak
from benchmarks.pretrain import find_obstacle
from selfpretrain.cards import load_text_card
from selfpretrain.config import CorpusConfig, RuntimeConfig, Settings, TokenizerConfig, UserError
from selfpretrain.data.tokenizer import train_tokenizer
from selfpretrain.files import make_folder
from selfpretrain.sources.documents import iter_documents
from selfpretrain.sources.hub import find_mirror
from selfpretrain.stages.corpus import build_corpus

PEERS = {"run_mlm": "datasets.map + group_texts (run_mlm)", "ids": "datasets.map + group_texts, ids only"}
NOTES = {
    "run_mlm": "run_mlm keeps four columns per token: ids, segment ids, attention mask and special-tokens mask.",
    "ids": "run_mlm reduced to the ids, without special tokens: what our token files hold.",
}
SIZES_MB = (10.0, 40.0, None)  # None: all of it
TOY_SIZES_MB = (0.1, None)
TOY_MB, TOY_VOCAB = 0.2, 400
CARD, MIRROR_VARIABLE = "bookwiki", "SELFPRETRAIN_DATA"
SEQ_LEN = 128
VOCAB_SIZES = {"wordpiece": 30522, "bpe": 50265}
TOKENIZER_MB = 20.0


@dataclass
class Options(harness.Options):
    workers: int = 2  # processes of each side
    peer: str | None = None  # run_mlm | ids; none: run_mlm at every size, ids on all the text
    size_mb: float | None = None  # one size; none: 10, 40 and all
    kind: str = "wordpiece"  # wordpiece | bpe


@dataclass(frozen=True)
class Text:
    """The same text in both sides' form, and what both do with it."""

    mirror: Path  # for SELFPRETRAIN_DATA
    documents: Path  # JSON lines
    num_bytes: int
    tokenizer: Path
    workers: int


def run(options: Options) -> Iterator[Row]:
    """Rows by size, so that a flat peak can be seen; each peer on all the text."""
    check_options(options)
    mirror = find_mirror()
    if not options.toy and (
        mirror is None or not all((mirror / name).is_file() for name in load_text_card(CARD).mirror)
    ):
        reason = "no mirror with BookWiki: SELFPRETRAIN_DATA=<mirror> python -m benchmarks corpus"
        yield Row("BookWiki", PEERS["run_mlm"], skipped=reason)
        return
    sizes = (options.size_mb,) if options.size_mb else TOY_SIZES_MB if options.toy else SIZES_MB
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as name:
        folder = Path(name)
        if options.toy:
            mirror = write_toy_mirror(folder / "whole")
        assert mirror is not None
        for size_mb in sizes:
            text = prepare_text(make_folder(folder / (f"{size_mb:g}" if size_mb else "all")), mirror, size_mb, options)
            peers = [options.peer] if options.peer else list(PEERS) if size_mb is None else ["run_mlm"]
            for peer in peers:
                yield compare(peer, text, options)


def check_options(options: Options) -> None:
    """Refuse names that are not known and a GPU, which has no part in this."""
    if options.peer not in (None, *PEERS):
        raise UserError(f"peer={options.peer} is not known; allowed: {', '.join(PEERS)}")
    if options.kind not in VOCAB_SIZES:
        raise UserError(f"kind={options.kind} is not known; allowed: {', '.join(VOCAB_SIZES)}")
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")


def compare(peer: str, text: Text, options: Options) -> Row:
    title = f"{'made text' if options.toy else 'BookWiki'}, {text.num_bytes / 1e6:.1f} MB, {text.workers} processes"
    if reason := find_obstacle("loop"):
        return Row(title, PEERS[peer], skipped=reason)
    builds = {"ours": (OwnCorpus, text), "theirs": (MappedCorpus, text, peer == "ids")}
    with open_contestants(builds, options) as sides:
        values = interleave(sides, options.repeats)
        own_peak, peer_peak = sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb()
    return Row(title, PEERS[peer], "MB/s", values["ours"], values["theirs"], own_peak, peer_peak, note=NOTES[peer])


# the text


def prepare_text(folder: Path, mirror: Path, size_mb: float | None, options: Options) -> Text:
    """The first part of each of the mirror's files, ``size_mb`` (10^6 bytes) in all, in both forms."""
    cut = cut_mirror(mirror, folder / "mirror", size_mb)
    documents, num_bytes = folder / "documents.jsonl", 0
    with use_mirror(cut), open(documents, "w", encoding="utf-8") as file:
        for document in iter_text():
            num_bytes += len(document.encode())
            file.write(json.dumps({"text": document}) + "\n")
    vocab_size = TOY_VOCAB if options.toy else VOCAB_SIZES[options.kind]
    with use_mirror(mirror):  # one vocabulary for all sizes
        tokenizer = train_tokenizer(TokenizerConfig(options.kind, vocab_size, train_mb=TOKENIZER_MB), iter_text())
    tokenizer.save(folder / "tokenizer")
    return Text(cut, documents, num_bytes, folder / "tokenizer", options.workers)


def iter_text() -> Iterator[str]:
    return iter_documents(CorpusConfig(source="card", card=CARD), None, "")


def cut_mirror(mirror: Path, folder: Path, size_mb: float | None) -> Path:
    """A mirror with the first lines of each file, in proportion to the files' sizes."""
    names = load_text_card(CARD).mirror
    sizes = {name: sum(len(line) for line in read_lines(mirror / name)) for name in names}
    share = 1.0 if size_mb is None else size_mb * 1e6 / sum(sizes.values())
    for name in names:
        left = share * sizes[name]
        make_folder((folder / name).parent)
        with gzip.open(folder / name, "wb", compresslevel=6) as file:
            for line in read_lines(mirror / name):
                if left <= 0:
                    break
                file.write(line)
                left -= len(line)
    return folder


def read_lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        yield from file


def write_toy_mirror(folder: Path) -> Path:
    """Made-up words in paragraphs of different lengths."""
    chance = Random(0)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 9))) for _ in range(2000)]
    for name in load_text_card(CARD).mirror:
        make_folder((folder / name).parent)
        with gzip.open(folder / name, "wt", encoding="utf-8") as file:
            written = 0
            while written < TOY_MB * 1e6 / 2:
                written += file.write(" ".join(chance.choices(words, k=chance.randint(5, 80))) + "\n")
    return folder


@contextlib.contextmanager
def use_mirror(folder: Path) -> Iterator[None]:
    before = os.environ.get(MIRROR_VARIABLE)
    os.environ[MIRROR_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[MIRROR_VARIABLE]
        else:
            os.environ[MIRROR_VARIABLE] = before


# the sides


class OwnCorpus:
    """A corpus built from nothing, in a folder that is thrown away; MB of text per second."""

    def __init__(self, text: Text):
        self.text, self.peak = text, TreePeak()
        self.num_tokens = 0

    def __call__(self) -> float:
        text = self.text
        with tempfile.TemporaryDirectory() as runs_dir, use_mirror(text.mirror), self.peak:
            runtime = RuntimeConfig(runs_dir=runs_dir, num_workers=text.workers, progress=False)
            start = time.perf_counter()
            tokenizer = TokenizerConfig(path=str(text.tokenizer))
            corpus = build_corpus(
                Settings(corpus=CorpusConfig(source="card", card=CARD), tokenizer=tokenizer, runtime=runtime)
            )
            seconds = time.perf_counter() - start
            self.num_tokens = json.loads((corpus / "manifest.json").read_text())["tokens"]
        return text.num_bytes / 1e6 / seconds

    def get_peak_mb(self) -> float | None:
        return self.peak.mb


class MappedCorpus:
    """transformers' examples/pytorch/language-modeling/run_mlm.py up to the training data; MB of text per second."""

    def __init__(self, text: Text, ids_only: bool):
        # as many processes as cores already; and a fork after the library's threads have run would switch them off
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import datasets
        from transformers import PreTrainedTokenizerFast

        datasets.disable_progress_bars()
        self.text, self.peak = text, TreePeak()
        self.num_tokens = 0
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(text.tokenizer / "tokenizer.json"))
        settings: dict[str, bool] = {"return_special_tokens_mask": True}
        if ids_only:
            settings = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
        self.tokenize = functools.partial(tokenize_texts, tokenizer=tokenizer, settings=settings)

    def __call__(self) -> float:
        import datasets

        with tempfile.TemporaryDirectory() as cache, self.peak:
            start = time.perf_counter()
            data = datasets.load_dataset("json", data_files=str(self.text.documents), split="train", cache_dir=cache)
            options = {"batched": True, "num_proc": self.text.workers, "load_from_cache_file": False}
            tokenized = data.map(self.tokenize, remove_columns=["text"], **options)
            grouped = tokenized.map(group_texts, **options)
            seconds = time.perf_counter() - start
            self.num_tokens = len(grouped) * SEQ_LEN
            del data, tokenized, grouped  # they map files that go now
        return self.text.num_bytes / 1e6 / seconds

    def get_peak_mb(self) -> float | None:
        return self.peak.mb


def tokenize_texts(examples: dict[str, list[str]], tokenizer: Any, settings: dict[str, bool]) -> Any:
    return tokenizer(examples["text"], **settings)


def group_texts(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """Blocks of SEQ_LEN tokens; each batch of 1,000 texts loses its remainder, as in run_mlm."""
    joined = {name: list(itertools.chain(*lists)) for name, lists in examples.items()}
    total = len(next(iter(joined.values()))) // SEQ_LEN * SEQ_LEN
    return {name: [ids[i : i + SEQ_LEN] for i in range(0, total, SEQ_LEN)] for name, ids in joined.items()}

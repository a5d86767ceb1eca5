"""Building a corpus: text to token files, named by what makes them.

    <runs_dir>/corpora/<id>/        the files of selfpretrain.data.store
    <runs_dir>/corpora/<id>.lock    held while it is built; the operating system frees it when the builder dies

The folder appears by a rename, so it is complete or not there; a killed builder leaves a hidden folder that the
next one removes. The same settings give the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.cards import load_task_card
from selfpretrain.config import CorpusConfig, RuntimeConfig, TaskConfig, TokenizerConfig, UserError
from selfpretrain.data.store import TokenWriter, choose_dtype, write_dictionary, write_manifest
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.data.vocabulary import describe_vocabulary, is_own, prepare_vocabulary
from selfpretrain.data.workers import iter_encoded
from selfpretrain.files import lock_folder, new_folder
from selfpretrain.runs.folder import get_corpus_folder, is_corpus_built
from selfpretrain.runs.identity import name_corpus
from selfpretrain.sources import audit, documents, tasks

PROGRESS_SECONDS = 1.0


def build_corpus(
    corpus: CorpusConfig, task: TaskConfig | None, tokenizer: TokenizerConfig, runtime: RuntimeConfig
) -> Path:
    """The folder of the token files and their tokenizer, built if it is not there.

    Of two builders at once one builds and the other waits. Raises UserError, in one line, for text or a tokenizer
    that cannot be used and for a folder that cannot be written; nothing half-written stays.
    """
    documents_fingerprint = documents.compute_fingerprint(corpus, task, runtime.runs_dir)
    corpus_id = name_corpus(documents_fingerprint, tokenizer, runtime)
    folder = get_corpus_folder(corpus_id, runtime)
    if is_corpus_built(corpus_id, runtime):
        return folder
    with lock_folder(folder, runtime.progress):
        if not is_corpus_built(corpus_id, runtime):
            with new_folder(folder) as new:
                _write_corpus(new, corpus, task, tokenizer, runtime, documents_fingerprint)
    return folder


def _write_corpus(
    folder: Path,
    corpus: CorpusConfig,
    task: TaskConfig | None,
    config: TokenizerConfig,
    runtime: RuntimeConfig,
    documents_fingerprint: str,
) -> None:
    """Tokenizer, token files, audit and manifest into an empty folder."""
    tokenizer, notes = _prepare_tokenizer(corpus, task, config, runtime)
    tokenizer.save(folder / "tokenizer")
    text = documents.iter_documents(corpus, task, runtime.runs_dir)
    written = _write_tokens(folder, text, tokenizer, runtime)
    if not written["tokens"]:
        raise UserError(f"corpus.source={corpus.source}: the text is empty; choose another corpus or task")
    reason = write_dictionary(folder, tokenizer, written.pop("counts"))
    notes += [reason] if reason else []
    description: dict[str, Any] = {"corpus": dataclasses.asdict(corpus), "documents": documents_fingerprint}
    owner, audit = _describe_owner(corpus, task, runtime)
    if owner is not None:
        notes += owner.pop("notes")
    write_manifest(
        folder,
        {
            "source": {**description, "task": owner},
            "tokenizer": {
                "kind": tokenizer.kind,
                "vocab_size": tokenizer.vocab_size,
                "fingerprint": tokenizer.fingerprint,
                "origin": describe_vocabulary(config),
            },
            **written,
            "audit": audit,
            "notes": notes,
        },
    )


def _prepare_tokenizer(
    corpus: CorpusConfig, task: TaskConfig | None, config: TokenizerConfig, runtime: RuntimeConfig
) -> tuple[Tokenizer, list[str]]:
    if not is_own(config):
        return prepare_vocabulary(config, runtime), []
    if corpus.source == "card":
        # a slice spread over the collection: its first part may be all books, or all of one site
        max_mb = config.train_mb if corpus.max_mb is None else min(corpus.max_mb, config.train_mb)
        corpus = dataclasses.replace(corpus, max_mb=max_mb)
    tokenizer = train_tokenizer(config, documents.iter_documents(corpus, task, runtime.runs_dir))
    if tokenizer.vocab_size == config.vocab_size:
        return tokenizer, []
    return tokenizer, [f"tokenizer: {tokenizer.vocab_size} of {config.vocab_size} entries; the text has no more"]


def _write_tokens(folder: Path, text: Iterator[str], tokenizer: Tokenizer, runtime: RuntimeConfig) -> dict[str, Any]:
    """train.bin and train.idx; what the manifest says of them, and ``counts`` [vocab_size] per entry."""
    dtype = choose_dtype(tokenizer.vocab_size)
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    num_empty = num_bytes = 0
    shown = started = time.monotonic()
    show = runtime.progress and sys.stderr.isatty()
    chunks = iter_encoded(tokenizer, folder / "tokenizer", text, dtype, runtime.num_workers)
    with closing(chunks), TokenWriter(folder, dtype) as writer:
        for chunk in chunks:
            writer.append(chunk.sizes, chunk.tokens)
            counts += np.bincount(chunk.tokens, minlength=len(counts))
            num_empty += chunk.num_empty
            num_bytes += chunk.num_bytes
            now = time.monotonic()
            if show and now - shown > PROGRESS_SECONDS:
                shown = now
                rate = num_bytes / (now - started) / 1e6
                print(f"\rtokenising: {num_bytes / 1e6:,.0f} MB ({rate:.1f} MB/s)", end="", file=sys.stderr, flush=True)
    if show and shown > started:
        print(file=sys.stderr)
    return {
        "documents": writer.num_documents,
        "tokens": writer.num_tokens,
        "text_bytes": num_bytes,
        "unknown_tokens": int(counts[tokenizer.unk_id]),
        "dropped": {"empty_documents": num_empty},
        "counts": counts,
    }


def _describe_owner(
    corpus: CorpusConfig, task: TaskConfig | None, runtime: RuntimeConfig
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """For a task's own text: the task and split it is from, and its overlap with that task's evaluation text."""
    if corpus.source == "card":
        return None, None
    owner = load_task_card(str(corpus.task)) if corpus.source == "own_of" else task
    assert owner is not None  # iter_documents refused that
    # the corpus keeps all the text, however many labels a fine-tuning uses
    data = tasks.load_task(dataclasses.replace(owner, max_train_examples=None), runtime.runs_dir)
    described = {
        "name": owner.name,
        "version": owner.version,
        "split": "train",
        "fingerprint": data.fingerprint,
        "notes": list(data.notes),
    }
    evaluation = ("\n".join(columns) for split in ("validation", "test") for columns in data.splits[split].texts)
    text = documents.iter_documents(corpus, task, runtime.runs_dir)
    return described, {"against": ["validation", "test"], **audit.compute_overlap(text, evaluation)}

"""Building a corpus: text to token files, named by what makes them.

    <runs_dir>/corpora/<id>/        the files of selfpretrain.data.store
    <runs_dir>/corpora/<id>.lock    held while it is built; the operating system frees it when the builder dies

The folder appears by a rename, so it is complete or not there; a killed builder leaves a hidden folder, in which the
next one goes on after the last shard that was done (64 MB of text), or removes where there is none. The same settings
give the same bytes, whatever the number of processes, the engine, and how often it was killed.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from selfpretrain.cluster import connected
from selfpretrain.config import RuntimeConfig, Settings, UserError
from selfpretrain.data.store import (
    PROGRESS,
    TokenWriter,
    choose_dtype,
    count_tokens,
    has_manifest,
    write_dictionary,
    write_manifest,
)
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.data.vocabulary import describe_vocabulary, is_own, prepare_vocabulary
from selfpretrain.data.workers import iter_encoded
from selfpretrain.door import read_parts
from selfpretrain.files import build_folder
from selfpretrain.progress import show_progress
from selfpretrain.runs.folder import get_corpus_folder
from selfpretrain.runs.identity import name_corpus
from selfpretrain.sources import documents, tasks
from selfpretrain.stages import audit


def prepare_corpus(settings: Settings) -> Path:
    """The folder of a stage's corpus, built if it is not there, in the tokens of what the stage starts from."""
    from selfpretrain.stages.start import choose_tokenizer

    return build_corpus(dataclasses.replace(settings, tokenizer=choose_tokenizer(settings)))


def build_corpus(settings: Settings) -> Path:
    """The folder of the token files and their tokenizer, built if it is not there.

    Of two builders at once one builds and the other waits. Raises UserError, in one line, for text or a tokenizer
    that cannot be used, a folder that cannot be written and a cluster that does not answer; nothing half-written stays.
    """
    runtime = settings.runtime
    text = documents.compute_fingerprint(settings.corpus, settings.task, runtime.runs_dir)
    folder = get_corpus_folder(name_corpus(text, settings.tokenizer, runtime), runtime)

    def write(new: Path) -> None:
        with _open_engine(runtime):  # first, since reading takes long
            _write_corpus(new, settings, text)

    return build_folder(folder, write, runtime.progress, has_manifest, PROGRESS)


def _open_engine(runtime: RuntimeConfig) -> AbstractContextManager[None]:
    return connected(runtime.ray_address) if runtime.corpus_engine == "ray" else nullcontext()


def _write_corpus(folder: Path, settings: Settings, documents_fingerprint: str) -> None:
    """Tokenizer, token files, audit and manifest into an empty folder."""
    corpus, runtime = settings.corpus, settings.runtime
    tokenizer, notes = _prepare_tokenizer(settings, folder / "tokenizer")
    text = documents.iter_documents(corpus, settings.task, runtime.runs_dir)
    written = _write_tokens(folder, text, tokenizer, runtime)
    if not written["tokens"]:
        raise UserError(f"corpus.source={corpus.source}: the text is empty; choose another corpus or task")
    counts = count_tokens(folder, choose_dtype(tokenizer.vocab_size), tokenizer.vocab_size)
    reason = write_dictionary(folder, tokenizer, counts)
    notes += [reason] if reason else []
    owner, overlap, found = _describe_owner(settings)
    parts = [
        _describe_part(dataclasses.replace(settings, corpus=part, task=task or settings.task))
        for part, task in read_parts(corpus, settings.task)
    ]
    write_manifest(
        folder,
        {
            "source": {
                "corpus": dataclasses.asdict(dataclasses.replace(corpus, parts=[])),
                "documents": documents_fingerprint,
                "task": owner,
                **({"parts": parts} if parts else {}),
            },
            "tokenizer": {
                "kind": tokenizer.kind,
                "vocab_size": tokenizer.vocab_size,
                "fingerprint": tokenizer.fingerprint,
                "origin": describe_vocabulary(settings.tokenizer),
            },
            **written,
            "unknown_tokens": int(counts[tokenizer.unk_id]),
            "audit": overlap,
            "notes": [*notes, *found],
        },
    )


def _prepare_tokenizer(settings: Settings, folder: Path) -> tuple[Tokenizer, list[str]]:
    """The corpus's tokenizer, saved in ``folder`` unless a killed builder did, and notes."""
    config = settings.tokenizer
    if folder.exists():
        tokenizer = Tokenizer.load(folder)
    else:
        tokenizer = _make_tokenizer(settings)
        tokenizer.save(folder)
    if not is_own(config) or tokenizer.vocab_size == config.vocab_size:
        return tokenizer, []
    return tokenizer, [f"tokenizer: {tokenizer.vocab_size} of {config.vocab_size} entries; the text has no more"]


def _make_tokenizer(settings: Settings) -> Tokenizer:
    corpus, config, runtime = settings.corpus, settings.tokenizer, settings.runtime
    if not is_own(config):
        return prepare_vocabulary(config, runtime)
    if corpus.source in ("card", "mix", "fairseq"):
        # a slice spread over the collection: its first part may be all books, or all of one site
        max_mb = config.train_mb if corpus.max_mb is None else min(corpus.max_mb, config.train_mb)
        corpus = dataclasses.replace(corpus, max_mb=max_mb)
    return train_tokenizer(config, documents.iter_documents(corpus, settings.task, runtime.runs_dir))


def _write_tokens(folder: Path, text: Iterator[str], tokenizer: Tokenizer, runtime: RuntimeConfig) -> dict[str, Any]:
    """train.bin and train.idx, or the rest of them; what the manifest says of them."""
    dtype = choose_dtype(tokenizer.vocab_size)
    started = time.perf_counter()
    progress = show_progress("tokenising, MB", None, is_shown=runtime.progress)
    with progress as advance, TokenWriter(folder, dtype) as writer:
        written, before = writer.written, writer.written.text_bytes
        if before and runtime.progress:
            print(f"corpora: goes on after the {before / 1e6:.0f} MB of text that are done", file=sys.stderr)
        left = islice(text, written.documents + written.empty_documents, None)
        engine = runtime.corpus_engine
        chunks = iter_encoded(tokenizer, folder / "tokenizer", left, dtype, runtime.num_workers, engine)
        with closing(chunks):
            for chunk in chunks:
                writer.append(chunk.sizes, chunk.tokens, chunk.num_bytes, chunk.num_empty)
                rate = (written.text_bytes - before) / 1e6 / (time.perf_counter() - started)
                advance(round(written.text_bytes / 1e6), f"{rate:.1f} MB/s")
    return {
        "documents": written.documents,
        "tokens": written.tokens,
        "text_bytes": written.text_bytes,
        "dropped": {"empty_documents": written.empty_documents},
    }


def _describe_owner(settings: Settings) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[str]]:
    """For a task's own text: the task and split it is from, its overlap with that task's evaluation text, and notes."""
    corpus, task, runs_dir = settings.corpus, settings.task, settings.runtime.runs_dir
    owner = documents.find_owner(corpus, task)
    if owner is None:
        return None, None, []
    # the corpus keeps all the text, however many labels a fine-tuning uses
    data = tasks.read_task(dataclasses.replace(owner, max_train_examples=None), runs_dir)
    described = {"name": owner.name, "version": owner.version, "split": "train", "fingerprint": data.fingerprint}
    (found,) = audit.audit_text(corpus, task, [owner], settings.runtime)
    return described, audit.summarize_audit(found), data.notes


def _describe_part(settings: Settings) -> dict[str, Any]:
    """One text of a mix, as a manifest says it of a corpus: what it is, how large, its overlap, and notes."""
    corpus, (owner, overlap, notes) = settings.corpus, _describe_owner(settings)
    text = documents.iter_documents(corpus, settings.task, settings.runtime.runs_dir)
    sizes = [len(document.encode()) for document in text]
    return {
        "corpus": dataclasses.asdict(corpus),
        "documents": len(sizes),
        "text_bytes": sum(sizes),
        "task": owner,
        "audit": overlap,
        "notes": notes,
    }

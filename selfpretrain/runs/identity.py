"""The id of every run, from the settings that decide its result: the sections its stage reads, as hashed below."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from selfpretrain.config import RuntimeConfig, SeedConfig, Settings, TokenizerConfig, UserError
from selfpretrain.data.store import FORMAT_VERSION
from selfpretrain.data.vocabulary import compute_vocabulary_id, hash_training, is_own
from selfpretrain.devices import resolve_precision
from selfpretrain.files import compute_checksum
from selfpretrain.hashing import compute_id, hash_section, to_plain
from selfpretrain.sources import documents
from selfpretrain.sources.fairseq_files import DICTIONARY, MERGES, PIECES, find_checkpoint
from selfpretrain.sources.labelled import TaskData
from selfpretrain.starts import Start

# raised when the same settings would give another result
PRETRAIN_VERSION = 4
FINETUNE_VERSION = 5

RELEASE_MANIFEST = "release.json"  # beside a released checkpoint's files: what it comes from, which decides nothing

_corpus_ids: dict[str, str] = {}  # of corpora and vocabularies, by the settings that name them


def name_corpus(documents_fingerprint: str, tokenizer: TokenizerConfig, runtime: RuntimeConfig) -> str:
    """The id of a corpus whose text has this fingerprint: what decides its files is the text, the tokenizer and the format."""
    parts: dict[str, Any] = {"format": FORMAT_VERSION, "documents": documents_fingerprint}
    if is_own(tokenizer):
        return compute_id({**parts, "train": hash_training(tokenizer)})
    return compute_id({**parts, "vocabulary": compute_vocabulary_id(tokenizer, runtime.runs_dir)})


def identify_corpus(settings: Settings) -> str:
    """The id of the token files a stage needs; remembered, since it reads the text."""
    parts = (settings.corpus, settings.task, settings.tokenizer, settings.runtime.runs_dir)
    key = json.dumps(["corpus", *(to_plain(part) for part in parts)])
    if key not in _corpus_ids:
        text = documents.compute_fingerprint(settings.corpus, settings.task, settings.runtime.runs_dir)
        _corpus_ids[key] = name_corpus(text, settings.tokenizer, settings.runtime)
    return _corpus_ids[key]


def identify_vocabulary(settings: Settings) -> str:
    """The id of the vocabulary of a fresh encoder: that of its corpus where every corpus has its own; remembered."""
    if is_own(settings.tokenizer):
        return identify_corpus(settings)
    key = json.dumps(["vocabulary", to_plain(settings.tokenizer), settings.runtime.runs_dir])
    if key not in _corpus_ids:
        _corpus_ids[key] = compute_vocabulary_id(settings.tokenizer, settings.runtime.runs_dir)
    return _corpus_ids[key]


def identify_start(start: Start) -> str:
    """A start as it enters identities: a run's id, a repository at a revision, or files by their contents."""
    if start.kind == "hf" and Path(start.name).is_dir():
        deciding = []
        for file in sorted(Path(start.name).glob("*")):
            is_read = file.suffix in (".json", ".txt", ".safetensors") or file.match("pytorch_model*.bin")
            if is_read and file.name != RELEASE_MANIFEST:
                deciding.append((file, file.stat().st_size, file.stat().st_mtime_ns))
        return f"hf:{_hash_files(tuple(deciding))}"
    if start.kind == "fairseq":
        file = find_checkpoint(start.name)
        named = [file, *(file.parent / name for name in (DICTIONARY, PIECES, MERGES))]
        sums = [compute_checksum(each, "sha256") for each in named if each.is_file()]
        return f"fairseq:{compute_id({'files': sums})}"
    if start.kind == "hf" and "@" not in start.name:
        raise UserError(
            f"init={start} is neither a folder nor a repository at a revision; allowed: hf:<folder>, hf:<repo>@<revision>"
        )
    return str(start)


@cache
def _hash_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    """SHA-256 (hex) of names and contents, remembered as long as sizes and times stay: a study asks for each cell."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def get_pretrain_seeds(seeds: SeedConfig) -> dict[str, int]:
    """The three seeds of pretraining; each is ``seeds.seed`` unless set by itself."""
    given = {"init": seeds.init_seed, "data": seeds.data_seed, "mask": seeds.mask_seed}
    return {name: seeds.seed if value is None else value for name, value in given.items()}


def _hash_training(name: str, settings: Settings) -> dict[str, Any]:
    return hash_section(name, resolve_precision(getattr(settings, name), settings))


def identify_pretrain(settings: Settings, corpus_id: str) -> str:
    """The id of a pretraining on the corpus ``corpus_id``; its budget is resolved before (:mod:`selfpretrain.runs.budget`)."""
    training = _hash_training("pretrain", settings)
    # without the budget's name, where steps say it all, or without the steps, where the budget decides them
    del training["budget" if settings.pretrain.budget == "steps" else "total_steps"]
    parts = {
        "stage": "pretrain",
        "version": PRETRAIN_VERSION,
        "model": hash_section("model", settings.model),
        "objective": hash_section("objective", settings.objective),
        "pretrain": training,
        "seeds": get_pretrain_seeds(settings.seeds),
        "init": identify_start(settings.start),
        "corpus": corpus_id,
    }
    return compute_id(parts)


def identify_evaluation(run_id: str, data: TaskData) -> str:
    """The id of scoring a fine-tuned run on ``data``, the task as it was read."""
    named = {"stage": "evaluate", "run": run_id, "task": data.fingerprint, "metric": data.task.metric}
    given = {"label_map": data.task.label_map, "tag_scheme": data.task.tag_scheme}
    return compute_id({**named, **{name: value for name, value in given.items() if value}})


def identify_finetune(settings: Settings, data: TaskData, vocabulary_id: str | None) -> str:
    """The id of a fine-tuning on ``data``, the task as it was read; ``vocabulary_id`` is a fresh encoder's (init=none)."""
    parts: dict[str, Any] = {
        "stage": "finetune",
        "version": FINETUNE_VERSION,
        "finetune": _hash_training("finetune", settings),
        "task": {**hash_section("task", data.task), "data": data.fingerprint},
        "init": identify_start(settings.start),
        "finetune_seed": settings.seeds.finetune_seed,
    }
    if settings.start.is_fresh:
        parts |= {
            "model": hash_section("model", settings.model),
            "vocabulary": vocabulary_id,
            "init_seed": get_pretrain_seeds(settings.seeds)["init"],
        }
    return compute_id(parts)

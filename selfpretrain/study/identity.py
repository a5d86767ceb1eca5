"""The id of every run, from the settings that decide its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from selfpretrain.config import PretrainConfig, SeedConfig, Settings, UserError
from selfpretrain.data.corpus import compute_corpus_id
from selfpretrain.door import compute_identity, to_plain

# raised when the same settings would give another result
PRETRAIN_VERSION = 3
FINETUNE_VERSION = 4


_corpus_ids: dict[str, str] = {}


def identify_corpus(settings: Settings) -> str:
    """The id of the token files (and tokenizer) a stage needs; remembered, since it reads the text."""
    key = json.dumps(
        [to_plain(part) for part in (settings.corpus, settings.task, settings.tokenizer, settings.runtime.runs_dir)]
    )
    if key not in _corpus_ids:
        _corpus_ids[key] = compute_corpus_id(settings.corpus, settings.task, settings.tokenizer, settings.runtime)
    return _corpus_ids[key]


def identify_start(init: str) -> str:
    """A start as it enters identities: a run's id, a repository at a revision, or a folder by its contents."""
    kind, _, name = init.partition(":")
    if kind == "hf" and name and Path(name).is_dir():
        digest = hashlib.sha256()
        for file in sorted(Path(name).glob("*")):
            if file.suffix in (".json", ".txt", ".safetensors"):
                digest.update(file.name.encode() + file.read_bytes())
        return f"hf:{digest.hexdigest()}"
    if kind == "hf" and "@" not in name:
        raise UserError(
            f"init={init} is neither a folder nor a repository at a revision; allowed: hf:<folder>, hf:<repo>@<revision>"
        )
    return init


def get_pretrain_seeds(seeds: SeedConfig) -> dict[str, int]:
    """The three seeds of pretraining; each is ``seeds.seed`` unless set by itself."""
    given = {"init": seeds.init_seed, "data": seeds.data_seed, "mask": seeds.mask_seed}
    return {name: seeds.seed if value is None else value for name, value in given.items()}


def _model_parts(settings: Settings) -> dict[str, Any]:
    parts = dataclasses.asdict(settings.model)
    del parts["preset"]  # a name for tables, not a setting
    return parts


def _pretrain_parts(config: PretrainConfig) -> dict[str, Any]:
    """Every setting but the budget's name, where steps say it all, or but the steps, where the budget decides them."""
    parts = to_plain(config)
    assert isinstance(parts, dict)
    del parts["budget" if config.budget == "steps" else "total_steps"]
    return parts


def identify_pretrain(settings: Settings, corpus_id: str) -> str:
    """The id of a pretraining on the corpus ``corpus_id``; its budget is resolved before (:mod:`selfpretrain.study.budget`)."""
    parts = {
        "version": PRETRAIN_VERSION,
        "model": _model_parts(settings),
        "objective": settings.objective,
        "pretrain": _pretrain_parts(settings.pretrain),
        "seeds": get_pretrain_seeds(settings.seeds),
        "init": identify_start(settings.init),
        "corpus": corpus_id,
    }
    return compute_identity("pretrain", parts)


def identify_finetune(settings: Settings, task_fingerprint: str, corpus_id: str | None) -> str:
    """The id of a fine-tuning; ``corpus_id`` names the tokenizer of a fresh encoder (init=none)."""
    finetune = to_plain(settings.finetune)
    del finetune["lr_grid"]  # one run uses one rate
    task = {key: to_plain(settings.task).get(key) for key in ("name", "metric", "label_kind", "max_train_examples")}
    parts: dict[str, Any] = {
        "version": FINETUNE_VERSION,
        "finetune": finetune,
        "task": {**task, "data": task_fingerprint},
        "init": identify_start(settings.init),
        "finetune_seed": settings.seeds.finetune_seed,
    }
    if settings.init == "none":
        parts |= {
            "model": _model_parts(settings),
            "corpus": corpus_id,
            "init_seed": get_pretrain_seeds(settings.seeds)["init"],
        }
    return compute_identity("finetune", parts)

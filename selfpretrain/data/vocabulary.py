"""The vocabulary of an encoder that is not the own one of its corpus: a released one, or one learnt from general text.

    <runs_dir>/vocabularies/<id>/    tokenizer.json and its like (selfpretrain.data.tokenizer)

It is made once, under a lock, and all corpora and fresh encoders share it, so that conditions differ in what an
encoder has read and not in how its text is cut. Its id is that of what makes it: it can be asked for before it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfpretrain.config import CorpusConfig, RuntimeConfig, TokenizerConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.files import Damaged, build_folder
from selfpretrain.hashing import ADDED, compute_id, hash_section
from selfpretrain.sources import documents, hub


def is_own(config: TokenizerConfig) -> bool:
    """Whether every corpus trains its own."""
    return config.path is None and config.source == "own"


def describe_vocabulary(config: TokenizerConfig) -> str:
    """Where it comes from, in words."""
    if config.path is not None:
        return "given"
    if config.source == "released":
        return f"released with {config.released}"
    if is_own(config):
        return "trained on this corpus"
    return f"trained on the general text ({config.card}), for all corpora"


def compute_vocabulary_id(config: TokenizerConfig, runs_dir: str) -> str:
    """12 hex digits of what makes it, not for source=own: the file given, the commit released, or the text learnt from."""
    assert not is_own(config)
    if config.path is not None:
        parts: dict[str, Any] = {"given": Tokenizer.load(config.path).fingerprint}
    elif config.source == "released":
        parts = {"released": config.released}
    else:
        text = documents.compute_fingerprint(_get_text(config), None, runs_dir)
        parts = {"text": text, "train": hash_training(config)}
    return compute_id(parts)


def hash_training(config: TokenizerConfig) -> list[Any]:
    """What decides a vocabulary besides the text it is learnt from, as it enters an id."""
    later = {name: value for name, value in hash_section("tokenizer", config).items() if f"tokenizer.{name}" in ADDED}
    return [config.kind, int(config.vocab_size), float(config.train_mb), *([later] if later else [])]


def prepare_vocabulary(config: TokenizerConfig, runtime: RuntimeConfig) -> Tokenizer:
    """The tokenizer, made if it is not there; not for source=own.

    Of two processes at once one makes it and the other waits. Raises UserError, in one line, for one that cannot be
    downloaded, is not of the kind and size asked for, or cannot be learnt.
    """
    if config.path is not None:
        return Tokenizer.load(config.path)
    folder = _get_folder(config, runtime.runs_dir)
    text = documents.iter_documents(_get_text(config), None, runtime.runs_dir)  # read if it is learnt
    build_folder(folder, lambda new: sample_vocabulary(config, text).save(new), runtime.progress)
    return _check(_load(folder), config)


def find_vocabulary(config: TokenizerConfig, runs_dir: str) -> Tokenizer | None:
    """The tokenizer where it was given or made before; None for source=own, and where it would have to be made."""
    if is_own(config):
        return None
    if config.path is not None:
        return Tokenizer.load(config.path) if Path(config.path).exists() else None
    folder = _get_folder(config, runs_dir)
    return _load(folder) if folder.exists() else None


def _load(folder: Path) -> Tokenizer:
    """One of ours; Damaged, where it would blame a setting that nobody gave."""
    try:
        return Tokenizer.load(folder)
    except UserError:
        raise Damaged(folder / "tokenizer.json", folder) from None


def _get_folder(config: TokenizerConfig, runs_dir: str) -> Path:
    return Path(runs_dir) / "vocabularies" / compute_vocabulary_id(config, runs_dir)


def sample_vocabulary(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """The vocabulary given or released, else one learnt from these texts (a few, for timing); nothing is written."""
    if config.path is not None:
        return Tokenizer.load(config.path)
    if config.source != "released":
        return train_tokenizer(config, texts)
    assert config.released is not None  # the door refused that
    return _check(Tokenizer.load(hub.fetch_tokenizer(config.released)), config)


def _check(tokenizer: Tokenizer, config: TokenizerConfig) -> Tokenizer:
    """A size that was asked for and is not the released one's would otherwise be ignored without a word."""
    for name in ("kind", "vocab_size"):
        asked, found = getattr(config, name), getattr(tokenizer, name)
        if config.source == "released" and asked != found:
            raise UserError(
                f"tokenizer.{name}={asked}, but tokenizer.released={config.released} has {found}; set "
                f"tokenizer.{name}={found}, or learn another vocabulary: tokenizer.source=general"
            )
    return tokenizer


def _get_text(config: TokenizerConfig) -> CorpusConfig:
    # a slice spread over the collection: its first part may be all books, or all of one site
    return CorpusConfig(source="card", card=config.card, max_mb=config.train_mb)

"""What an encoder starts from: nothing, a run of ours, or a released checkpoint."""

from __future__ import annotations

from pathlib import Path

from selfpretrain.config import Settings, Start, TokenizerConfig
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.model.encoder import Encoder
from selfpretrain.runs.folder import find_run
from selfpretrain.train.checkpoint import load_encoder


def load_start(start: Start, runs_dir: str) -> tuple[Encoder, Tokenizer]:
    """The encoder and tokenizer that a start names, which is no fresh one; UserError when there is no such thing."""
    if start.run_id is not None:
        return load_encoder(find_run(runs_dir, "pretrain", start.run_id).path / "encoder")
    assert start.kind == "hf", start
    from selfpretrain.interop.huggingface import load_huggingface

    return load_huggingface(start.name)


def get_tokenizer_path(start: Start, runs_dir: str) -> str | None:
    """The tokenizer that comes with a start, for building a corpus; None for a fresh one."""
    if start.run_id is not None:
        return str(find_run(runs_dir, "pretrain", start.run_id).path / "encoder" / "tokenizer")
    if start.is_fresh or Path(start.name).is_dir():
        return start.name or None
    from selfpretrain.interop.huggingface import fetch_snapshot

    return str(fetch_snapshot(start.name))


def choose_tokenizer(settings: Settings) -> TokenizerConfig:
    """A start brings its own tokenizer; otherwise the settings say."""
    path = get_tokenizer_path(settings.start, settings.runtime.runs_dir)
    return settings.tokenizer if path is None else TokenizerConfig(kind=settings.tokenizer.kind, path=path)

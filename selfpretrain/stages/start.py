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


def choose_tokenizer(settings: Settings) -> TokenizerConfig:
    """A start brings its own tokenizer; otherwise the settings say."""
    start, path = settings.start, Path(settings.start.name)
    if start.is_fresh:
        return settings.tokenizer
    if start.run_id is not None:
        path = find_run(settings.runtime.runs_dir, "pretrain", start.run_id).path / "encoder" / "tokenizer"
    elif not path.is_dir():
        from selfpretrain.interop.huggingface import fetch_snapshot

        path = fetch_snapshot(start.name)
    return TokenizerConfig(kind=settings.tokenizer.kind, path=str(path))

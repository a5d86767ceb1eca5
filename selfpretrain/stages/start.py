"""What an encoder starts from: nothing, a run of ours, or a released checkpoint."""

from __future__ import annotations

from pathlib import Path

from selfpretrain.config import Settings, TokenizerConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.model.encoder import Encoder
from selfpretrain.runs.folder import find_run
from selfpretrain.train.checkpoint import load_encoder

ALLOWED = "allowed: none, run:<id>, hf:<repo>@<revision>, hf:<folder>"


def load_start(init: str, runs_dir: str) -> tuple[Encoder, Tokenizer]:
    """The encoder and tokenizer that ``init`` names; UserError when there is no such thing."""
    kind, _, name = init.partition(":")
    if kind == "run" and name:
        return load_encoder(find_run(runs_dir, "pretrain", name).path / "encoder")
    if kind == "hf" and name:
        from selfpretrain.interop.huggingface import load_huggingface

        return load_huggingface(name)
    raise UserError(f"init={init} is not a start; {ALLOWED}")


def get_tokenizer_path(init: str, runs_dir: str) -> str | None:
    """The tokenizer that comes with a start, for building a corpus; None for init=none."""
    if init == "none":
        return None
    kind, _, name = init.partition(":")
    if kind == "run" and name:
        return str(find_run(runs_dir, "pretrain", name).path / "encoder" / "tokenizer")
    if kind == "hf" and name and Path(name).is_dir():
        return name
    if kind == "hf" and name:
        from selfpretrain.interop.huggingface import fetch_snapshot

        return str(fetch_snapshot(name))
    raise UserError(f"init={init} is not a start; {ALLOWED}")


def choose_tokenizer(settings: Settings) -> TokenizerConfig:
    """A start brings its own tokenizer; otherwise the settings say."""
    path = get_tokenizer_path(settings.init, settings.runtime.runs_dir)
    return settings.tokenizer if path is None else TokenizerConfig(kind=settings.tokenizer.kind, path=path)

"""What an encoder starts from: nothing, a run of ours, or a released checkpoint."""

from __future__ import annotations

from pathlib import Path

from selfpretrain.config import Settings, TokenizerConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.data.vocabulary import find_vocabulary
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import Pooler
from selfpretrain.runs.folder import find_run
from selfpretrain.sources.fairseq_files import find_dictionary
from selfpretrain.starts import Start
from selfpretrain.train import checkpoint


def load_start(start: Start, runs_dir: str) -> tuple[Encoder, Tokenizer]:
    """The encoder and tokenizer that a start names, which is no fresh one; UserError when there is no such thing."""
    if start.run_id is not None:
        return checkpoint.load_encoder(find_encoder(start, runs_dir))
    if start.kind == "fairseq":
        from selfpretrain.interop.fairseq_roberta import load_roberta

        return load_roberta(start.name)[:2]
    assert start.kind == "hf", start
    from selfpretrain.interop.huggingface import load_huggingface

    return load_huggingface(start.name)


def load_pooler(start: Start, runs_dir: str) -> Pooler | None:
    """What pretraining learnt to make of the first token [BERT]; None for a fresh encoder and where nothing did."""
    if start.run_id is not None:
        return checkpoint.load_pooler(find_encoder(start, runs_dir))
    if start.kind != "hf":
        return None
    from selfpretrain.interop import huggingface

    return huggingface.load_pooler(start.name)


def find_encoder(start: Start, runs_dir: str) -> Path:
    """The folder of a run's encoder, or of its snapshot; UserError where it was not kept."""
    assert start.run_id is not None
    run = find_run(runs_dir, "pretrain", start.run_id)
    folder = run.encoder(start.step)
    if start.step is not None and not folder.is_dir():
        kept = run.list_snapshots()
        raise UserError(
            f"init={start}: this run has no snapshot after {start.step} steps; allowed: "
            f"{', '.join(f'run:{run.id}@{step}' for step in kept) or f'run:{run.id}'} (pretrain.snapshots keeps more)"
        )
    return folder


def choose_tokenizer(settings: Settings) -> TokenizerConfig:
    """A start brings its own tokenizer; otherwise the settings say.

    Where a run's is the vocabulary that the settings name, it is named as they do: so a text is one corpus, whichever
    run is pretrained further on it.
    """
    start, path, runs_dir = settings.start, Path(settings.start.name), settings.runtime.runs_dir
    if start.is_fresh:
        return settings.tokenizer
    if start.run_id is not None:
        path = find_encoder(start, runs_dir) / "tokenizer"
        shared = find_vocabulary(settings.tokenizer, runs_dir)
        if shared is not None and shared.fingerprint == Tokenizer.load(path).fingerprint:
            return settings.tokenizer
    elif start.kind == "fairseq":
        path = find_dictionary(start.name)
    elif not path.is_dir():
        from selfpretrain.interop.huggingface import fetch_snapshot

        path = fetch_snapshot(start.name)
    return TokenizerConfig(kind=settings.tokenizer.kind, path=str(path))

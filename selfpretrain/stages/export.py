"""An encoder for another library: transformers' folder, or fairseq's."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from selfpretrain.config import ModelConfig, Settings, TaskConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import to_dataclass
from selfpretrain.interop.fairseq_roberta import export_roberta, load_weights
from selfpretrain.interop.huggingface import export_huggingface
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import BertHead, MaskedTokenHead, ReplacedTokenHead
from selfpretrain.runs.folder import RunFolder, find_run, open_run
from selfpretrain.sources.fairseq_files import LAST
from selfpretrain.stages.evaluate import load_model
from selfpretrain.stages.start import load_pooler, load_start
from selfpretrain.train.checkpoint import find_latest, load_json, load_tensors, set_tensors


def export(settings: Settings) -> Path:
    """Write what ``init`` names as ``format`` has it into the new folder ``runtime.export_dir``.

    A pretraining goes with the head that it learnt with, as far as its last checkpoint is there, a fine-tuning with that
    of its task, another library's checkpoint and a snapshot as the encoder alone, with the pooler of a BERT.

    Raises UserError for no start, a folder that is not empty, and what the other library has not.
    """
    start, runs_dir = settings.start, settings.runtime.runs_dir
    if start.is_fresh:
        raise UserError("init=none: there is nothing to export; init=run:<id> of a pretraining or a fine-tuning")
    folder = Path(settings.runtime.export_dir)
    task: TaskConfig | None = None
    head: nn.Module | None = None
    if start.run_id is not None and open_run(runs_dir, "finetune", start.run_id).status != "missing":
        encoder, tokenizer, head, task = _load_finetuned(find_run(runs_dir, "finetune", start.run_id))
    else:
        encoder, tokenizer = load_start(start, runs_dir)
        if start.run_id is not None and start.step is None:
            head = _load_head(find_run(runs_dir, "pretrain", start.run_id), encoder)
        if head is None:
            head = load_pooler(start, runs_dir)
    if settings.format == "fairseq":
        export_roberta(folder, encoder, tokenizer, head)
    elif task is None:
        export_huggingface(folder, encoder, tokenizer, head)
    else:
        export_huggingface(folder, encoder, tokenizer, head, str(task.label_kind), task.label_names)
    return folder


def _load_finetuned(run: RunFolder) -> tuple[Encoder, Tokenizer, nn.Module, TaskConfig]:
    description = load_json(run.path / "model" / "encoder.json")["head"]
    model, tokenizer, _, task = load_model(run, to_dataclass(description["task"], TaskConfig))
    return model.encoder, tokenizer, model.head, task


def _load_head(run: RunFolder, encoder: Encoder) -> nn.Module | None:
    """The head of a pretraining's last checkpoint; None where no checkpoint was kept."""
    if (theirs := run.checkpoints / LAST).is_file():
        head = MaskedTokenHead(encoder.config, encoder.embeddings)
        load_weights(theirs, encoder, head)
        return head
    newest = find_latest(run.checkpoints)
    if newest is None:
        return None
    checksums = load_json(newest / "state.json")["checksums"]
    tensors = load_tensors(newest / "model.safetensors", checksums["model.safetensors"])
    own = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
    config: ModelConfig = encoder.config
    found: nn.Module
    if "out.weight" in own:
        found = ReplacedTokenHead(config)
    else:
        kind = BertHead if "follows.weight" in own else MaskedTokenHead
        found = kind(config, encoder.embeddings)
    set_tensors(found, own, newest)
    return found

"""An encoder for another library: transformers' folder, or fairseq's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from selfpretrain.config import ModelConfig, Settings, TaskConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import to_dataclass
from selfpretrain.files import write_text
from selfpretrain.interop.fairseq_roberta import export_roberta, load_weights
from selfpretrain.interop.huggingface import export_huggingface
from selfpretrain.interop.names import get_architecture
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import BertHead, MaskedTokenHead, Pooler, ReplacedTokenHead
from selfpretrain.runs.folder import RunFolder, find_run, open_run
from selfpretrain.sources.fairseq_files import LAST
from selfpretrain.stages.evaluate import load_model
from selfpretrain.stages.lineage import Checkpoint, find_checkpoint
from selfpretrain.stages.model_card import write_card
from selfpretrain.stages.start import find_encoder, load_pooler, load_start
from selfpretrain.train.checkpoint import find_latest, load_encoder, load_json, load_tensors, set_tensors
from selfpretrain.train.checkpoint import load_pooler as load_own_pooler


def export(settings: Settings) -> Path:
    """Write what ``init`` names as ``format`` has it into the new folder ``runtime.export_dir``.

    A pretraining goes with the head that it learnt with, as far as its last checkpoint is there, a fine-tuning with that
    of its task, another library's checkpoint and a snapshot as the encoder alone, with the pooler of a BERT. For
    transformers a pretraining and a snapshot have a model card.

    Raises UserError for no start, a folder that is not empty, and what the other library has not.
    """
    start, runs_dir = settings.start, settings.runtime.runs_dir
    if start.is_fresh:
        raise UserError("init=none: there is nothing to export; init=run:<id> of a pretraining or a fine-tuning")
    folder = Path(settings.runtime.export_dir)
    task: TaskConfig | None = None
    head: nn.Module | None = None
    is_finetuned = start.run_id is not None and open_run(runs_dir, "finetune", start.run_id).status != "missing"
    if start.run_id is not None and not is_finetuned and settings.format == "huggingface":
        find_encoder(start, runs_dir)  # refuses what is not there
        export_checkpoint(folder, find_checkpoint(find_run(runs_dir, "pretrain", start.run_id), start.step))
        return folder
    if start.run_id is not None and is_finetuned:
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


def export_checkpoint(
    folder: Path, checkpoint: Checkpoint, before: str = "", complete: Callable[[Path], None] = lambda new: None
) -> None:
    """Write a pretraining's encoder into a new folder as transformers has it, at the end with its head, with a model card.

    ``before`` is said of what it was trained on from; ``complete`` adds files to the folder before that has its name.
    """
    encoder, tokenizer = load_encoder(checkpoint.folder)
    head = _load_head(checkpoint.run, encoder) if checkpoint.is_last else None
    head = head or load_own_pooler(checkpoint.folder)

    def write(new: Path) -> None:
        num_parameters = sum(parameter.numel() for parameter in encoder.parameters())
        architecture, has_pooler = get_architecture(encoder.config, head), isinstance(head, (Pooler, BertHead))
        card = write_card(checkpoint, folder.name, num_parameters, architecture, has_pooler, before)
        write_text(new / "README.md", card)
        complete(new)

    export_huggingface(folder, encoder, tokenizer, head, complete=write)


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

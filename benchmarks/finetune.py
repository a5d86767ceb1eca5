"""Fine-tuning a classifier, examples per second: our Trainer against transformers' run_glue recipe.

    python -m benchmarks finetune [padding=dynamic|full|grouped] [device=cuda] [compile=true] ...

Each peer's batch is 32 shuffled examples, padded to its longest (run_glue with pad_to_max_length=False) or to 128
(its default), in the plain loop of run_glue_no_trainer; ``grouped`` is a tuned loop: texts of similar length, memory
kept. Ours are the project's batches, texts packed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness import Row, interleave, open_contestants
from benchmarks.pretrain import find_obstacle
from benchmarks.work import Options as TrainingOptions
from benchmarks.work import Work, prepare_work
from selfpretrain.config import UserError

PADDINGS = {
    "dynamic": "run_glue, dynamic padding",
    "full": "run_glue, pad to {seq_len}",
    "grouped": "run_glue, tuned: grouped by length",
}
MODEL, BATCH_SIZE, TOY_BATCH = "electra_small", 32, 8
NOTE = "The peer is transformers in the loop of run_glue_no_trainer; the same texts, head, batch size and optimizer."


@dataclass
class Options(TrainingOptions):
    padding: str | None = None  # dynamic | full | grouped; none: each


def run(options: Options) -> Iterator[Row]:
    """One row per kind of padding."""
    if options.padding not in (None, *PADDINGS):
        raise UserError(f"padding={options.padding} is not known; allowed: {', '.join(PADDINGS)}")
    work = use_same_head(prepare_work("finetune", MODEL, TOY_BATCH if options.toy else BATCH_SIZE, options))
    config = work.settings.finetune
    parts = [f"ELECTRA-small fine-tuning on {work.text}", f"batch {config.batch_size}"]
    parts += work.marks
    for padding, peer in PADDINGS.items():
        if options.padding in (None, padding):
            yield compare(", ".join(parts), padding, peer.format(seq_len=config.seq_len), work, options)


def use_same_head(work: Work) -> Work:
    """transformers' classifier has a hidden layer, and one learning rate for all layers."""
    config = dataclasses.replace(work.settings.finetune, head="gelu", layerwise_lr_decay=1.0)
    return dataclasses.replace(work, settings=dataclasses.replace(work.settings, finetune=config))


def compare(title: str, padding: str, peer: str, work: Work, options: Options) -> Row:
    reason = find_obstacle("loop")
    if reason:
        return Row(title, peer, skipped=reason)
    from benchmarks import engine, transformers_peer

    build = transformers_peer.build_full_padding if padding == "full" else transformers_peer.build_dynamic_padding
    theirs = dataclasses.replace(work, peer_is_tuned=padding == "grouped")
    with open_contestants({"ours": (engine.build_finetuning, work), "theirs": (build, theirs)}, options) as sides:
        values = interleave(sides, options.repeats)
        peaks = sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb()
        note = f"{NOTE} {sides['ours'].get_note()} {sides['theirs'].get_note()}".strip()
        return Row(title, peer, "examples/s", values["ours"], values["theirs"], *peaks, note=note)

"""``pretrain.engine=fairseq``: RoBERTa and ELECTRA trained by ``fairseq-train`` of fairseq 0.12.2, from our token files.

fairseq runs in an environment of its own (``launch/fairseq_env.sh``) as another process. It begins at the weights that the
native engine would begin at, reads the documents that lie before the held-out text, masks and draws batches by its own
rules, and saves its own checkpoints:

    runs/pretrain/<id>/checkpoints/    checkpoint_last.pt and the newest before it
    runs/pretrain/<id>/fairseq/        data (links to the token files, an index of their own), start.pt, train.log

The native engine does the same arithmetic with ``pretrain.schedule=polynomial pretrain.eps_uncorrected=true``; here linear is
carried out as polynomial, a step later, and eps always stands where fairseq has it. Losses come out in nats, the held-out
measures are the native engine's on the same text, and the run folder is like any other; the sizes in it count the last batch
of an epoch, which is smaller, as whole. A run that was stopped goes on from checkpoint_last.pt, exactly, since fairseq draws
everything from seed and update; in bf16 not quite, as its checkpoints hold the weights in bf16 alone.

[fairseq 0.12.2, fairseq_cli/train.py, trainer.py, tasks/masked_lm.py]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.config import PretrainConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import to_yaml
from selfpretrain.files import make_folder, write_text
from selfpretrain.interop.fairseq_arguments import SETTINGS, START, check_settings, get_family, list_arguments
from selfpretrain.interop.fairseq_process import LOG, SHIM, VERSION, find_python, hold_folder, run_command
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.sources.fairseq_files import DICTIONARY, LAST
from selfpretrain.sources.indexed import write_index
from selfpretrain.train.engine import Engine


def train_fairseq(trainings: Sequence[Any]) -> None:
    """Train one run, and store it.

    Raises UserError for what fairseq cannot do and where it is not installed, Diverged, and (on a signal, after saving)
    Interrupted.
    """
    (job,) = trainings
    settings, run = job.settings, job.run
    python = find_python(settings.runtime.fairseq_env)
    check_settings(settings, job.precision, job.device.type)
    family, total_steps = get_family(settings), settings.pretrain.total_steps
    check_size(job.tokens, settings.pretrain)
    member = job.build(1)
    blocks = member.batches.batches.blocks
    try:
        with hold_folder(run) as (folder, lock):
            write_data(make_folder(folder / "data"), job.tokens, blocks.train_tokens)
            write_text(folder / SETTINGS, to_yaml(settings))
            family.save(folder / START, job.module)
            job.module.to(job.device)
            command: list[str | Path] = [python, SHIM, "train", *list_arguments(settings, run, job.device.type)]
            for row in run_command(command, folder / LOG, run, settings.runtime, total_steps, (lock,)):
                member.keeper.log(int(row.pop("step")), row)
        family.load(run.checkpoints / LAST, job.module)
        member.keeper.evaluate(total_steps)
        job.finish(member)
        member.keeper.tracker.finish(0)
    finally:
        member.keeper.tracker.finish(1)  # of a run that did not come to its end


def check_size(tokens: Any, config: PretrainConfig) -> None:
    """fairseq fills no batch up from the next epoch: the last one of each is smaller, and so would all be of a small text."""
    sequences = BLOCK_BUILDERS[config.packing].count_epoch(tokens.sizes, config.seq_len).sequences
    if sequences < config.batch_size:
        raise UserError(
            f"pretrain.engine=fairseq: the text makes {sequences:.0f} sequences, fewer than pretrain.batch_size="
            f"{config.batch_size}; set it to less"
        )


def write_data(folder: Path, tokens: Any, train_tokens: int) -> None:
    """Our token files as fairseq's train split: the documents that end before the held-out text begins."""
    sizes = np.asarray(tokens.sizes)
    count = int(np.searchsorted(np.cumsum(sizes, dtype=np.int64), train_tokens, side="right"))
    if not count:
        raise UserError(
            f"{tokens.folder}: the first document reaches into the held-out text; pretrain.engine=fairseq needs more text"
        )
    write_index(folder / "train.idx", sizes[:count], tokens.tokens.dtype)
    has_dictionary = (tokens.folder / DICTIONARY).is_file()
    if not has_dictionary and Tokenizer.load(tokens.folder / "tokenizer").kind == "bpe":
        raise UserError(
            f"{tokens.folder} has no {DICTIONARY}: fairseq cannot give this vocabulary its ids; learn one, tokenizer.source=own"
        )
    vocabulary = DICTIONARY if has_dictionary else "tokenizer"
    links = {name: tokens.folder / name for name in ("train.bin", vocabulary)}
    links |= {f"valid.{kind}": folder / f"train.{kind}" for kind in ("bin", "idx")}  # opened, but never read
    for name, target in links.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve())


def describe(job: Any) -> dict[str, Any]:
    """What a start's provenance adds."""
    arguments = list_arguments(job.settings, job.run, job.device.type)
    return {"engine": {"name": "fairseq", "version": VERSION, "arguments": arguments}}


PRETRAINING = Engine(train_fairseq, describe=describe)

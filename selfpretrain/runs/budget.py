"""Budgets: the length of a pretraining asked for in tokens, epochs, FLOPs or seconds, turned into steps.

Tokens, epochs and FLOPs become ``total_steps`` before a run is named, so that a run asked for by tokens and the same
run asked for by steps are one run. Seconds are measured where the run begins: its name holds the seconds, and its
folder the steps they became (``budget.json``, written before the first step and never again).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import PretrainConfig, Settings, UserError
from selfpretrain.contradictions import find_few_checks
from selfpretrain.data.store import TokenFile
from selfpretrain.files import read_json, write_json
from selfpretrain.pretext.objectives import count_step_flops
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.runs.folder import RunFolder, get_corpus_folder, is_corpus_built

OF_THE_CORPUS = ("epochs", "flops")  # known once the corpus is built: its documents, or the size of its vocabulary
FILE = "budget.json"


def compute_total_steps(settings: Settings, epoch_sequences: float, vocab_size: int) -> int:
    """The optimizer steps nearest to the budget, at least one.

    Args:
        epoch_sequences: in a pass over the corpus (``count_epoch``). vocab_size: of the corpus's tokenizer.

    A step costs batch_size * seq_len tokens, batch_size of an epoch's sequences, or ``count_step_flops``; tokens and
    FLOPs count padding, since it is computed like the rest. Not for budget=seconds.
    """
    config = settings.pretrain
    if config.budget == "steps":
        return config.total_steps
    assert config.budget != "seconds" and config.budget_amount is not None, config.budget
    per_step: float = config.batch_size * config.seq_len
    if config.budget == "epochs":
        per_step = config.batch_size / epoch_sequences
    elif config.budget == "flops":
        per_step = count_step_flops(settings.model, settings.objective, vocab_size, config.batch_size, config.seq_len)
    return max(1, round(config.budget_amount / per_step))


def fix_steps(settings: Settings, total_steps: int) -> Settings:
    """The same settings with the budget spelled out in steps; UserError where a fixed warm-up or the checks of weight
    sharing do not fit in them.
    """
    config = settings.pretrain
    warmup = config.warmup_steps
    if warmup is not None and warmup >= total_steps:
        share = f"{min(0.5, warmup / config.total_steps):.2g}"
        raise UserError(
            f"pretrain.warmup_steps={warmup} does not fit into the {total_steps} steps of budget={config.budget} "
            f"pretrain.budget_amount={config.budget_amount:g}; raise the amount, or set pretrain.warmup_steps=null "
            f"pretrain.warmup_fraction={share}"
        )
    return _change(settings, budget="steps", budget_amount=None, total_steps=total_steps)


def _change(settings: Settings, **changes: Any) -> Settings:
    """With another length; UserError where it is in steps, and these are too few for the checks of weight sharing."""
    config = dataclasses.replace(settings.pretrain, **changes)
    if config.budget == "steps" and (fault := find_few_checks(config)):
        raise UserError(fault)
    return dataclasses.replace(settings, pretrain=config)


def take_share(settings: Settings) -> Settings:
    """The settings with ``pretrain.length_share`` of the length spelled out: of steps at least one, and of a fixed warm-up."""
    config = settings.pretrain
    share = config.length_share
    changes: dict[str, Any] = {"length_share": 1.0}
    if config.budget == "steps":
        changes["total_steps"] = max(1, round(share * config.total_steps))
    else:
        assert config.budget_amount is not None
        changes["budget_amount"] = share * config.budget_amount
    if config.warmup_steps is not None:
        changes["warmup_steps"] = round(share * config.warmup_steps)
    return _change(settings, **changes)


def halve(settings: Settings, is_second: bool) -> Settings:
    """One of two pretrainings that share the budget of one, a fixed warm-up, too; the second has an odd step.

    UserError where there is one step only.
    """
    config = settings.pretrain
    if config.budget != "steps":
        assert config.budget_amount is not None
        changes: dict[str, Any] = {"budget_amount": config.budget_amount / 2}
    elif config.total_steps < 2:
        raise UserError(f"pretrain.total_steps={config.total_steps} cannot be shared by two stages; set 2 or more")
    else:
        changes = {"total_steps": (config.total_steps + is_second) // 2}
    if config.warmup_steps is not None:
        changes["warmup_steps"] = config.warmup_steps // 2
    return _change(settings, **changes)


def resolve(settings: Settings, sizes: npt.NDArray[np.integer], vocab_size: int) -> Settings:
    """The settings with tokens, epochs or FLOPs turned into steps; steps and seconds stay as they are.

    ``sizes`` [num_docs] are the tokens of the corpus's documents, each with its separator.
    """
    if not is_unresolved(settings.pretrain):
        return settings
    packing, seq_len = BLOCK_BUILDERS[settings.pretrain.packing], settings.pretrain.seq_len
    sequences = packing.count_epoch(sizes, seq_len).sequences
    return fix_steps(settings, compute_total_steps(settings, sequences, vocab_size))


def resolve_planned(settings: Settings, corpus_id: str) -> Settings:
    """:func:`resolve` for a corpus that may not be built yet: what needs it then stays as it is (see is_unresolved)."""
    if not is_unresolved(settings.pretrain):
        return settings
    if is_corpus_built(corpus_id, settings.runtime):
        corpus = TokenFile.open(get_corpus_folder(corpus_id, settings.runtime), verify=False)
        return resolve(settings, corpus.sizes, corpus.manifest["tokenizer"]["vocab_size"])
    return settings if settings.pretrain.budget in OF_THE_CORPUS else resolve(settings, np.zeros(0, np.int32), 0)


def is_unresolved(config: PretrainConfig) -> bool:
    """Whether the steps, and so the run's name, are still to be worked out."""
    return config.budget not in ("steps", "seconds")


def describe(config: PretrainConfig) -> str:
    """ "tokens, 1,280,000 of each pretraining"; empty for budget=steps."""
    if config.budget == "steps":
        return ""
    assert config.budget_amount is not None
    amount = f"{config.budget_amount:.4g}" if config.budget == "flops" else f"{config.budget_amount:,.10g}"
    return f"{config.budget}, {amount} for each pretraining"


def write_steps(run: RunFolder, total_steps: int, seconds_per_step: float) -> None:
    write_json(run.path / FILE, {"total_steps": total_steps, "seconds_per_step": seconds_per_step})


def read_steps(run: RunFolder) -> int | None:
    """The steps a run's seconds became; None before it has begun, UserError for a damaged file."""
    file = run.path / FILE
    if not file.exists():
        return None
    try:
        return int(read_json(file)["total_steps"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is damaged; delete {run.path} and run the command again") from None

"""Budgets: the length of a pretraining asked for in tokens, epochs, FLOPs or seconds, turned into steps.

Tokens, epochs and FLOPs become ``total_steps`` before a run is named, so that a run asked for by tokens and the same
run asked for by steps are one run. Seconds are measured where the run begins: its name holds the seconds, and its
folder the steps they became (``budget.json``, written before the first step and never again).
"""

from __future__ import annotations

import dataclasses

from selfpretrain.config import PretrainConfig, Settings, UserError
from selfpretrain.data.corpus import get_corpus_folder, is_corpus_built
from selfpretrain.data.store import read_manifest
from selfpretrain.files import read_json, write_json
from selfpretrain.model.flops import count_step_flops
from selfpretrain.study.runs import RunFolder

OF_THE_CORPUS = ("epochs", "flops")  # known once the corpus is built: its tokens, or the size of its vocabulary
FILE = "budget.json"


def compute_total_steps(settings: Settings, corpus_tokens: int, vocab_size: int) -> int:
    """The optimizer steps nearest to the budget, at least one.

    Args:
        corpus_tokens: in the token file, separators included; an epoch. vocab_size: of the corpus's tokenizer.

    A step costs batch_size * seq_len tokens, that share of an epoch, or ``count_step_flops``. Not for budget=seconds.
    """
    config = settings.pretrain
    if config.budget == "steps":
        return config.total_steps
    assert config.budget_amount is not None, config.budget
    tokens = config.batch_size * config.seq_len
    if config.budget == "tokens":
        per_step: float = tokens
    elif config.budget == "epochs":
        per_step = tokens / corpus_tokens
    else:
        assert config.budget == "flops", config.budget
        per_step = count_step_flops(settings.model, settings.objective, vocab_size, config.batch_size, config.seq_len)
    return max(1, round(config.budget_amount / per_step))


def fix_steps(settings: Settings, total_steps: int) -> Settings:
    """The same settings with the budget spelled out in steps; UserError where a fixed warm-up does not fit in them."""
    config = settings.pretrain
    warmup = config.warmup_steps
    if warmup is not None and warmup >= total_steps:
        share = f"{min(0.5, warmup / config.total_steps):.2g}"
        raise UserError(
            f"pretrain.warmup_steps={warmup} does not fit into the {total_steps} steps of budget={config.budget} "
            f"pretrain.budget_amount={config.budget_amount:g}; raise the amount, or set pretrain.warmup_steps=null "
            f"pretrain.warmup_fraction={share}"
        )
    steps = dataclasses.replace(config, budget="steps", budget_amount=None, total_steps=total_steps)
    return dataclasses.replace(settings, pretrain=steps)


def resolve(settings: Settings, corpus_tokens: int, vocab_size: int) -> Settings:
    """The settings with tokens, epochs or FLOPs turned into steps; steps and seconds stay as they are."""
    if settings.pretrain.budget in ("steps", "seconds"):
        return settings
    return fix_steps(settings, compute_total_steps(settings, corpus_tokens, vocab_size))


def resolve_planned(settings: Settings, corpus_id: str) -> Settings:
    """:func:`resolve` for a corpus that may not be built yet: what needs it then stays as it is (see is_unresolved)."""
    if not is_unresolved(settings.pretrain):
        return settings
    if is_corpus_built(corpus_id, settings.runtime):
        manifest = read_manifest(get_corpus_folder(corpus_id, settings.runtime))
        return resolve(settings, manifest["tokens"], manifest["tokenizer"]["vocab_size"])
    return settings if settings.pretrain.budget in OF_THE_CORPUS else resolve(settings, 0, 0)


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
    """Write down what a run's seconds became, once and for all."""
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

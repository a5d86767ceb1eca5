"""What each part of the engine buys: the engine against itself with that part undone.

    python -m benchmarks parts [part=<name>] [model=electra_small|roberta_base] [batch_size=16] [threads=1] ...

Each side is ``Trainer.train()`` in a process of its own; on one side the part is replaced by the usual way, by patching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Rate, Row, interleave, open_contestants
from benchmarks.work import MODELS, Work, prepare_work
from benchmarks.work import Options as TrainingOptions
from selfpretrain.config import UserError

BATCH_SIZES = {"electra_small": 16, "roberta_base": 4}
FINETUNING_BATCH = 32
TOY_BATCH = 8


@dataclass
class Options(TrainingOptions):
    part: str | None = None  # none: each that the model has
    model: str = "electra_small"
    batch_size: int | None = (
        None  # sequences per step; none: 16 for ELECTRA-small (32 in fine-tuning), 4 for RoBERTa-base
    )


def undo_products() -> None:
    """torch's own matrix products, MKL's on most machines."""
    from selfpretrain.model import linear

    linear.HAS_ONEDNN = False


def undo_memory() -> None:
    """Freed arrays go back to the kernel, as the C library has it."""
    from selfpretrain import devices

    devices.keep_freed_memory = lambda: False  # type: ignore[assignment]


def undo_positions() -> None:
    """The last layer at every position, the chosen ones picked afterwards."""
    from selfpretrain.model import encoder

    forward = encoder.Encoder.forward

    def run_whole(self: Any, ids: Any, types: Any = None, mask: Any = None, positions_BM: Any = None, *_: Any) -> Any:
        hidden = forward(self, ids, types, mask)
        return hidden if positions_BM is None else encoder.gather_positions(hidden, positions_BM)

    encoder.Encoder.forward = run_whole  # type: ignore[method-assign]


def undo_cross_entropy() -> None:
    """torch's cross-entropy, and a softmax of its own for the samples."""
    import torch
    import torch.nn.functional as F

    from selfpretrain.model import pretraining

    pretraining.compute_cross_entropy = lambda logits, targets, weights: (  # type: ignore[assignment]
        (F.cross_entropy(logits.float(), targets, reduction="none") * weights).mean(),
        torch.softmax(logits.detach().float(), dim=-1),
    )


def undo_sampling() -> None:
    """A sample is the largest logit plus Gumbel noise, a random number for every word of the vocabulary."""
    import torch

    from selfpretrain.model import pretraining

    def draw(probs_NV: Any, uniforms_N: Any, temperature: float) -> Any:
        noise_NV = torch.empty_like(probs_NV).exponential_().log_()  # minus this is Gumbel noise
        return (probs_NV.log() / temperature - noise_NV).argmax(-1)

    pretraining.sample_tokens = draw


def undo_attention() -> None:
    """The attention weights of all heads at once, whatever the length."""
    from selfpretrain.model import attention

    attention.HEAD_BY_HEAD_FROM = 1 << 62


def undo_dropout() -> None:
    """torch's dropout, with its Bernoulli sampler."""
    import torch
    import torch.nn.functional as F

    from selfpretrain.model import attention, dropout

    attention.draw_keep_mask = lambda shape, prob, _: torch.empty(shape, dtype=torch.bool).bernoulli_(1 - prob)  # type: ignore[assignment,misc]
    dropout.Dropout.forward = lambda self, x: F.dropout(x, self.prob, self.training)  # type: ignore[method-assign]


def undo_optimizer() -> None:
    """torch's AdamW with one kernel per operation."""
    import torch

    fused = torch.optim.AdamW
    torch.optim.AdamW = lambda *args, **kwargs: fused(*args, **{**kwargs, "fused": False})  # type: ignore[assignment,misc]


def undo_packing() -> None:
    """Fine-tuning in micro-batches of a few texts of similar length, padded."""
    from selfpretrain.stages import finetune
    from selfpretrain.stages.work import PADDED_MICRO_BATCH

    finetune.choose_layout = lambda config, *_: (False, config.micro_batch_size or PADDED_MICRO_BATCH)  # type: ignore[assignment]


PARTS: dict[str, tuple[Callable[[], None], str]] = {
    "products": (undo_products, "products by oneDNN"),
    "memory": (undo_memory, "memory kept between steps"),
    "positions": (undo_positions, "last layer at chosen positions"),
    "cross_entropy": (undo_cross_entropy, "cross-entropy in place"),
    "sampling": (undo_sampling, "samples by one uniform number"),
    "attention": (undo_attention, "attention head by head"),
    "dropout": (undo_dropout, "dropout masks from random words"),
    "optimizer": (undo_optimizer, "fused AdamW"),
    "packing": (undo_packing, "texts packed"),
}
ONLY_FOR = {"sampling": "electra_small", "attention": "roberta_base", "packing": "electra_small"}
FINETUNING_PARTS = ("packing",)  # measured there; pretraining has the others


def build_without(part: str, work: Work) -> Rate:
    """The engine with one part undone."""
    from benchmarks import engine

    PARTS[part][0]()
    return engine.BUILDERS[get_stage(part)](work)


def get_stage(part: str) -> str:
    return "finetune" if part in FINETUNING_PARTS else "pretrain"


def prepare(part: str, options: Options) -> tuple[Work, str]:
    """What to train, and its name."""
    stage = get_stage(part)
    usual = FINETUNING_BATCH if stage == "finetune" else BATCH_SIZES[options.model]
    work = prepare_work(stage, options.model, TOY_BATCH if options.toy else options.batch_size or usual, options)
    config = work.settings.finetune if stage == "finetune" else work.settings.pretrain
    names = [f"{options.model} fine-tuning on {work.text}"] if stage == "finetune" else [options.model]
    return work, ", ".join([*names, f"{config.seq_len} tokens", f"batch {config.batch_size}", *work.marks])


def run(options: Options) -> Iterator[Row]:
    """A row per part."""
    from benchmarks import engine

    if options.part not in (None, *PARTS):
        raise UserError(f"part={options.part} is not known; allowed: {', '.join(PARTS)}")
    if not options.processes:
        raise UserError("processes=false cannot be: a part undone in this process would be undone for both sides")
    if options.model not in MODELS:
        raise UserError(f"model={options.model} is not benchmarked; allowed: {', '.join(MODELS)}")
    for part, (_, name) in PARTS.items():
        if options.part not in (None, part) or ONLY_FOR.get(part, options.model) != options.model:
            continue
        work, title = prepare(part, options)
        stage = get_stage(part)
        sides_of = {"ours": (engine.BUILDERS[stage], work), "theirs": (build_without, part, work)}
        with open_contestants(sides_of, options) as sides:
            values = interleave(sides, options.repeats)
            peaks = sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb()
            unit = "examples/s" if stage == "finetune" else "tokens/s"
            yield Row(title, f"without: {name}", unit, values["ours"], values["theirs"], *peaks)

"""Pretraining, tokens per second: our Trainer against transformers' models in a loop, its Trainer, and fairseq.

python -m benchmarks pretrain [model=electra_small|roberta_base] [peer=loop|tuned|kept|trainer|fairseq] [device=cuda] ...
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import fairseq_peer
from benchmarks.harness import Row, interleave, open_contestants
from benchmarks.work import MODELS, Work, prepare_work
from benchmarks.work import Options as TrainingOptions
from selfpretrain.config import UserError

PEERS = {
    "loop": "transformers, plain loop",
    "tuned": "transformers, tuned loop",
    "kept": "transformers, plain loop, memory kept",
    "trainer": "transformers Trainer",
    "fairseq": "fairseq-train 0.12.2",
}
TOY_BATCH = 8
LABELS = {"electra_small": "ELECTRA-small", "roberta_base": "RoBERTa-base"}


@dataclass
class Options(TrainingOptions):
    model: str | None = None  # electra_small | roberta_base; none: both
    peer: str | None = None  # loop | tuned | kept | trainer | fairseq; none: each
    batch_size: int | None = None  # sequences per step; none: as listed in COMPARISONS
    fairseq_env: str = ".fairseq"  # the virtual environment that launch/fairseq_env.sh makes


@dataclass(frozen=True)
class Comparison:
    model: str
    peer: str
    batch_size: int
    device: str


COMPARISONS = [
    Comparison("electra_small", "loop", 16, "cpu"),
    Comparison("electra_small", "tuned", 16, "cpu"),
    Comparison("electra_small", "tuned", 128, "cuda"),
    Comparison("electra_small", "loop", 32, "cpu"),
    Comparison("electra_small", "kept", 16, "cpu"),
    Comparison("electra_small", "loop", 128, "cuda"),
    Comparison("electra_small", "trainer", 32, "cpu"),
    Comparison("electra_small", "trainer", 128, "cuda"),
    Comparison("roberta_base", "loop", 4, "cpu"),
    Comparison("roberta_base", "tuned", 4, "cpu"),
    Comparison("roberta_base", "tuned", 64, "cuda"),
    Comparison("roberta_base", "kept", 4, "cpu"),
    Comparison("roberta_base", "loop", 64, "cuda"),
    Comparison("roberta_base", "fairseq", 4, "cpu"),
]


def run(options: Options) -> Iterator[Row]:
    """One row per comparison; those whose peer is not installed are named and left out."""
    for comparison in choose_comparisons(options):
        batch_size = TOY_BATCH if options.toy else options.batch_size or comparison.batch_size
        work = prepare_work("pretrain", comparison.model, batch_size, options)
        title = name_work(comparison, work)
        reason = find_obstacle(comparison.peer, options.fairseq_env)
        yield (
            Row(title, PEERS[comparison.peer], skipped=reason) if reason else compare(title, comparison, work, options)
        )


def choose_comparisons(options: Options) -> list[Comparison]:
    """What fits the options; UserError for names that are not known."""
    if options.model not in (None, *MODELS):
        raise UserError(f"model={options.model} is not benchmarked; allowed: {', '.join(MODELS)}")
    if options.peer not in (None, *PEERS):
        raise UserError(f"peer={options.peer} is not known; allowed: {', '.join(PEERS)}")
    chosen = [
        comparison for comparison in COMPARISONS
        if comparison.device == options.device
        and options.model in (None, comparison.model) and options.peer in (None, comparison.peer)
    ]  # fmt: skip
    if not chosen:
        raise UserError(f"model={options.model} peer={options.peer} is not compared on device={options.device}")
    if options.toy or options.batch_size:  # of those that differ in the batch alone, one
        chosen = list({(one.model, one.peer): one for one in chosen}.values())
    return chosen


def name_work(comparison: Comparison, work: Work) -> str:
    config = work.settings.pretrain
    parts = [f"{LABELS[comparison.model]} pretraining", f"{config.seq_len} tokens", f"batch {config.batch_size}"]
    if comparison.peer == "trainer":
        parts[0] += f" on {work.text}"
    return ", ".join([*parts, *work.marks])


def find_obstacle(peer: str, fairseq_env: str = "") -> str:
    """Why a peer cannot run here, with the command that changes it; empty if it can."""
    if peer == "fairseq":
        return fairseq_peer.find_obstacle(fairseq_env)
    for package in ("transformers", *(("accelerate",) if peer == "trainer" else ())):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install 'selfpretrain[bench]'"
    return ""


def compare(title: str, comparison: Comparison, work: Work, options: Options) -> Row:
    """Ours, the peer and the machine's matrix products, in turn."""
    from benchmarks import engine, matmul, transformers_peer, transformers_trainer
    from selfpretrain.pretext.objectives import count_step_flops

    peers: dict[str, tuple[Any, ...]] = {
        "loop": (transformers_peer.build_pretraining, work),
        "tuned": (transformers_peer.build_pretraining, dataclasses.replace(work, peer_is_tuned=True)),
        "kept": (transformers_peer.build_pretraining, dataclasses.replace(work, peer_keeps_memory=True)),
        "trainer": (transformers_trainer.build_pretraining, work),
        "fairseq": (fairseq_peer.build_pretraining, work, options.fairseq_env),
    }
    settings, config = work.settings, work.settings.pretrain
    builds = {
        "ours": (engine.build_pretraining, work),
        "theirs": peers[comparison.peer],
        "products": (matmul.build_matmul, options, min(1.0, options.seconds), config.precision),
    }
    flops = count_step_flops(settings.model, settings.objective, work.vocab_size, config.batch_size, config.seq_len)
    flops_per_token = flops / (config.batch_size * config.seq_len)
    with open_contestants(builds, options) as sides:
        values = interleave(sides, options.repeats)
        return Row(
            title, PEERS[comparison.peer], "tokens/s", values["ours"], values["theirs"],
            sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb(),
            mfu=[rate * flops_per_token / most for rate, most in zip(values["ours"], values["products"], strict=True)],
            note=f"{NOTES[comparison.peer]} {sides['ours'].get_note()} {sides['theirs'].get_note()}".strip(),
        )  # fmt: skip


NOTES = {
    "loop": "The peer's batches are ours and lie ready in memory; ours are made while the step before computes.",
    "tuned": "As the plain loop, with logits at masked positions alone, and memory kept.",
    "kept": "As the plain loop, with the engine's setting of the C library's allocator, which the loop alone lacks.",
    "trainer": "Tokens that are not padding. The peer pads each text to the length, ours packs them; same rows per step.",
    "fairseq": "The peer reads our token files; its start is not timed, and it masks by its own rule of the same rate.",
}

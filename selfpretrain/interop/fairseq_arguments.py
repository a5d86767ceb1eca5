"""What fairseq-train is told for a pretraining, by the family of the model; what it would do otherwise is refused.

RoBERTa is fairseq's own (``masked_lm``), ELECTRA is that of the plug-in (:mod:`selfpretrain.interop.fairseq_plugin`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from selfpretrain.config import ModelConfig, OptimConfig, Settings, UserError
from selfpretrain.devices import resolve_precision
from selfpretrain.interop.fairseq_roberta import LAYER_NORM_EPS, build_content, load_weights, save_weights
from selfpretrain.interop.pickled import load_fairseq, save_pickled
from selfpretrain.runs import identity
from selfpretrain.runs.folder import RunFolder
from selfpretrain.seeds import derive_seed
from selfpretrain.train.checkpoint import set_tensors
from selfpretrain.train.optim import compute_warmup_steps

PLUGIN, PLUGGED = Path(__file__).with_name("fairseq_plugin"), "replaced_tokens"
SETTINGS, START = "settings.yaml", "start.pt"  # beside the data
SCHEDULES = {"polynomial": "polynomial_decay", "linear": "polynomial_decay", "constant": "fixed"}


@dataclass(frozen=True)
class Family:
    """``wants(settings)`` are the settings that must hold, ``tell(settings, folder)`` the model's arguments."""

    wants: Callable[[Settings], dict[str, bool]]
    tell: Callable[[Settings, Path], dict[str, Any]]
    save: Callable[[Path, Any], None]  # the weights of a pretraining module, to start from
    load: Callable[[Path, Any], None]  # those of a checkpoint, into it


def check_settings(settings: Settings, precision: str, device: str) -> None:
    """Refuse, with what to set, whatever fairseq would do otherwise than the settings say."""
    p, world = settings.pretrain, int(os.environ.get("WORLD_SIZE", "1"))
    wanted = {
        **get_family(settings).wants(settings),
        "pretrain.packing=full": p.packing == "full",
        **want_optimizer("pretrain", p),
        "budget=steps": p.budget != "seconds",
        "pretrain.eval_every=0": p.eval_every == 0,
        "pretrain.snapshots=[]": not p.snapshots,
        "pretrain.weight_sharing=none": p.weight_sharing == "none",
        "pretrain.checkpoint_schedule=null": p.checkpoint_schedule is None,
        "runtime.keep_steps=[]": not settings.runtime.keep_steps,
        "pretrain.precision=fp32": precision == "fp32" or device == "cuda",
        "one process": world == 1,
    }
    refuse_lacking("pretrain", wanted)


def refuse_lacking(section: str, wanted: Mapping[str, bool]) -> None:
    lacking = [fix for fix, holds in wanted.items() if not holds]
    if lacking:
        raise UserError(f"{section}.engine=fairseq needs {', '.join(lacking)}")


def want_optimizer(section: str, config: OptimConfig) -> dict[str, bool]:
    return {
        f"{section}.optimizer=adamw": config.optimizer == "adamw",
        f"{section}.decay_all=true": config.decay_all or config.weight_decay == 0,
        f"{section}.bias_correction=true": config.bias_correction,
        f"{section}.schedule=linear": config.schedule in SCHEDULES,
    }


def list_arguments(settings: Settings, run: RunFolder, device: str) -> list[str]:
    """What fairseq-train is called with."""
    o, p, runtime, folder = settings.objective, settings.pretrain, settings.runtime, run.path.absolute() / "fairseq"
    seeds = identity.get_pretrain_seeds(settings.seeds)
    given: dict[str, Any] = {
        **get_family(settings).tell(settings, folder), "mask-prob": o.mask_prob,
        "leave-unmasked-prob": round(1 - o.mask_token_prob - o.random_token_prob, 10),
        "random-token-prob": o.random_token_prob, "tokens-per-sample": p.seq_len, "sample-break-mode": "none",
        "dataset-impl": "mmap", **describe_optimizer(p, p.total_steps), "log-interval": runtime.log_every,
        "save-interval-updates": runtime.save_every, "keep-interval-updates": runtime.keep_checkpoints,
        "save-interval": 10**9,  # never by epochs, of which a small text has thousands
        "save-dir": run.checkpoints.absolute(), "finetune-from-model": folder / START,
        "seed": derive_seed(seeds["mask"], "mask", seeds["data"]) % 2**31,
    }  # fmt: skip
    flags = ["no-epoch-checkpoints", "disable-validation", *describe_device(resolve_precision(p, settings), device)]
    return write_arguments(folder / "data", given, flags)


def write_arguments(data: Path, given: Mapping[str, Any], flags: Sequence[str]) -> list[str]:
    words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    return [str(data), *words, "--log-format", "json", "--num-workers", "0", *(f"--{flag}" for flag in flags)]


def describe_device(config: OptimConfig, device: str) -> list[str]:
    return [*(["cpu"] if device == "cpu" else []), *(["bf16"] if config.precision == "bf16" else [])]


def describe_optimizer(config: OptimConfig, total_steps: int) -> dict[str, Any]:
    """fairseq's AdamW: it decays every parameter, and adds eps before the bias correction."""
    micro, is_constant = config.micro_batch_size or config.batch_size, config.schedule == "constant"
    return {
        "optimizer": "adam", "adam-betas": f"({config.beta1},{config.beta2})", "adam-eps": config.eps,
        "weight-decay": config.weight_decay, "clip-norm": config.clip_norm, "lr": config.peak_lr,
        "lr-scheduler": SCHEDULES[config.schedule], "warmup-updates": compute_warmup_steps(config, total_steps),
        **({} if is_constant else {"total-num-update": total_steps}), "max-update": total_steps,
        "batch-size": micro, "update-freq": config.batch_size // micro, "required-batch-size-multiple": 1,
        "distributed-world-size": 1,
    }  # fmt: skip


# families


def want_roberta(model: ModelConfig, tokenizer_kind: str) -> dict[str, bool]:
    return {
        "model.embedding_size=model.hidden_size": model.embedding_size == model.hidden_size,
        "model.type_vocab_size=1": model.type_vocab_size == 1,
        **want_positions(model),
        f"model.layer_norm_eps={LAYER_NORM_EPS}": model.layer_norm_eps == LAYER_NORM_EPS,
        "tokenizer.kind=bpe": tokenizer_kind == "bpe",
    }


def want_positions(model: ModelConfig) -> dict[str, bool]:
    return {"model.positions=learned": model.positions == "learned"}


def tell_roberta(settings: Settings, folder: Path) -> dict[str, Any]:
    return {"task": "masked_lm", "criterion": "masked_lm", **describe_roberta(settings.model)}


def describe_roberta(model: ModelConfig) -> dict[str, Any]:
    return {
        "arch": "roberta_base", "encoder-layers": model.num_layers, "encoder-embed-dim": model.hidden_size,
        "encoder-ffn-embed-dim": model.intermediate_size, "encoder-attention-heads": model.num_heads,
        "max-positions": model.max_positions, "dropout": model.dropout_prob,
        "attention-dropout": model.attention_dropout_prob,
    }  # fmt: skip


def tell_electra(settings: Settings, folder: Path) -> dict[str, Any]:
    return {
        "user-dir": PLUGIN, "task": "token_files", "criterion": PLUGGED, "arch": PLUGGED, "settings": folder / SETTINGS,
    }  # fmt: skip


def save_electra(file: Path, module: nn.Module) -> None:
    weights = {f"module.{name}": value.detach().cpu() for name, value in module.state_dict().items()}
    save_pickled(file, build_content({"_name": PLUGGED}, {"_name": "token_files"}, weights))


def load_electra(file: Path, module: nn.Module) -> None:
    found = {name.removeprefix("module."): value for name, value in load_fairseq(file)["model"].items()}
    set_tensors(module, {name: found[name] for name, _ in module.named_parameters() if name in found}, file)


FAMILIES = {
    "roberta": Family(
        lambda settings: want_roberta(settings.model, settings.tokenizer.kind), tell_roberta,
        save=lambda file, module: save_weights(file, module.encoder, module.head),
        load=lambda file, module: load_weights(file, module.encoder, module.head),
    ),
    "electra": Family(lambda settings: want_positions(settings.model), tell_electra, save_electra, load_electra),
}  # fmt: skip


def get_family(settings: Settings) -> Family:
    """UserError for a family that fairseq has not."""
    if settings.model.family not in FAMILIES:
        raise UserError(f"pretrain.engine=fairseq needs model.family={' or '.join(FAMILIES)}")
    return FAMILIES[settings.model.family]

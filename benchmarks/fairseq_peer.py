"""The peer: ``fairseq-train --task masked_lm`` of fairseq 0.12.2, in an environment of its own.

It reads our token files and trains a model of the same shape at the same batch. Every measurement starts it anew;
the clock runs from the line it logs after its second update to the line after its last.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import selfpretrain.interop
from benchmarks.harness import Rate
from benchmarks.work import Work

SHIM = Path(selfpretrain.interop.__file__).with_name("fairseq_shim.py")
NUM_SPECIAL = 5  # <s> <pad> </s> <unk> before dict.txt's entries, <mask> after them
WARMUP_UPDATES = 2
MARK = "| train_inner |"


def find_obstacle(environment: str) -> str:
    """Why fairseq cannot run, with the command that changes it; empty if it can."""
    if (Path(environment) / "installed").is_file():
        return ""
    return f"{environment} holds no fairseq 0.12.2; build it: launch/fairseq_env.sh {environment}"


def build_pretraining(work: Work, environment: str) -> FairseqRate:
    """Tokens per second."""
    return FairseqRate(work, environment)


class FairseqRate(Rate):
    """Runs fairseq-train for so many updates; the peak memory is that of the process it starts."""

    def __init__(self, work: Work, environment: str):
        super().__init__(self.run_updates, work.seconds)
        self.work, self.environment = work, environment
        self.words_per_second: list[float] = []  # as fairseq logs it, update by update
        self.folder = tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")
        write_data(Path(self.folder.name), work.corpus, work.vocab_size)

    def run_updates(self, updates: int) -> tuple[float, float]:
        command = build_command(self.work, self.environment, self.folder.name, updates + WARMUP_UPDATES)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        threads = self.work.settings.runtime.num_threads
        environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        lines: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=self.folder.name
        ) as process:
            assert process.stdout is not None
            logged = list(time_updates(keep(process.stdout, lines)))
        if process.returncode or len(logged) != updates + WARMUP_UPDATES:
            raise RuntimeError(f"fairseq-train ended with exit code {process.returncode}:\n{''.join(lines[-20:])}")
        self.words_per_second += [update.words_per_second for update in logged[WARMUP_UPDATES:]]
        return compute_rate(logged)

    def get_note(self) -> str:
        return f"The median of wps in its own log: {statistics.median(self.words_per_second):,.0f}."

    def get_peak_mb(self) -> float:
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return largest / 2**20 if sys.platform == "darwin" else largest / 1024


def keep(stream: Iterable[str], lines: list[str]) -> Iterator[str]:
    for line in stream:
        lines.append(line)
        yield line


@dataclass(frozen=True)
class Update:
    """One line of fairseq's log."""

    seconds: float  # when it arrived
    tokens: float  # wpb
    words_per_second: float  # wps, 0 for the first


def time_updates(lines: Iterable[str]) -> Iterator[Update]:
    for line in lines:
        if MARK in line:
            found = json.loads(line.split(MARK, 1)[1])
            yield Update(time.perf_counter(), float(found["wpb"]), float(found["wps"]))


def compute_rate(logged: list[Update]) -> tuple[float, float]:
    """Tokens and seconds of the updates after the warm-up."""
    tokens = sum(update.tokens for update in logged[WARMUP_UPDATES:])
    return tokens, logged[-1].seconds - logged[WARMUP_UPDATES - 1].seconds


def write_data(folder: Path, corpus: Path, vocab_size: int) -> None:
    """Our token files as a folder of fairseq's, the dictionary filled up to ``vocab_size``."""
    for split in ("train", "valid"):  # opened, though --disable-validation leaves it unread
        for kind in ("bin", "idx"):
            (folder / f"{split}.{kind}").symlink_to((corpus / f"train.{kind}").resolve())
    entries = (corpus / "dict.txt").read_text(encoding="utf-8").splitlines()
    missing = vocab_size - NUM_SPECIAL - len(entries)
    entries += [f"madeupword{number:05d} 0" for number in range(missing)]
    (folder / "dict.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")


def build_command(work: Work, environment: str, folder: str, updates: int) -> list[str]:
    model, config, objective = work.settings.model, work.settings.pretrain, work.settings.objective
    settings = {
        "task": "masked_lm", "arch": "roberta_base", "criterion": "masked_lm", "dataset-impl": "mmap",
        "encoder-layers": model.num_layers, "encoder-embed-dim": model.hidden_size,
        "encoder-ffn-embed-dim": model.intermediate_size, "encoder-attention-heads": model.num_heads,
        "max-positions": model.max_positions, "dropout": model.dropout_prob,
        "attention-dropout": model.attention_dropout_prob, "mask-prob": objective.mask_prob,
        "tokens-per-sample": config.seq_len, "sample-break-mode": "none", "batch-size": config.batch_size,
        "optimizer": "adam", "adam-betas": f"({config.beta1},{config.beta2})", "adam-eps": config.eps,
        "weight-decay": config.weight_decay, "clip-norm": config.clip_norm, "lr": 1e-4, "lr-scheduler": "fixed",
        "max-update": updates, "log-format": "json", "log-interval": 1, "seed": 1,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    python = str(Path(environment).absolute() / "bin" / "python")
    return [python, str(SHIM), "train", folder, *words, "--cpu", "--no-save", "--disable-validation"]

"""The peer: transformers' ``Trainer``, pretraining on texts as users feed it.

Each text is one example, cut and padded to the length beforehand; DataCollatorForLanguageModeling masks. Fused AdamW,
norm 1.0, SDPA attention, no report, no checkpoint, no check of the loss in between.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine import SEED
from benchmarks.harness import Rate
from benchmarks.matmul import synchronize
from benchmarks.transformers_peer import (
    IGNORED,
    LEARNING_RATE,
    build_peer,
    choose_peer_device,
    draw_texts,
    load_tokenizer,
    tokenise,
)
from benchmarks.work import Work
from selfpretrain.config import Settings
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.sources.tasks import read_task


class Counting(nn.Module):
    """A peer's module with the arguments a Trainer passes, which counts the tokens that are not padding."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self.tokens: Tensor = torch.zeros((), dtype=torch.int64)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``labels`` [B, L]: the original token where it was chosen, -100 elsewhere."""
        self.tokens = self.tokens.to(input_ids.device) + attention_mask.sum()
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        batch["original_ids"] = torch.where(labels == IGNORED, input_ids, labels)
        if token_type_ids is not None:
            batch["token_type_ids"] = token_type_ids
        return {"loss": self.module(batch)[0]}


def build_pretraining(work: Work) -> Rate:
    """Tokens per second that are not padding."""
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    settings, own = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    ours = build_objective(settings.model, settings.objective, work.vocab_size, own.pad_id, SEED)
    module = Counting(build_peer(ours, own))
    del ours
    tokenizer = load_tokenizer(settings, own)
    texts, _ = draw_texts(read_task(settings.task, settings.runtime.runs_dir))
    folder = tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")
    trainer = Trainer(
        module, build_arguments(work, folder.name), build_collator(settings, tokenizer),
        tokenise(tokenizer, texts, settings.pretrain.seq_len, "max_length"),  # type: ignore[arg-type]
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    clock = build_clock(module, settings.runtime.device)
    trainer.add_callback(clock)

    def run_steps(steps: int) -> tuple[float, float]:
        trainer.args.max_steps = steps + 1
        trainer.train()
        assert folder.name
        return clock.tokens, clock.seconds

    return Rate(run_steps, work.seconds)


def build_arguments(work: Work, folder: str) -> Any:
    from transformers import TrainingArguments

    settings, device = work.settings, choose_peer_device(work)
    config = settings.pretrain
    return TrainingArguments(
        output_dir=folder, per_device_train_batch_size=config.batch_size, optim="adamw_torch_fused",
        learning_rate=LEARNING_RATE, weight_decay=config.weight_decay, adam_beta1=config.beta1, adam_beta2=config.beta2,
        adam_epsilon=config.eps, max_grad_norm=config.clip_norm, max_steps=1, use_cpu=device.type == "cpu",
        bf16=config.precision == "bf16", torch_compile=settings.runtime.compile,
        dataloader_pin_memory=device.type == "cuda", dataloader_drop_last=True, report_to="none", save_strategy="no",
        logging_nan_inf_filter=False, disable_tqdm=True, log_level="error", seed=SEED,
    )  # fmt: skip


def build_collator(settings: Settings, tokenizer: Any) -> Any:
    from transformers import DataCollatorForLanguageModeling

    objective = settings.objective
    return DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=objective.mask_prob, mask_replace_prob=objective.mask_token_prob,
        random_replace_prob=objective.random_token_prob,
    )  # fmt: skip


def build_clock(module: Counting, device: str) -> Any:
    """A callback that times all steps but the first, and counts their tokens."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        tokens = seconds = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (1, args.max_steps):
                synchronize(device)
                counted, now = int(module.tokens), time.perf_counter()
                if state.global_step == 1:
                    self.first = (counted, now)
                else:
                    self.tokens, self.seconds = counted - self.first[0], now - self.first[1]

    return Clock()

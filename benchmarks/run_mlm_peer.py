"""The peer: transformers' ``Trainer`` with the recipe of its own script for masked language models, untouched.

Source: transformers, examples/pytorch/language-modeling/run_mlm.py, training from scratch. All that the script leaves to
the defaults of ``TrainingArguments``, ``RobertaConfig`` and ``DataCollatorForLanguageModeling`` is left to them here:
AdamW at 5e-5 that falls linearly without warm-up, no weight decay, 8 blocks per step, dropout .1, a normal start of
deviation .02, 15 % of the tokens chosen anew each time, fp32 on a CPU. Only the sizes are ours.

In the peer's favour: its blocks have the form of those that are held out, they come from memory, their special tokens are
marked for the collator, which else looks each up, and no checkpoint is written.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import torch

from benchmarks.transformers_peer import choose_peer_device, load_tokenizer
from benchmarks.work import Work
from selfpretrain.config import Settings
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.pretext.blocks import Blocks
from selfpretrain.stages.pretrain import build_batches

MASK_SEED = 0  # of the held-out loss, the same for every run
NUM_DRAWS = 4  # of masks over the held-out blocks: one draw alone moves the loss by some hundredths


class BlockDataset(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Blocks at ``starts`` of the stream, as the script's group_texts gives them: token ids, and which are special."""

    def __init__(self, blocks: Blocks, starts: np.ndarray):
        self.blocks, self.starts = blocks, starts
        self.is_special = np.zeros(blocks.ids.vocab_size, np.int64)
        self.is_special[list(blocks.ids.special_ids)] = 1

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        ids = self.blocks.build(self.starts[[index]], np.random.default_rng(0)).ids[0]  # nothing is drawn
        return {"input_ids": ids.tolist(), "special_tokens_mask": self.is_special[ids].tolist()}


def open_blocks(work: Work) -> tuple[BlockDataset, BlockDataset]:
    """The blocks to train on, cut once and without overlap from all text that our run trains on, and those it holds out."""
    batches = build_batches(work.settings, TokenFile.open(work.corpus), Tokenizer.load(work.corpus / "tokenizer"))
    blocks, content = batches.blocks, work.settings.pretrain.seq_len - 2  # between the first token and the last
    starts = np.arange(blocks.train_tokens // content) * content
    return BlockDataset(blocks, starts), BlockDataset(blocks, np.tile(blocks.get_held_out_starts(), NUM_DRAWS))


def build_model(settings: Settings, tokenizer: Tokenizer) -> Any:
    """RoBERTa of the preset's sizes; all else, dropout and the start included, is transformers' default."""
    from transformers import AutoModelForMaskedLM, RobertaConfig

    model = settings.model
    config = RobertaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=model.hidden_size, num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_heads, intermediate_size=model.intermediate_size,
        max_position_embeddings=model.max_positions + tokenizer.pad_id + 1, type_vocab_size=model.type_vocab_size,
        pad_token_id=tokenizer.pad_id, bos_token_id=tokenizer.cls_id, eos_token_id=tokenizer.sep_id,
    )  # fmt: skip
    return AutoModelForMaskedLM.from_config(config)


def build_arguments(folder: str, steps: int, seed: int, device: torch.device) -> Any:
    """The defaults, but for the length, the seed, and what writes or prints."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder, max_steps=steps, seed=seed, use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda", remove_unused_columns=False, report_to="none",
        save_strategy="no", disable_tqdm=True, log_level="error",
    )  # fmt: skip


class Peer:
    """One training of ``steps`` steps from scratch, to be called once: its seconds; its note is its held-out loss in nats."""

    def __init__(self, work: Work, steps: int, seed: int):
        from transformers import DataCollatorForLanguageModeling, Trainer, set_seed
        from transformers.trainer_callback import PrinterCallback

        device, own = choose_peer_device(work), Tokenizer.load(work.corpus / "tokenizer")
        self.folder = tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")
        train, self.held_out = open_blocks(work)
        collator = DataCollatorForLanguageModeling(load_tokenizer(work.settings, own))
        arguments = build_arguments(self.folder.name, steps, seed, device)
        set_seed(seed)  # the script sets it before the weights are drawn
        self.trainer = Trainer(build_model(work.settings, own), arguments, collator, train)
        self.trainer.remove_callback(PrinterCallback)
        self.loss = float("nan")

    def __call__(self) -> float:
        """Seconds of ``train()`` alone; the held-out loss is measured behind it."""
        start = time.perf_counter()
        self.trainer.train()
        seconds = time.perf_counter() - start
        torch.manual_seed(MASK_SEED)
        self.loss = self.trainer.evaluate(self.held_out)["eval_loss"]  # type: ignore[arg-type]
        self.folder.cleanup()
        return seconds

    def get_note(self) -> str:
        return repr(self.loss)

"""The peer: transformers' models in a plain training loop, with settings that suit it.

The models are loaded from our export, so that shapes and starting weights are ours. Attention is transformers' SDPA,
the optimizer torch's fused AdamW without decay on biases and LayerNorm, gradients are clipped to norm 1 at once for
all tensors, nothing waits for the device between steps, and the pretraining batches lie ready in memory.

A tuned peer (``Work.peer_is_tuned``) is what a careful user makes of the same classes: logits at the masked positions
alone, memory kept as the engine keeps it, fine-tuning batches of texts of similar length. On a CPU every peer has the
faster of fp32 and bf16 autocast, found by trying both before anything is measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.engine import SEED
from benchmarks.harness import Rate
from benchmarks.matmul import synchronize
from benchmarks.work import Work
from selfpretrain.config import OptimConfig, Settings
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.devices import choose_autocast, keep_freed_memory
from selfpretrain.interop.huggingface import export_huggingface
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.init import build_encoder
from selfpretrain.model.pretraining import MaskedLanguageModel, ReplacedTokenDetection
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages.pretrain import build_batches
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.train.learners import move

IGNORED = -100  # a label that CrossEntropyLoss leaves out
NUM_READY = 16  # batches made before the clock runs
NUM_TEXTS = 8192  # of the task's, drawn at random: as lists of numbers all of them would count as the peer's memory
LEARNING_RATE = 1e-4
TRIED_STEPS = 3  # of each precision, where the faster one is chosen
Batch = dict[str, Tensor]


def choose_peer_device(work: Work) -> torch.device:
    """The device of the run's settings; memory as the process has it, unless the peer is to have our setting."""
    runtime = work.settings.runtime
    if runtime.num_threads:
        torch.set_num_threads(runtime.num_threads)
    if work.peer_keeps_memory or work.peer_is_tuned:
        keep_freed_memory()
    return torch.device(runtime.device)


def load_peer(kind: str, encoder: Encoder, tokenizer: Tokenizer, head: nn.Module | None, **labels: Any) -> Any:
    """``transformers.AutoModelFor<kind>`` with the weights of ``encoder`` and ``head``."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
        export_huggingface(Path(folder) / "model", encoder, tokenizer, head, **labels)
        loader = getattr(transformers, f"AutoModelFor{kind}")
        return loader.from_pretrained(Path(folder) / "model", attn_implementation="sdpa")


class Electra(nn.Module):
    """ElectraForMaskedLM as the generator and ElectraForPreTraining, with one table of embeddings, as ELECTRA has them.

    The generator's class computes logits at every position, ``at_slots`` only where masked; loss and samples are taken
    at the masked ones. A sample is the largest logit plus Gumbel noise.
    """

    def __init__(self, ours: ReplacedTokenDetection, tokenizer: Tokenizer, at_slots: bool = False):
        super().__init__()
        self.objective, self.at_slots = ours.objective, at_slots
        self.generator = load_peer("MaskedLM", ours.generator, tokenizer, ours.generator_head)
        self.discriminator = load_peer("PreTraining", ours.encoder, tokenizer, ours.head)
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        self.generator.generator_lm_head.weight = self.discriminator.electra.embeddings.word_embeddings.weight

    def compute_logits(self, input_ids: Tensor, positions_BM: Tensor, rest: Batch) -> Tensor:
        """The generator's at the chosen positions, [B * M, V]."""
        if not self.at_slots:
            return gather_slots(self.generator(input_ids, **rest).logits, positions_BM)
        hidden_BLG = self.generator.electra(input_ids, **rest).last_hidden_state
        transformed_NE = self.generator.generator_predictions(gather_slots(hidden_BLG, positions_BM))
        logits_NV: Tensor = self.generator.generator_lm_head(transformed_NE)
        return logits_NV

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The joint loss, and the generator's part of it; ``labels`` [B, L] hold the original token where masked."""
        original_BL, labels_BL = batch["original_ids"], batch["labels"]
        rest = {name: batch[name] for name in ("token_type_ids", "attention_mask") if name in batch}
        if "masked_positions" in batch:  # the same number in every row
            positions_BM = batch["masked_positions"]
            logits_NV = self.compute_logits(batch["input_ids"], positions_BM, rest)
            losses_N = F.cross_entropy(logits_NV.float(), labels_BL.gather(1, positions_BM).flatten(), reduction="none")
            gen_loss = (losses_N * batch["slot_weights"].flatten() if "slot_weights" in batch else losses_N).mean()
            corrupted_BL = original_BL.scatter(1, positions_BM, draw_tokens(logits_NV).view_as(positions_BM))
        else:
            masked_BL = labels_BL != IGNORED
            logits_NV = self.generator(batch["input_ids"], **rest).logits[masked_BL]
            gen_loss = F.cross_entropy(logits_NV.float(), labels_BL[masked_BL])
            corrupted_BL = original_BL.clone()
            corrupted_BL[masked_BL] = draw_tokens(logits_NV)
        replaced_BL = (corrupted_BL != original_BL).float()
        disc_loss = self.discriminator(corrupted_BL, labels=replaced_BL, **rest).loss
        return self.objective.gen_weight * gen_loss + self.objective.disc_weight * disc_loss, gen_loss


@torch.no_grad()
def draw_tokens(logits_NV: Tensor) -> Tensor:
    """One token per row by the Gumbel trick; minus the log of an exponential draw is Gumbel noise."""
    logits_NV = logits_NV.float()
    return (logits_NV - torch.empty_like(logits_NV).exponential_().log_()).argmax(-1)


def gather_slots(values_BLD: Tensor, positions_BM: Tensor) -> Tensor:
    """What stands at the chosen positions, [B * M, D]."""
    return values_BLD.gather(1, positions_BM[..., None].expand(-1, -1, values_BLD.shape[-1])).flatten(0, 1)


class MaskedLM(nn.Module):
    """The family's class for masked tokens, its loss from ``labels`` that are -100 where nothing is asked.

    ``at_slots`` calls its head where something is asked alone.
    """

    def __init__(self, ours: MaskedLanguageModel, tokenizer: Tokenizer, at_slots: bool = False):
        super().__init__()
        self.model, self.at_slots = load_peer("MaskedLM", ours.encoder, tokenizer, ours.head), at_slots

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, twice."""
        if self.at_slots:
            hidden_BLD = self.model.roberta(batch["input_ids"]).last_hidden_state
            logits_NV = self.model.lm_head(gather_slots(hidden_BLD, batch["masked_positions"]))
            targets_N = batch["original_ids"].gather(1, batch["masked_positions"]).flatten()
            loss = F.cross_entropy(logits_NV.float(), targets_N)
        else:
            loss = self.model(batch["input_ids"], labels=batch["labels"]).loss
        return loss, loss


def build_peer(
    ours: MaskedLanguageModel | ReplacedTokenDetection, tokenizer: Tokenizer, at_slots: bool = False
) -> nn.Module:
    """transformers' modules for the same objective with the same weights; its forward takes our batch and labels."""
    if isinstance(ours, ReplacedTokenDetection):
        return Electra(ours, tokenizer, at_slots)
    return MaskedLM(ours, tokenizer, at_slots)


def add_labels(batch: Batch) -> Batch:
    """The batch with ``labels`` [B, L]: the original tokens at the chosen positions, -100 elsewhere."""
    positions, original = batch["masked_positions"], batch["original_ids"]
    labels = torch.full_like(original, IGNORED).scatter(1, positions, original.gather(1, positions))
    return {**batch, "labels": labels}


def build_pretraining(work: Work) -> Rate:
    """Tokens per second over our own batches."""
    settings, tokenizer = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    device = choose_peer_device(work)
    ours = build_objective(settings.model, settings.objective, work.vocab_size, tokenizer.pad_id, SEED)
    batches = build_batches(settings, TokenFile.open(work.corpus), tokenizer)
    ready = [add_labels(move(batches[step], device)) for step in range(NUM_READY)]

    def iter_batches() -> Iterator[Batch]:
        while True:
            yield from ready

    config = settings.pretrain
    module = build_peer(ours, tokenizer, at_slots=work.peer_is_tuned)
    del ours  # its weights would count as the peer's memory
    loop = Loop(module, lambda module, batch: module(batch)[0], iter_batches(), config, work)
    return Rate(lambda steps: loop.run(steps, config.batch_size * config.seq_len), work.seconds, loop.get_note)


class Loop:
    """The loop everybody writes."""

    def __init__(
        self, module: nn.Module, compute_loss: Callable[[Any, Any], Tensor], batches: Iterator[Any],
        config: OptimConfig, work: Work,
    ):  # fmt: skip
        runtime = work.settings.runtime
        self.device = choose_peer_device(work)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in fp32
        self.autocast_dtype = choose_autocast(config.precision)
        self.module = module.to(self.device).train()
        self.forward: nn.Module = self.module
        if runtime.compile:
            self.forward = torch.compile(self.module, mode=work.peer_compile_mode)  # type: ignore[assignment]
        self.compute_loss, self.batches, self.clip_norm = compute_loss, batches, config.clip_norm
        self.optimizer = build_optimizer(self.module, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0 / (1 + 1e-6 * step))
        if self.device.type == "cpu":
            self.autocast_dtype = min((None, torch.bfloat16), key=self.time_precision)

    def time_precision(self, dtype: torch.dtype | None) -> float:
        """Seconds of a few steps in this precision, after one that is not timed."""
        self.autocast_dtype = dtype
        self.run(1, 1)
        return self.run(TRIED_STEPS, 1)[1]

    def get_note(self) -> str:
        return f"The peer ran in {'bf16' if self.autocast_dtype else 'fp32'}."

    def run(self, steps: int, amount_per_step: float) -> tuple[float, float]:
        """So many steps; the amount of work and the seconds."""
        parameters = list(self.module.parameters())
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(self.batches)
            torch.compiler.cudagraph_mark_step_begin()  # for modes with CUDA graphs
            with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
                loss = self.compute_loss(self.forward, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm, foreach=True)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)
        synchronize(self.device.type)
        return steps * amount_per_step, time.perf_counter() - start


def build_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Fused, in two groups: biases and LayerNorm are not decayed."""
    named = list(module.named_parameters())
    spared = [p for name, p in named if name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name]
    known = {id(p) for p in spared}
    decayed = [p for _, p in named if id(p) not in known]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=(config.beta1, config.beta2), eps=config.eps, fused=True,
    )  # fmt: skip


def build_dynamic_padding(work: Work) -> Rate:
    """Fine-tuning, each batch padded to its longest text."""
    return build_finetuning(work, "longest")


def build_full_padding(work: Work) -> Rate:
    """Fine-tuning, every text padded to seq_len."""
    return build_finetuning(work, "max_length")


def build_finetuning(work: Work, padding: str) -> Rate:
    """Examples per second of run_glue's recipe: DataLoader, shuffled, DataCollatorWithPadding, 32 examples a step.

    Tuned, the texts of a batch are of similar length, as with Trainer's ``group_by_length``.
    """
    from transformers import DataCollatorWithPadding
    from transformers.trainer_pt_utils import LengthGroupedSampler

    settings, own = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    config, data = settings.finetune, read_task(settings.task, settings.runtime.runs_dir)
    encoder = build_encoder(settings.model, work.vocab_size, own.pad_id, SEED)
    ours = SequenceModel(encoder, config, data.task, SEED)
    names = data.task.label_names
    module = load_peer("SequenceClassification", encoder, own, ours.head, label_names=names)
    del ours, encoder
    tokenizer = load_tokenizer(settings, own)
    texts, labels = draw_texts(data)
    examples = tokenise(tokenizer, texts, config.seq_len, padding)
    for example, label in zip(examples, labels, strict=True):
        example["labels"] = label
    chance = torch.Generator().manual_seed(SEED)
    lengths = [len(example["input_ids"]) for example in examples]
    sampler = LengthGroupedSampler(config.batch_size, lengths=lengths, generator=chance) if work.peer_is_tuned else None
    loader: Any = torch.utils.data.DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=config.batch_size, shuffle=sampler is None, sampler=sampler, drop_last=True,
        collate_fn=DataCollatorWithPadding(tokenizer), generator=chance,
    )  # fmt: skip
    device = choose_peer_device(work)

    def iter_batches() -> Iterator[Any]:
        while True:
            for batch in loader:
                yield batch.to(device)

    loop = Loop(module, lambda module, batch: module(**batch).loss, iter_batches(), config, work)
    return Rate(lambda steps: loop.run(steps, config.batch_size), work.seconds, loop.get_note)


def load_tokenizer(settings: Settings, tokenizer: Tokenizer) -> Any:
    """transformers' tokenizer from our files."""
    import transformers

    encoder = Encoder(settings.model, tokenizer.vocab_size, tokenizer.pad_id)
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
        export_huggingface(Path(folder) / "model", encoder, tokenizer)
        return transformers.AutoTokenizer.from_pretrained(Path(folder) / "model")


def draw_texts(data: TaskData) -> tuple[list[str], list[int]]:
    """At most NUM_TEXTS training texts with their labels."""
    train = data.splits["train"]
    rows = np.random.default_rng(SEED).permutation(len(train.ids))[:NUM_TEXTS]
    return [train.texts[row][0] for row in rows], [int(train.labels[row]) for row in rows]


def tokenise(tokenizer: Any, texts: list[str], seq_len: int, padding: str) -> list[dict[str, Any]]:
    """One dict of token ids per text, cut to ``seq_len``; padded to it where ``padding`` is max_length."""
    columns = tokenizer(texts, truncation=True, max_length=seq_len, padding=padding == "max_length" and "max_length")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

"""What pretraining optimises: masked tokens (MLM), with the next sentence (NSP) or not, and replaced-token detection
(RTD); the half with torch of :mod:`selfpretrain.pretext.objectives`.

A batch is a dict of tensors made by ``selfpretrain.pretext.batches``:
``input_ids`` [B, L] with masks applied, ``original_ids`` [B, L], ``token_type_ids`` [B, L] or absent,
``masked_positions`` [B, M], ``sample_uniforms`` [B, M] (RTD), ``next_labels`` [B] (NSP). Where sequences are padded also ``attention_mask``
[B, L] and the weights ``token_weights`` [B, L] and ``slot_weights`` [B, M], 0 at padding and at slots without a use,
with which a micro-batch's losses, summed over tokens and averaged over rows, or averaged over slots, are its share of
the batch's mean over what is real.
"""

from __future__ import annotations

from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import BertHead, MaskedTokenHead, Pooler, ReplacedTokenHead
from selfpretrain.model.init import init_weights
from selfpretrain.model.sizes import build_generator_config

Batch = dict[str, Tensor]


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy that keeps one array of the logits' size, turned into its own gradient in place.

    The library's loss writes three on the way back; over a vocabulary they are the largest arrays of a step.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        log_probs_NV = torch.log_softmax(logits_NV.float(), dim=-1)
        loss = -(log_probs_NV.gather(-1, targets_N.unsqueeze(-1)).squeeze(-1) * weights_N).mean()
        return loss, log_probs_NV.exp_()

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:  # type: ignore[override,no-untyped-def]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], inputs[1], inputs[2])
        ctx.set_materialize_grads(False)
        ctx.dtype = inputs[0].dtype

    @staticmethod
    def backward(ctx, grad: Tensor, _: None) -> tuple[Tensor, None, None]:  # type: ignore[override,no-untyped-def]
        probs_NV, targets_N, weights_N = ctx.saved_tensors
        shares_N1 = (grad / len(targets_N) * weights_N).unsqueeze(-1)
        probs_NV.mul_(shares_N1).scatter_add_(-1, targets_N.unsqueeze(-1), -shares_N1)
        return probs_NV.to(ctx.dtype), None, None


def compute_cross_entropy(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of cross-entropy times weight and, without gradient, the probabilities [N, V]; both fp32.

    The backward pass consumes the probabilities: use them before it.
    """
    if logits_NV.device.type == "cpu" and not torch.compiler.is_compiling():  # a compiler fuses the library's loss
        loss, probs_NV = _CrossEntropy.apply(logits_NV, targets_N, weights_N)
        return loss, probs_NV
    loss = (F.cross_entropy(logits_NV.float(), targets_N, reduction="none") * weights_N).mean()
    return loss, torch.softmax(logits_NV.detach().float(), dim=-1)


def sample_tokens(probs_NV: Tensor, uniforms_N: Tensor, temperature: float) -> Tensor:
    """One token per row by inverting the cumulative distribution at one uniform number; no gradient.

    The same distribution as argmax(logits / T + Gumbel noise) [ELECTRA], without a noise tensor over the vocabulary.
    """
    with torch.no_grad():
        weights_NV = probs_NV if temperature == 1 else probs_NV ** (1 / temperature)
        cumulative_NV = weights_NV.cumsum(dim=-1)
        # scaling by the last entry, the sum, keeps every draw inside the vocabulary
        targets_N1 = (uniforms_N * cumulative_NV[:, -1]).unsqueeze(-1)
        return torch.searchsorted(cumulative_NV, targets_N1).squeeze(-1).clamp(max=probs_NV.shape[-1] - 1)


def get_targets(batch: Batch) -> tuple[Tensor, Tensor]:
    """The original tokens at the chosen positions, and the weights of their slots, [B * M] each."""
    targets_N = batch["original_ids"].gather(1, batch["masked_positions"]).flatten()
    weights_BM = batch.get("slot_weights")
    weights_N = torch.ones_like(targets_N, dtype=torch.float32) if weights_BM is None else weights_BM.flatten()
    return targets_N, weights_N


def rate_detector(logits_N: Tensor, replaced_N: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """How well replaced tokens are told from the others, which at their low share accuracy and loss hardly show.

    The area under the ROC curve (ties count half); the share found when the highest-ranked tokens are called replaced,
    as many as are; the loss (nats per token) above the entropy of that share, which is the loss of knowing nothing else.
    None of these where all tokens are alike.
    """
    positives, num_tokens = int(replaced_N.sum()), len(replaced_N)
    if not 0 < positives < num_tokens:
        return {}
    _, places_N, counts = logits_N.unique(return_inverse=True, return_counts=True)
    ranks_N = (counts.cumsum(0) - (counts - 1) / 2)[places_N]
    above = (ranks_N.double() * replaced_N).sum() - positives * (positives + 1) / 2
    top_N = logits_N.argsort(descending=True, stable=True)[:positives]
    base = replaced_N.mean()
    return {
        "disc_auc": above / (positives * (num_tokens - positives)),
        "disc_recall_at_base": replaced_N[top_N].mean(),
        "disc_loss_over_base": loss + base * base.log() + (1 - base) * (1 - base).log(),
    }


class HandedOver(TypedDict):
    """What fine-tuning starts from, by the parameters of ``save_encoder``."""

    encoder: Encoder
    pooler: Pooler | None


class PretrainModule(nn.Module):
    """An encoder with what an objective adds to it. ``forward(batch)`` gives the loss and named measures."""

    encoder: Encoder  # a start's weights are copied into it

    def hand_over(self) -> HandedOver:
        return {"encoder": self.encoder, "pooler": None}

    def compute_logits(self, batch: Batch, network: Encoder, head: MaskedTokenHead) -> Tensor:
        """Of the tokens at the chosen positions only, [B * M, V]; the embeddings are those of ``encoder``."""
        types_BL, mask_BL = map(batch.get, ("token_type_ids", "attention_mask"))
        hidden_BMD = network(batch["input_ids"], types_BL, mask_BL, batch["masked_positions"])
        return head(hidden_BMD.flatten(0, 1), self.encoder.embeddings.word.weight)


class MaskedLanguageModel(PretrainModule):
    """Predict the tokens at the masked positions [RoBERTa; BERT without the next-sentence task]."""

    def __init__(self, config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int):
        super().__init__()
        self.encoder = Encoder(config, vocab_size, pad_id)
        self.head = MaskedTokenHead(config, self.encoder.embeddings)
        init_weights(self, config, torch.Generator().manual_seed(seed))

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy (nats per masked token) and named measures."""
        targets_N, weights_N = get_targets(batch)
        logits_NV = self.compute_logits(batch, self.encoder, self.head)
        loss, _ = compute_cross_entropy(logits_NV, targets_N, weights_N)
        accuracy = ((logits_NV.detach().argmax(-1) == targets_N) * weights_N).mean()
        return loss, {"loss": loss.detach(), "mlm_accuracy": accuracy}


class BertPretraining(PretrainModule):
    """Predict the tokens at the masked positions, and whether the second text follows the first [BERT run_pretraining.py]."""

    def __init__(self, config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int):
        super().__init__()
        self.encoder = Encoder(config, vocab_size, pad_id)
        self.head = BertHead(config, self.encoder.embeddings)
        init_weights(self, config, torch.Generator().manual_seed(seed))

    def hand_over(self) -> HandedOver:
        return {"encoder": self.encoder, "pooler": self.head.pooler}

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the two mean cross-entropies (nats per masked token, nats per pair), and named measures."""
        types_BL, mask_BL = map(batch.get, ("token_type_ids", "attention_mask"))
        positions_BM = F.pad(batch["masked_positions"], (1, 0))  # the first token, too
        hidden_BMD = self.encoder(batch["input_ids"], types_BL, mask_BL, positions_BM)
        logits_NV, next_B2 = self.head(
            hidden_BMD[:, 0], hidden_BMD[:, 1:].flatten(0, 1), self.encoder.embeddings.word.weight
        )
        targets_N, weights_N = get_targets(batch)
        mlm_loss, _ = compute_cross_entropy(logits_NV, targets_N, weights_N)
        nsp_loss = F.cross_entropy(next_B2.float(), batch["next_labels"])
        loss = mlm_loss + nsp_loss
        return loss, {
            "loss": loss.detach(),
            "mlm_loss": mlm_loss.detach(),
            "mlm_accuracy": ((logits_NV.detach().argmax(-1) == targets_N) * weights_N).mean(),
            "nsp_loss": nsp_loss.detach(),
            "nsp_accuracy": (next_B2.detach().argmax(-1) == batch["next_labels"]).float().mean(),
        }


class ReplacedTokenDetection(PretrainModule):
    """ELECTRA: a small generator fills masked positions, the encoder says which tokens were replaced.

    With ``mlm_fraction`` the encoder first learns masked tokens by itself, on batches without ``sample_uniforms``: a small
    detector that starts from nothing leaves its base rate late (benchmarks/README.md).
    """

    def __init__(self, config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int):
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, vocab_size, pad_id)
        self.head = ReplacedTokenHead(config)
        small = build_generator_config(config)
        # token, position and segment embeddings and their LayerNorm are one and the same [ELECTRA]
        self.generator = Encoder(small, vocab_size, pad_id, embeddings=self.encoder.embeddings)
        self.generator_head = MaskedTokenHead(small, self.encoder.embeddings)
        self.first_head = MaskedTokenHead(config, self.encoder.embeddings) if objective.mlm_fraction else None
        init_weights(self, config, torch.Generator().manual_seed(seed))

    def corrupt(self, batch: Batch, probs_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The original text with the generator's tokens at the chosen positions, and which tokens differ (float)."""
        original_BL, positions_BM = batch["original_ids"], batch["masked_positions"]
        sampled_N = sample_tokens(probs_NV, batch["sample_uniforms"].flatten(), self.objective.temperature)
        corrupted_BL = original_BL.scatter(1, positions_BM, sampled_N.view_as(positions_BM))
        return corrupted_BL, (corrupted_BL != original_BL).float()  # a correct guess counts as original

    def fill(self, batch: Batch, network: Encoder, head: MaskedTokenHead) -> tuple[Tensor, Tensor]:
        """Cross-entropy over all chosen positions, masked or kept, and the probabilities [B * M, V]."""
        return compute_cross_entropy(self.compute_logits(batch, network, head), *get_targets(batch))

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """gen_weight * generator loss + disc_weight * discriminator loss, and named measures."""
        if self.first_head is not None and "sample_uniforms" not in batch:
            loss, _ = self.fill(batch, self.encoder, self.first_head)
            return loss, {"loss": loss.detach(), "mlm_loss": loss.detach()}
        types_BL, mask_BL, weights_BL = map(batch.get, ("token_type_ids", "attention_mask", "token_weights"))
        gen_loss, probs_NV = self.fill(batch, self.generator, self.generator_head)
        corrupted_BL, replaced_BL = self.corrupt(batch, probs_NV)
        disc_logits_BL = self.head(self.encoder(corrupted_BL, types_BL, mask_BL)).float()
        if weights_BL is None:
            disc_loss = F.binary_cross_entropy_with_logits(disc_logits_BL, replaced_BL)
        else:
            total = F.binary_cross_entropy_with_logits(disc_logits_BL, replaced_BL, weights_BL, reduction="sum")
            disc_loss = total / len(weights_BL)
        loss = self.objective.gen_weight * gen_loss + self.objective.disc_weight * disc_loss
        with torch.no_grad():
            found = ((disc_logits_BL > 0) & (replaced_BL > 0)).float().sum() / replaced_BL.sum().clamp(min=1)
            right_BL = ((disc_logits_BL > 0) == (replaced_BL > 0)).float()
            accuracy = right_BL.mean() if weights_BL is None else (right_BL * weights_BL).sum() / len(weights_BL)
        measures = {
            "loss": loss,
            "gen_loss": gen_loss,
            "disc_loss": disc_loss,
            "disc_accuracy": accuracy,
            "disc_recall": found,
        }
        if not self.training:
            real_BL = torch.ones_like(replaced_BL, dtype=torch.bool) if weights_BL is None else weights_BL > 0
            measures |= rate_detector(disc_logits_BL[real_BL], replaced_BL[real_BL], disc_loss)
        return loss, {name: value.detach() for name, value in measures.items()}

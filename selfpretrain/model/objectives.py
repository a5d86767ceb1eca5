"""What pretraining optimises: masked tokens (MLM) and replaced-token detection (RTD).

A batch is a dict of tensors made by ``selfpretrain.data.packing``:
``input_ids`` [B, L] with masks applied, ``original_ids`` [B, L], ``token_type_ids`` [B, L] or absent,
``masked_positions`` [B, M], ``sample_uniforms`` [B, M] (RTD). Every sequence has exactly M chosen positions and no
padding, so the mean over a micro-batch is the mean over the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.encoder import Encoder, build_generator_config
from selfpretrain.model.heads import MaskedTokenHead, ReplacedTokenHead
from selfpretrain.model.init import init_weights

Batch = dict[str, Tensor]


def gather_positions(hidden_BLD: Tensor, positions_BM: Tensor) -> Tensor:
    """The hidden states at the chosen positions, [B * M, D]."""
    index_BMD = positions_BM.unsqueeze(-1).expand(-1, -1, hidden_BLD.shape[-1])
    return hidden_BLD.gather(1, index_BMD).flatten(0, 1)


def sample_tokens(logits_NV: Tensor, uniforms_N: Tensor, temperature: float) -> Tensor:
    """One token per row by inverting the cumulative distribution at one uniform number; fp32, no gradient.

    The same distribution as argmax(logits / T + Gumbel noise) [ELECTRA], without a noise tensor over the vocabulary.
    """
    with torch.no_grad():
        cumulative_NV = torch.softmax(logits_NV.float() / temperature, dim=-1).cumsum_(dim=-1)
        # the last entry is 1 up to rounding: scaling by it keeps every draw inside the vocabulary
        targets_N1 = (uniforms_N * cumulative_NV[:, -1]).unsqueeze(-1)
        return torch.searchsorted(cumulative_NV, targets_N1).squeeze(-1).clamp_(max=logits_NV.shape[-1] - 1)


class MaskedLanguageModel(nn.Module):
    """Predict the tokens at the masked positions [RoBERTa; BERT without the next-sentence task]."""

    def __init__(self, config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int):
        super().__init__()
        self.encoder = Encoder(config, vocab_size, pad_id)
        self.head = MaskedTokenHead(config, self.encoder.embeddings)
        init_weights(self, config, torch.Generator().manual_seed(seed))

    def compute_logits(self, batch: Batch) -> Tensor:
        """Logits at the masked positions only, [B * M, V]."""
        hidden_BLD = self.encoder(batch["input_ids"], batch.get("token_type_ids"))
        logits: Tensor = self.head(
            gather_positions(hidden_BLD, batch["masked_positions"]), self.encoder.embeddings.word.weight
        )
        return logits

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy (nats per masked token) and named measures."""
        targets_N = batch["original_ids"].gather(1, batch["masked_positions"]).flatten()
        logits_NV = self.compute_logits(batch)
        loss = F.cross_entropy(logits_NV.float(), targets_N)
        accuracy = (logits_NV.detach().argmax(-1) == targets_N).float().mean()
        return loss, {"loss": loss.detach(), "mlm_accuracy": accuracy}


class ReplacedTokenDetection(nn.Module):
    """ELECTRA: a small generator fills masked positions, the encoder says which tokens were replaced."""

    def __init__(self, config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int):
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, vocab_size, pad_id)
        self.head = ReplacedTokenHead(config)
        small = build_generator_config(config)
        # token, position and segment embeddings and their LayerNorm are one and the same [ELECTRA]
        self.generator = Encoder(small, vocab_size, pad_id, embeddings=self.encoder.embeddings)
        self.generator_head = MaskedTokenHead(small, self.encoder.embeddings)
        init_weights(self, config, torch.Generator().manual_seed(seed))

    def corrupt(self, batch: Batch, generator_logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The original text with the generator's tokens at the chosen positions, and which tokens differ (float)."""
        original_BL, positions_BM = batch["original_ids"], batch["masked_positions"]
        sampled_N = sample_tokens(generator_logits_NV, batch["sample_uniforms"].flatten(), self.objective.temperature)
        corrupted_BL = original_BL.scatter(1, positions_BM, sampled_N.view_as(positions_BM))
        return corrupted_BL, (corrupted_BL != original_BL).float()  # a correct guess counts as original

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """gen_weight * generator loss + disc_weight * discriminator loss, and named measures."""
        types_BL = batch.get("token_type_ids")
        hidden_BLG = self.generator(batch["input_ids"], types_BL)
        logits_NV = self.generator_head(
            gather_positions(hidden_BLG, batch["masked_positions"]), self.encoder.embeddings.word.weight
        )
        targets_N = batch["original_ids"].gather(1, batch["masked_positions"]).flatten()
        gen_loss = F.cross_entropy(logits_NV.float(), targets_N)  # over all chosen positions, masked or kept
        corrupted_BL, replaced_BL = self.corrupt(batch, logits_NV)
        disc_logits_BL = self.head(self.encoder(corrupted_BL, types_BL)).float()
        disc_loss = F.binary_cross_entropy_with_logits(disc_logits_BL, replaced_BL)
        loss = self.objective.gen_weight * gen_loss + self.objective.disc_weight * disc_loss
        with torch.no_grad():
            found = ((disc_logits_BL > 0) & (replaced_BL > 0)).float().sum() / replaced_BL.sum().clamp(min=1)
            accuracy = ((disc_logits_BL > 0) == (replaced_BL > 0)).float().mean()
        measures = {
            "loss": loss,
            "gen_loss": gen_loss,
            "disc_loss": disc_loss,
            "disc_accuracy": accuracy,
            "disc_recall": found,
        }
        return loss, {name: value.detach() for name, value in measures.items()}


OBJECTIVES: dict[str, type[MaskedLanguageModel] | type[ReplacedTokenDetection]] = {
    "mlm": MaskedLanguageModel,
    "rtd": ReplacedTokenDetection,
}


def build_objective(
    config: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int
) -> MaskedLanguageModel | ReplacedTokenDetection:
    """The pretraining module, its weights a function of ``seed`` alone."""
    return OBJECTIVES[objective.name](config, objective, vocab_size, pad_id, seed)

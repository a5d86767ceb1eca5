"""The model of a task: an encoder and the head of the task's kind, and what it says of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit, Ints, iter_by_length
from selfpretrain.kinds import get_kind
from selfpretrain.model.encoder import Encoder, Packing
from selfpretrain.model.heads import Pooler, SequenceHead
from selfpretrain.model.init import init_weights
from selfpretrain.sources.labelled import Split
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.reader import Outputs, Predicted

EVALUATION_BATCH_SIZE = 128  # sequences


class SequenceModel(nn.Module):
    """An encoder with a head for one task. ``forward(batch)`` gives the mean loss and named measures.

    ``pooler`` is the start's, where finetune.head=pooler and it has one.
    """

    def __init__(
        self, encoder: Encoder, config: FinetuneConfig, task: TaskConfig, seed: int, pooler: Pooler | None = None
    ):
        super().__init__()
        self.encoder = encoder
        kind, head = get_kind(task.label_kind), get_head(task.label_kind)
        self.compute_loss = head.compute_loss
        self.head = head.build(encoder.config, config, kind.count_outputs(task))
        self.num_outputs = kind.count_sequences(task) * kind.count_outputs(task)  # of an example, or of a token
        init_head(self.head, encoder.config, seed)
        if pooler is not None and isinstance(self.head, SequenceHead):
            assert self.head.kind == "pooler" and self.head.dense is not None
            self.head.dense.load_state_dict(pooler.dense.state_dict())

    def compute_outputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits [B, S * K] of the examples of a padded or a packed batch, one column for a score; of tokens [B, L, K]."""
        ids_BL, mask_BL = batch["input_ids"], batch.get("attention_mask")  # no mask where nothing is padding
        packing = Packing(batch["position_ids"], batch["lengths"]) if "lengths" in batch else None
        firsts = None
        if self.head.pooling == "cls":
            firsts = ids_BL.new_zeros(len(ids_BL), 1) if packing is None else packing.starts_1B
        hidden = self.encoder(ids_BL, batch.get("token_type_ids"), mask_BL, firsts, packing)
        outputs: Tensor = self.head(hidden, mask_BL, packing)
        return outputs if self.head.pooling is None else outputs.reshape(-1, self.num_outputs)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, labels = self.compute_outputs(batch).float(), batch["labels"]
        loss = self.compute_loss(outputs, labels) * batch.get("loss_scale", 1.0)
        return loss, {"loss": loss.detach()}


def init_head(head: nn.Module, model: ModelConfig, seed: int) -> None:
    """Xavier-uniform for ELECTRA and BERT (TensorFlow's default), normal for RoBERTa.

    A head with a pooler starts as the encoder does [BERT modeling.py, run_classifier.py].
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(head, SequenceHead) and head.kind == "pooler":
        init_weights(head, model, generator)
        return
    for part in head.modules():
        if isinstance(part, nn.Linear):
            if model.family == "roberta":
                nn.init.normal_(part.weight, std=model.init_std, generator=generator)
            else:
                nn.init.xavier_uniform_(part.weight, generator=generator)
            nn.init.zeros_(part.bias)


def predict_split(
    model: SequenceModel, split: Split, encoded: EncodedSplit, task: TaskConfig, device: torch.device,
    autocast: torch.dtype | None,
) -> Predicted:  # fmt: skip
    """What the model says of a split's examples, ``encoded`` being the same split."""
    reader = get_head(task.label_kind).reader
    if reader is None:
        return Predicted(split.labels, predict(model, encoded, task, device, autocast))
    return reader.read(task, split, encoded, predict_tokens(model, encoded, device, autocast))


def predict(
    model: SequenceModel, split: EncodedSplit, task: TaskConfig, device: torch.device, autocast: torch.dtype | None
) -> Outputs:
    """Outputs [N, S * K] in the order of ``split``, as they are stored: logits, or scores in the label's own range."""
    numbers, outputs = zip(*iter_outputs(model, split, device, autocast), strict=True)
    in_order = np.concatenate(outputs)[np.argsort(np.concatenate(numbers))]
    return get_kind(task.label_kind).restore(task, in_order)


def predict_tokens(
    model: SequenceModel, split: EncodedSplit, device: torch.device, autocast: torch.dtype | None
) -> list[Outputs]:
    """Outputs [tokens, K] of each window, in the order of ``split``."""
    found: dict[int, Outputs] = {}
    for rows, outputs_BLK in iter_outputs(model, split, device, autocast):
        found |= {row: each[: split.lengths[row]] for row, each in zip(rows.tolist(), outputs_BLK, strict=True)}
    return [found[row] for row in range(len(split))]


@torch.no_grad()
def iter_outputs(
    model: SequenceModel, split: EncodedSplit, device: torch.device, autocast: torch.dtype | None
) -> Iterator[tuple[Ints, Outputs]]:
    """Batches of similar length: the numbers of their rows, and the outputs."""
    model.eval()
    encoder, has_segments = model.encoder, model.encoder.config.type_vocab_size > 1
    batch_size = max(1, EVALUATION_BATCH_SIZE // split.num_sequences)
    for rows, arrays in iter_by_length(split, batch_size, encoder.pad_id, has_segments):
        batch = {name: torch.from_numpy(np.asarray(value)).to(device) for name, value in arrays.items()}
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            outputs = model.compute_outputs(batch)
        yield rows, outputs.float().cpu().numpy()

"""The model of a task: an encoder and the head of the task's kind, and what it says of a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from selfpretrain.config import FinetuneConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit, iter_by_length
from selfpretrain.kinds import get_kind
from selfpretrain.model.encoder import Encoder, Packing
from selfpretrain.model.heads import SequenceHead
from selfpretrain.tasks.heads import get_head

EVALUATION_BATCH_SIZE = 128  # sequences


class SequenceModel(nn.Module):
    """An encoder with a head for one task. ``forward(batch)`` gives the mean loss and named measures."""

    def __init__(self, encoder: Encoder, config: FinetuneConfig, task: TaskConfig, seed: int):
        super().__init__()
        self.encoder = encoder
        kind, head = get_kind(task.label_kind), get_head(task.label_kind)
        self.compute_loss = head.compute_loss
        self.head = head.build(encoder.config, config, kind.count_outputs(task))
        self.num_outputs = kind.count_sequences(task) * kind.count_outputs(task)  # of an example
        init_head(self.head, encoder.config.family, encoder.config.init_std, seed)

    def compute_outputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits [B, S * K] of the examples of a padded or a packed batch; one column for a score."""
        ids_BL, mask_BL = batch["input_ids"], batch.get("attention_mask")  # no mask where nothing is padding
        packing = Packing(batch["position_ids"], batch["lengths"]) if "lengths" in batch else None
        firsts = None
        if self.head.pooling == "cls":
            firsts = ids_BL.new_zeros(len(ids_BL), 1) if packing is None else packing.starts_1B
        hidden = self.encoder(ids_BL, batch.get("token_type_ids"), mask_BL, firsts, packing)
        return self.head(hidden, mask_BL, packing).reshape(-1, self.num_outputs)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, labels = self.compute_outputs(batch).float(), batch["labels"]
        loss = self.compute_loss(outputs, labels)
        return loss, {"loss": loss.detach()}


def init_head(head: SequenceHead, family: str, std: float, seed: int) -> None:
    """Xavier-uniform for ELECTRA and BERT (TensorFlow's default, which their code relies on), normal for RoBERTa."""
    generator = torch.Generator().manual_seed(seed)
    for part in head.modules():
        if isinstance(part, nn.Linear):
            if family == "roberta":
                nn.init.normal_(part.weight, std=std, generator=generator)
            else:
                nn.init.xavier_uniform_(part.weight, generator=generator)
            nn.init.zeros_(part.bias)


@torch.no_grad()
def predict(
    model: SequenceModel, split: EncodedSplit, task: TaskConfig, device: torch.device, autocast: torch.dtype | None
) -> npt.NDArray[np.float32]:
    """Outputs [N, S * K] in the order of ``split``, as they are stored: logits, or scores in the label's own range."""
    model.eval()
    encoder, numbers, outputs = model.encoder, [], []
    has_segments = encoder.config.type_vocab_size > 1
    batch_size = max(1, EVALUATION_BATCH_SIZE // split.num_sequences)
    for rows, arrays in iter_by_length(split, batch_size, encoder.pad_id, has_segments):
        batch = {name: torch.from_numpy(np.asarray(value)).to(device) for name, value in arrays.items()}
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            outputs.append(model.compute_outputs(batch).float().cpu().numpy())
        numbers.append(rows)
    in_order = np.concatenate(outputs)[np.argsort(np.concatenate(numbers))]
    return get_kind(task.label_kind).restore(task, in_order)

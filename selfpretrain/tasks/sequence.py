"""The sequence kind of task: one text or a pair, to a class, several labels, or a score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import FinetuneConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit, iter_by_length
from selfpretrain.model.encoder import Encoder, Packing
from selfpretrain.model.heads import SequenceHead
from selfpretrain.tasks.metrics import Undefined, compute_metric

EVALUATION_BATCH_SIZE = 128


class SequenceModel(nn.Module):
    """An encoder with a head for one task. ``forward(batch)`` gives the mean loss and named measures."""

    def __init__(self, encoder: Encoder, config: FinetuneConfig, task: TaskConfig, seed: int):
        super().__init__()
        self.encoder = encoder
        self.kind = task.label_kind
        num_outputs = 1 if self.kind == "score" else len(task.label_names)
        self.head = SequenceHead(encoder.config, config.head, config.pooling, num_outputs)
        init_head(self.head, encoder.config.family, encoder.config.init_std, seed)

    def compute_outputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits [B, K] for a padded or a packed batch; one column for a score."""
        ids_BL, mask_BL = batch["input_ids"], batch.get("attention_mask")  # no mask where nothing is padding
        packing = Packing(batch["position_ids"], batch["lengths"]) if "lengths" in batch else None
        firsts = None
        if self.head.pooling == "cls":
            firsts = ids_BL.new_zeros(len(ids_BL), 1) if packing is None else packing.starts_1B
        hidden = self.encoder(ids_BL, batch.get("token_type_ids"), mask_BL, firsts, packing)
        outputs: Tensor = self.head(hidden, mask_BL, packing)
        return outputs

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs_BK, labels = self.compute_outputs(batch).float(), batch["labels"]
        if self.kind == "class":
            loss = F.cross_entropy(outputs_BK, labels)
        elif self.kind == "multilabel":
            loss = F.binary_cross_entropy_with_logits(outputs_BK, labels)
        else:
            loss = F.mse_loss(outputs_BK.squeeze(-1), labels)
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


def scale_scores(labels: npt.NDArray[np.generic], task: TaskConfig) -> npt.NDArray[np.float32]:
    """Scores to the range the head is trained on, 0 to 1 [ELECTRA: STS label / 5]."""
    low, high = get_score_range(task)
    return ((labels.astype(np.float32) - low) / (high - low)).astype(np.float32)


def get_score_range(task: TaskConfig) -> tuple[float, float]:
    assert len(task.score_range) == 2, task.name
    return task.score_range[0], task.score_range[1]


@torch.no_grad()
def predict(
    model: SequenceModel, split: EncodedSplit, task: TaskConfig, device: torch.device, autocast: torch.dtype | None
) -> npt.NDArray[np.float32]:
    """Outputs [N, K] in the order of ``split``: logits, or scores in the label's own range."""
    model.eval()
    results: npt.NDArray[np.float32] | None = None
    encoder = model.encoder
    for rows, arrays in iter_by_length(
        split, EVALUATION_BATCH_SIZE, encoder.pad_id, encoder.config.type_vocab_size > 1
    ):
        batch = {name: torch.from_numpy(np.asarray(value)).to(device) for name, value in arrays.items()}
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            outputs = model.compute_outputs(batch).float().cpu().numpy()
        if results is None:
            results = np.empty((len(split), outputs.shape[1]), np.float32)
        results[rows] = outputs
    assert results is not None
    if task.label_kind == "score":
        low, high = get_score_range(task)
        results = results * np.float32(high - low) + np.float32(low)
    return results


def score_split(
    task: TaskConfig, labels: npt.NDArray[np.generic], outputs: npt.NDArray[np.float32]
) -> tuple[float | None, str]:
    """The task's metric; or None, and why these outputs have none."""
    try:
        return score(task, labels, outputs), ""
    except Undefined as error:
        return None, str(error)


def score(task: TaskConfig, labels: npt.NDArray[np.generic], outputs: npt.NDArray[np.float32]) -> float:
    """The task's metric; raises where it cannot be computed."""
    assert task.metric is not None
    predictions: npt.NDArray[np.generic] = outputs
    if task.label_kind == "class":
        predictions = outputs.argmax(1)
    elif task.label_kind == "score":
        predictions = outputs[:, 0]
    return compute_metric(task.metric, labels, predictions)

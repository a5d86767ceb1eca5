"""ELECTRA for fairseq 0.12.2, and its masked_lm for token files of any vocabulary: the folder for ``--user-dir``.

    fairseq-train runs/corpora/<id> --user-dir <this folder> --task token_files --disable-validation --valid-subset train
      --arch replaced_tokens --criterion replaced_tokens --settings runs/pretrain/<id>/config.yaml
      --mask-prob 0.15 --leave-unmasked-prob 0.15 --random-token-prob 0 ...

It is imported by the Python of fairseq's own environment. Batches and masks are fairseq's, the model and its losses are
those of :mod:`selfpretrain.model.pretraining`; losses are logged in bits, as fairseq's are.

[fairseq 0.12.2, tasks/masked_lm.py, data/dictionary.py, data/mask_tokens_dataset.py]
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fairseq import metrics, utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[3]))  # behind fairseq's own libraries

from selfpretrain.config import Settings
from selfpretrain.door import load_yaml
from selfpretrain.model.pretraining import Batch, PretrainModule
from selfpretrain.pretext.objectives import build_objective, count_mlm_steps

NAME = "replaced_tokens"
BOS, PAD, EOS, UNK, MASK = "[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"  # of WordPiece, in the place of fairseq's
LOSSES = ("loss", "gen_loss", "disc_loss", "mlm_loss")  # nats


def read_vocabulary(file: Path) -> Dictionary:
    """The dictionary of a tokenizer.json of WordPiece, whose special ids stand elsewhere than a dict.txt can put them."""
    content = json.loads(file.read_text(encoding="utf-8"))
    ids = {**content["model"]["vocab"], **{entry["content"]: entry["id"] for entry in content["added_tokens"]}}
    dictionary = Dictionary(bos=BOS, pad=PAD, eos=EOS, unk=UNK)
    dictionary.symbols = sorted(ids, key=ids.__getitem__)
    dictionary.count, dictionary.indices = [1] * len(ids), {**ids, "<mask>": ids[MASK]}
    dictionary.bos_index, dictionary.pad_index = ids[BOS], ids[PAD]
    dictionary.eos_index, dictionary.unk_index = ids[EOS], ids[UNK]
    behind = max(ids[name] for name in (BOS, PAD, EOS, UNK, MASK)) + 1
    dictionary.nspecial = behind if behind < len(ids) // 2 else 0  # those in front are never put in as random tokens
    return dictionary


@register_task("token_files", dataclass=MaskedLMConfig)
class TokenFiles(MaskedLMTask):
    """masked_lm on a folder of token files as it is: with dict.txt, or with the WordPiece in its folder tokenizer/."""

    @classmethod
    def setup_task(cls, cfg: MaskedLMConfig, **kwargs: Any) -> "TokenFiles":
        folder = Path(utils.split_paths(cfg.data)[0])
        if (folder / "dict.txt").is_file():
            return super().setup_task(cfg, **kwargs)
        return cls(cfg, read_vocabulary(folder / "tokenizer" / "tokenizer.json"))


def build_batch(sample: dict[str, Any], dictionary: Dictionary) -> Batch:
    """fairseq's sample as a batch of :mod:`selfpretrain.model.pretraining`; no special token stays chosen, and a row has one
    that is.
    """
    masked_BL, targets_BL, pad = sample["net_input"]["src_tokens"], sample["target"], dictionary.pad()
    original_BL = torch.where(targets_BL != pad, targets_BL, masked_BL)
    never = torch.tensor([dictionary.bos(), dictionary.eos(), pad], device=original_BL.device)
    ordinary_BL = ~torch.isin(original_BL, never)
    chosen_BL = (targets_BL != pad) & ordinary_BL
    first_BL = F.one_hot(ordinary_BL.int().argmax(1), chosen_BL.shape[1]).bool()
    chosen_BL |= first_BL & ~chosen_BL.any(1, keepdim=True)
    counts_B1 = chosen_BL.sum(1, keepdim=True)
    slots = torch.arange(int(counts_B1.max()), device=counts_B1.device)
    used_BM, place_BM = slots < counts_B1, slots.minimum(counts_B1 - 1)  # the slots behind repeat a row's last
    uniforms_BM = torch.rand(used_BM.shape, device=used_BM.device)
    batch = {
        "input_ids": torch.where(chosen_BL, masked_BL, original_BL),
        "original_ids": original_BL,
        "masked_positions": chosen_BL.int().argsort(dim=1, descending=True, stable=True).gather(1, place_BM),
        "sample_uniforms": uniforms_BM.gather(1, place_BM),
        "slot_weights": used_BM / used_BM.float().mean(),
    }
    real_BL = original_BL != pad
    if not bool(real_BL.all()):
        batch |= {"attention_mask": real_BL, "token_weights": real_BL * (len(real_BL) / real_BL.sum())}
    return batch


@dataclass
class ReplacedTokensConfig(FairseqDataclass):
    settings: str = field(
        default="???", metadata={"help": "YAML with model: and objective:, such as a run's config.yaml"}
    )
    max_update: int = "${optimization.max_update}"  # type: ignore[assignment]
    seed: int = "${common.seed}"  # type: ignore[assignment]


@register_model(NAME, dataclass=ReplacedTokensConfig)
class ReplacedTokens(BaseFairseqModel):
    """ELECTRA's generator and detector; of ``objective.mlm_fraction`` of the updates masked tokens alone."""

    def __init__(self, module: PretrainModule, mlm_steps: int):
        super().__init__()
        self.module, self.mlm_steps, self.num_updates = module, mlm_steps, 0

    @classmethod
    def build_model(cls, cfg: ReplacedTokensConfig, task: MaskedLMTask) -> "ReplacedTokens":
        settings = load_yaml(Path(cfg.settings), Settings)
        dictionary = task.source_dictionary
        module = build_objective(settings.model, settings.objective, len(dictionary), dictionary.pad(), cfg.seed)
        return cls(module, count_mlm_steps(settings.objective, cfg.max_update))

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.num_updates < self.mlm_steps:
            batch = {name: value for name, value in batch.items() if name != "sample_uniforms"}
        return self.module(batch)  # type: ignore[no-any-return]


@register_criterion(NAME, dataclass=FairseqDataclass)
class ReplacedTokensLoss(FairseqCriterion):
    """The model's own loss, a mean over rows; a batch counts by its rows."""

    def __init__(self, cfg: FairseqDataclass, task: MaskedLMTask):
        super().__init__(task)
        self.dictionary = task.source_dictionary

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        rows = len(sample["target"])
        loss, measures = model(build_batch(sample, self.dictionary))
        logged = {name: value.detach() * rows for name, value in measures.items()}
        counts = {"ntokens": sample["ntokens"], "nsentences": rows, "sample_size": rows}
        return loss * rows, rows, {**logged, **counts}

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[dict[str, Any]]) -> None:
        size = sum(output["sample_size"] for output in logging_outputs)
        known = set.intersection(*(set(output) for output in logging_outputs))
        for name in sorted(known - {"ntokens", "nsentences", "sample_size"}):
            unit = math.log(2) if name in LOSSES else 1.0
            mean = sum(output[name] for output in logging_outputs) / size / unit
            metrics.log_scalar(name, mean, size, round=6)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return False  # the first updates have other measures

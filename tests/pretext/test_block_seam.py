"""A way of cutting text from outside: one class and one entry of the table, through pretraining."""

from __future__ import annotations

import json

import numpy as np

from selfpretrain.pretext.blocks import BlockBuilder, Epoch, Epochs, Rows, count_held_out
from selfpretrain.pretext.packing import BLOCK_BUILDERS


class Beginnings:
    """[CLS] the first tokens of a document [SEP], padded; a document's number is its start."""

    def __init__(self, tokens, sizes, ids, entries, config, data_seed):
        self.tokens, self.sizes, self.ids, self.seq_len = tokens, sizes.astype(np.int64), ids, config.seq_len
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.num_held_out = count_held_out(len(sizes), len(tokens), config)
        self.num_blocks = len(sizes) - self.num_held_out
        self.epochs = Epochs(self.num_blocks, data_seed)

    def get_starts(self, first, count):
        return self.epochs.draw(first, count)[1]

    def get_held_out_starts(self):
        return self.num_blocks + np.arange(self.num_held_out)

    def build(self, starts, rng):
        lengths = np.minimum(self.sizes[starts], self.seq_len - 1)[:, None]  # with the separator
        places = np.arange(self.seq_len) - 1
        source = self.offsets[starts][:, None] + np.clip(places, 0, lengths - 1)
        ids = np.where(places < lengths - 1, self.tokens[source], self.ids.sep_id).astype(np.int64)
        ids[:, 0] = self.ids.cls_id
        real = places < lengths
        return Rows(np.where(real, ids, self.ids.pad_id), mask=real)


def count_epoch(sizes, seq_len):
    return Epoch(len(sizes), float((np.minimum(sizes, seq_len - 1) + 1).sum()))


def test_a_way_of_cutting_text_is_one_entry(command, tiny, local, tmp_path, monkeypatch):
    monkeypatch.setitem(BLOCK_BUILDERS, "beginnings", BlockBuilder(Beginnings, count_epoch))
    arguments = [*tiny, *local(), "pretrain.packing=beginnings", "pretrain.peak_lr=0.01", "pretrain.schedule=constant"]
    arguments += [
        "pretrain.warmup_fraction=null",
        "runtime.log_every=1",
        "budget=epochs",
        "pretrain.budget_amount=0.08",
    ]
    assert command("pretrain", *arguments).code == 0
    (file,) = (tmp_path / "runs" / "pretrain").glob("*/result.json")
    result = json.loads(file.read_text())
    losses = [json.loads(line).get("loss") for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
    assert (file.parent / "status").read_text().strip() == "done"
    assert len([loss for loss in losses if loss is not None]) == 2 and losses[1] < losses[0] < 20
    assert result["epochs"] == 2 * 2 / 52 and 0 < result["held_out"]["loss"] < losses[0]
    assert 0 < result["tokens"] < result["positions"] == 2 * 2 * 32  # the rest is padding

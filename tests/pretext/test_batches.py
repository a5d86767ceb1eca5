"""Pretraining batches: what is chosen, what is masked and how often."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.config import ObjectiveConfig, PretrainConfig, UserError
from selfpretrain.pretext.batches import (
    PretrainBatches,
    apply_masks,
    choose_positions,
    count_chosen,
    repeat_first,
    weigh,
)
from selfpretrain.pretext.blocks import PackedBlocks, SpecialIds
from selfpretrain.pretext.objectives import OBJECTIVES, count_slots
from selfpretrain.pretext.segments import Marks, SegmentBlocks

CLS, SEP, MASK, VOCAB = 2, 3, 4, 1000
PAD, UNK = 0, 1
IDS = SpecialIds(CLS, SEP, MASK, PAD, UNK, (0, 1, 2, 3, 4), VOCAB)
RTD = ObjectiveConfig()
MLM = ObjectiveConfig(name="mlm", mask_token_prob=0.8, random_token_prob=0.1)


def make_text(count, seed=0):
    """Ordinary tokens with a separator about every 20."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 0.05, SEP, rng.integers(5, VOCAB, count)).astype(np.uint16)


# positions


@pytest.mark.parametrize(
    ("objective", "seq_len", "slots"),
    [
        (RTD, 128, 19),
        (RTD, 512, 77),
        (RTD, 64, 9),
        (RTD, 16, 2),
        (ObjectiveConfig(mask_prob=0.25), 512, 128),
        (MLM, 128, 19),
        (MLM, 512, 77),
        (MLM, 64, 10),
        (ObjectiveConfig(mask_prob=0.01), 16, 1),
        (ObjectiveConfig(name="mlm", mask_prob=0.01), 16, 1),
    ],
)
def test_number_of_chosen_positions(objective, seq_len, slots):
    # ELECTRA: round(p L), at most int((p + .005) L): 19 of 128 and 77 of 512
    assert count_slots(objective, seq_len) == slots


def draw(objective, rows=400, seq_len=64, seed=0, slots=None):
    ids = np.stack([np.r_[CLS, make_text(seq_len - 2, seed * rows + row), SEP] for row in range(rows)]).astype(np.int64)
    rng = np.random.default_rng(seed)
    slots = slots or count_slots(objective, seq_len)
    return ids, choose_positions(ids, IDS.special_ids, slots, OBJECTIVES[objective.name].with_replacement, rng), rng


@pytest.mark.parametrize("objective", [RTD, MLM], ids=["rtd", "mlm"])
def test_special_tokens_are_never_chosen_and_all_others_alike(objective):
    ids, positions, _ = draw(objective, rows=3000)
    assert positions.shape == (3000, count_slots(objective, 64))
    assert not np.isin(np.take_along_axis(ids, positions, 1), IDS.special_ids).any()
    counts = np.bincount(positions.ravel(), minlength=64)
    assert counts[0] == counts[63] == 0
    inner = counts[1:63]
    assert abs(inner - inner.mean()).max() < 5 * inner.mean() ** 0.5


def test_electra_draws_with_replacement_and_roberta_without():
    _, positions, _ = draw(RTD, rows=4000, seq_len=128, slots=19)
    assert (np.diff(positions) >= 0).all()
    unique = np.mean([len(set(row)) for row in positions.tolist()])
    ordinary = 126 * 0.95
    assert unique == pytest.approx(ordinary * (1 - (1 - 1 / ordinary) ** 19), abs=0.1)  # 17.7 of 19
    _, positions, _ = draw(MLM, rows=1000, seq_len=128)
    assert (np.diff(positions) > 0).all()


def test_rows_with_fewer_tokens_than_slots_repeat_them():
    ids = np.array([[CLS, 7, SEP, SEP, SEP, SEP, 8, SEP]])
    positions = choose_positions(ids, IDS.special_ids, 4, False, np.random.default_rng(0))
    assert set(positions.ravel()) <= {1, 6}
    assert np.bincount(positions.ravel()).tolist() == [0, 2, 0, 0, 0, 0, 2]  # each as often
    with pytest.raises(UserError, match="special tokens only"):
        choose_positions(np.array([[CLS, SEP, SEP]]), IDS.special_ids, 1, False, np.random.default_rng(0))


def test_a_row_with_few_ordinary_tokens_changes_no_other_row():
    ids, positions, _ = draw(MLM, rows=50, seq_len=64)
    ids[7, 5:-1] = SEP  # four ordinary tokens, ten slots
    again = choose_positions(ids, IDS.special_ids, 10, False, np.random.default_rng(0))
    others = np.arange(50) != 7
    assert (again[others] == positions[others]).all()
    assert (np.diff(again[others]) > 0).all()  # without replacement
    assert set(again[7].tolist()) == set(range(1, 5))


@pytest.mark.parametrize("objective", [RTD, MLM], ids=["rtd", "mlm"])
def test_a_row_may_have_fewer_positions_than_slots(objective):
    ids, _, rng = draw(objective, rows=3000, seq_len=64)
    counts = rng.integers(1, 10, len(ids))
    positions = choose_positions(ids, IDS.special_ids, 9, objective is RTD, rng, counts)
    assert (np.diff(positions) >= 0).all()
    used = np.arange(9) < counts[:, None]
    assert (positions == np.where(used, positions, np.max(positions, axis=1, keepdims=True))).all()
    spread = np.bincount(positions[used], minlength=64)[1:63]  # a cut-off sample must not prefer the beginning
    assert abs(spread - spread.mean()).max() < 5 * spread.mean() ** 0.5


def test_positions_are_the_share_of_the_real_tokens():
    mask = np.arange(128) < np.array([[2], [10], [17], [64], [128]])
    assert count_chosen(mask, 0.15, 19).tolist() == [1, 2, 3, 10, 19]  # 1.5 and 2.55; numpy rounds half to even
    assert count_chosen(mask, 0.15, 15).tolist() == [1, 2, 3, 10, 15]


def test_weights_turn_means_over_places_into_means_over_what_is_real():
    mask, used = np.arange(8) < np.array([[8], [3], [5]]), np.arange(2) < np.array([[2], [1], [1]])
    weights = weigh(mask, used)
    values = np.random.default_rng(0).random((3, 8))
    parts = [(values[rows] * weights["token_weights"][rows]).sum(1).mean() for rows in (slice(0, 2), slice(2, 3))]
    assert 2 / 3 * parts[0] + 1 / 3 * parts[1] == pytest.approx(values[mask].mean())  # in two micro-batches
    assert (values[:, :2] * weights["slot_weights"]).mean() == pytest.approx(values[:, :2][used].mean())
    assert weights["num_tokens"].tolist() == [8, 3, 5]


def test_a_position_drawn_twice_keeps_the_values_of_its_first_draw():
    positions = np.array([[1, 1, 1, 4, 6, 6], [0, 1, 2, 3, 4, 5]])
    values = np.arange(12.0).reshape(2, 6)
    assert repeat_first(values, positions).tolist() == [[0, 0, 0, 3, 4, 4], [6, 7, 8, 9, 10, 11]]


# masks


def count_masks(objective, slots=None):
    """How often chosen positions became the mask token, another token, or stayed."""
    totals = np.zeros(3)
    for seed in range(5):
        ids, positions, rng = draw(objective, rows=2000, seed=seed, slots=slots)
        masked = apply_masks(ids, positions, objective, IDS, rng)
        chosen = np.zeros(ids.shape, bool)
        np.put_along_axis(chosen, positions, True, axis=1)
        assert (masked[~chosen] == ids[~chosen]).all()
        before, after = ids[chosen], masked[chosen]
        totals += [(after == MASK).sum(), ((after != MASK) & (after != before)).sum(), (after == before).sum()]
        assert not np.isin(after[after != MASK], IDS.special_ids).any()
    return totals / totals.sum(), totals.sum()


def test_electra_masks_85_and_keeps_15_percent():
    shares, count = count_masks(RTD)
    assert shares[1] == 0  # never a random token
    assert abs(shares[0] - 0.85) < 4 * (0.85 * 0.15 / count) ** 0.5


def test_roberta_masks_80_replaces_10_and_keeps_10_percent():
    shares, count = count_masks(MLM)
    assert abs(shares[0] - 0.8) < 4 * (0.8 * 0.2 / count) ** 0.5
    # one in 995 random tokens is the token itself
    assert abs(shares[1] - 0.1 * 994 / 995) < 4 * (0.1 * 0.9 / count) ** 0.5
    assert abs(shares[2] - 0.1 * 996 / 995) < 4 * (0.1 * 0.9 / count) ** 0.5


def test_a_position_drawn_twice_is_decided_once():
    # were it masked by any of its draws, a position drawn n times would stay with probability .15^n only
    shares, count = count_masks(RTD, slots=120)
    assert abs(shares[0] - 0.85) < 4 * (0.85 * 0.15 / count) ** 0.5


def test_random_tokens_are_spread_over_the_ordinary_vocabulary():
    objective = ObjectiveConfig(name="mlm", mask_token_prob=0.0, random_token_prob=1.0)
    special = SpecialIds(CLS, SEP, MASK, PAD, UNK, (0, 1, 2, 3, 4), 25)
    ids = np.full((500, 100), 5)
    positions = np.broadcast_to(np.arange(100), ids.shape)
    counts = np.bincount(
        apply_masks(ids, positions, objective, special, np.random.default_rng(0)).ravel(), minlength=25
    )
    assert not counts[:5].any()
    assert abs(counts[5:] - 2500).max() < 5 * 2500**0.5


# batches


def make_batches(packing, objective):
    text = make_text(5000)
    if packing == "full":
        return PretrainBatches(PackedBlocks(text, IDS, PretrainConfig(seq_len=32), 1), objective, 8, 2)
    ends = np.flatnonzero(np.r_[text[:-1] == SEP, True])  # a document may hold nothing but its separator
    sizes = np.diff(np.r_[-1, ends]).astype(np.int32)
    marks = Marks(np.arange(VOCAB) % 9 == 5, np.zeros(VOCAB, bool))
    return PretrainBatches(SegmentBlocks(text, sizes, IDS, marks, PretrainConfig(seq_len=32), 1), objective, 8, 2)


@pytest.mark.parametrize("packing", ["full", "segments"])
@pytest.mark.parametrize("objective", [RTD, MLM], ids=["rtd", "mlm"])
def test_a_batch_is_a_function_of_its_step_alone(objective, packing):
    def make():
        return make_batches(packing, objective)

    batches = make()
    straight = [batches[step] for step in range(40)]  # several epochs
    fresh = make()
    fresh.get_held_out()
    for step in (39, 3, 17, 3, 0):
        again = fresh[step]
        assert again.keys() == straight[step].keys()
        assert all((again[name] == straight[step][name]).all() for name in again)
    keys = {"input_ids", "original_ids", "masked_positions"} | ({"sample_uniforms"} if objective is RTD else set())
    padded = {"token_type_ids", "attention_mask", "num_tokens", "token_weights", "slot_weights"}
    assert set(straight[0]) == keys | (padded if packing == "segments" else set())


def test_the_first_steps_are_the_same_without_numbers_to_sample_by():
    plain = make_batches("segments", RTD)
    batches = PretrainBatches(plain.blocks, RTD, 8, 2, mlm_steps=3)
    for step in range(6):
        batch, whole = batches[step], plain[step]
        assert set(whole) - set(batch) == ({"sample_uniforms"} if step < 3 else set())
        assert all((batch[name] == whole[name]).all() for name in batch)
    assert "sample_uniforms" in batches.get_held_out()


@pytest.mark.parametrize("objective", [RTD, MLM], ids=["rtd", "mlm"])
def test_nothing_is_chosen_from_padding(objective):
    for step in range(20):
        batches = make_batches("segments", objective)
        batch, slots = batches[step], batches.slots
        inside = np.take_along_axis(batch["attention_mask"], batch["masked_positions"], 1)
        assert inside.all()
        assert (batch["input_ids"][~batch["attention_mask"]] == PAD).all()
        assert ((batch["slot_weights"] > 0).sum(1) == count_chosen(batch["attention_mask"], 0.15, slots)).all()


def test_masks_change_from_step_to_step_and_with_the_mask_seed_only():
    blocks = PackedBlocks(make_text(5000), IDS, PretrainConfig(seq_len=32), 1)
    text = (
        np.arange(1005, 5005, dtype=np.int32) % 4000
    )  # without separators inside, a position is the rank that was drawn
    plain = PackedBlocks(5 + text, IDS, PretrainConfig(seq_len=16), 0)
    steps = [PretrainBatches(plain, RTD, 8, 2)[step] for step in range(30)]
    for name in ("masked_positions", "sample_uniforms"):
        assert len({step[name].tobytes() for step in steps}) == 30
    first, other = (PretrainBatches(blocks, RTD, 8, seed)[0] for seed in (2, 3))
    assert (first["original_ids"] == other["original_ids"]).all()
    assert (first["masked_positions"] != other["masked_positions"]).any()
    assert (first["sample_uniforms"] != other["sample_uniforms"]).any()
    moved = PretrainBatches(PackedBlocks(make_text(5000), IDS, PretrainConfig(seq_len=32), 9), RTD, 8, 2)[0]
    assert (first["original_ids"] != moved["original_ids"]).any()


def test_the_inputs_of_a_batch_fit_together():
    batches = PretrainBatches(PackedBlocks(make_text(20_000), IDS, PretrainConfig(seq_len=64), 1), RTD, 64, 2)
    batch = batches[3]
    assert batch["masked_positions"].shape == batch["sample_uniforms"].shape == (64, 9)
    assert batch["sample_uniforms"].dtype == np.float32
    assert batch["sample_uniforms"].min() >= 0 and batch["sample_uniforms"].max() < 1
    assert not np.isin(np.take_along_axis(batch["original_ids"], batch["masked_positions"], 1), IDS.special_ids).any()
    changed = batch["input_ids"] != batch["original_ids"]
    rows, columns = np.nonzero(changed)
    assert all(column in batch["masked_positions"][row] for row, column in zip(rows, columns, strict=True))
    # the same position gets the same uniform number, else the generator's token would depend on the order of writing
    same = batch["masked_positions"][:, 1:] == batch["masked_positions"][:, :-1]
    assert same.any()
    assert (batch["sample_uniforms"][:, 1:] == batch["sample_uniforms"][:, :-1])[same].all()
    assert (batch["sample_uniforms"][:, 1:] != batch["sample_uniforms"][:, :-1])[~same].all()


def test_held_out_blocks_are_masked_once_and_for_all():
    batches = PretrainBatches(PackedBlocks(make_text(5000), IDS, PretrainConfig(seq_len=32), 1), RTD, 8, 2)
    first, again = batches.get_held_out(), batches.get_held_out()
    assert len(first["input_ids"]) == batches.blocks.num_held_out
    assert all((first[name] == again[name]).all() for name in first)

"""The Multi-Bootstrap against the published code's numbers, against a plain loop, and in simulation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfpretrain.stats import METRICS, multibootstrap, resampling
from selfpretrain.stats.metrics import SUMS
from selfpretrain.tasks.scores import compute_metric

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "multibootstrap.json").read_text())
MODES: dict[str, dict[str, bool]] = {
    "paired": {"paired": True},
    "unpaired": {"paired": False},
    "seeds_only_paired": {"paired": True, "resample_examples": False},
    "examples_only": {"paired": True, "resample_seeds": False},
}
SEEDS = np.repeat(np.arange(5), 2)


def make_golden_data() -> tuple[Any, tuple[Any, Any]]:
    """5 seeds x 2 fine-tunings x 60 examples, wrong where a fixed hash is small."""
    example, seed, run = np.arange(60), np.repeat(np.arange(5), 2)[:, None], np.tile([0, 1], 5)[:, None]
    labels = (7 * example + 3) % 3
    mix = 31 * example + 17 * seed + 13 * run
    base = np.where((mix + 5) % 100 < 38, (labels + 1) % 3, labels)
    expt = np.where(mix % 100 < 30, (labels + 1) % 3, labels)
    return labels, (base, expt)


def compare(data: Any = None, metric: Any = "accuracy", **changes: Any) -> Any:
    """By percentiles, the published procedure; ``test_intervals`` has those by t."""
    changes = {"method": "percentile", **changes}
    labels, predictions = data or make_golden_data()
    settings = {"base_seeds": SEEDS, "expt_seeds": SEEDS, "paired": True, "num_replicates": 200, **changes}
    return multibootstrap(predictions, labels, metric, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_reference_order_reproduces_the_published_code(mode: str) -> None:
    result = compare(num_replicates=500, seed=42, draw_order="reference", **MODES[mode])
    golden = GOLDEN[mode]
    for side in ("base", "expt", "delta"):
        for field in ("mean", "low", "high"):
            assert getattr(getattr(result, side), field) == pytest.approx(golden[side][field], abs=1e-12)
    first = np.stack([result.samples.base, result.samples.expt], axis=1)[:3]
    np.testing.assert_allclose(first, golden["first3"], rtol=0, atol=1e-12)
    assert result.p == pytest.approx(golden["delta"]["p"], abs=1e-12)
    less = compare(num_replicates=500, seed=42, draw_order="reference", alternative="less", **MODES[mode])
    assert less.p == pytest.approx(golden["p_if_expect_negative"], abs=1e-12)
    np.testing.assert_allclose(
        np.concatenate([result.base_run_scores, result.expt_run_scores]), GOLDEN["per_run_acc"], atol=1e-6
    )


@pytest.mark.parametrize("mode", MODES)
def test_fast_order_agrees_within_monte_carlo_error(mode: str) -> None:
    result = compare(num_replicates=4000, seed=1, **MODES[mode])
    for side in ("base", "expt", "delta"):
        mine, golden = getattr(result, side), GOLDEN[mode][side]
        error = np.std(getattr(result.samples, side)) * (1 / 4000 + 1 / 500) ** 0.5
        assert mine.mean == pytest.approx(golden["mean"], abs=4 * error)
        assert mine.low == pytest.approx(golden["low"], abs=12 * error)  # quantiles vary about three times more
        assert mine.high == pytest.approx(golden["high"], abs=12 * error)
    assert result.base.point == pytest.approx(371 / 600, abs=1e-12)
    assert result.expt.point == pytest.approx(422 / 600, abs=1e-12)
    assert result.delta.point == pytest.approx(51 / 600, abs=1e-12)


def loop_over_replicates(
    metric: str, labels: Any, predictions: Any, seeds: Any, paired: bool, num_replicates: int, seed: int
) -> Any:
    """The procedure in words: draw seeds, draw examples, score, average within a seed, then over seeds."""
    rng = np.random.RandomState(seed)
    samples = []
    for _ in range(num_replicates):
        drawn: list[Any] = []
        for side in range(2):
            known = np.unique(seeds[side])
            drawn.append(drawn[0] if paired and side else rng.choice(known, len(known)))
        examples = rng.choice(len(labels), len(labels))
        means = []
        for side in range(2):
            of_seed = []
            for one in drawn[side]:
                runs = np.flatnonzero(np.asarray(seeds[side]) == one)
                scores = [compute_metric(metric, labels[examples], predictions[side][run, examples]) for run in runs]
                of_seed.append(np.mean(scores))
            means.append(np.mean(of_seed))
        samples.append(means)
    return np.array(samples)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_equals_the_loop(metric: str, paired: bool, draw_sums: Any) -> None:
    rng = np.random.default_rng(3)
    seeds = (["b", "a", "c", "a"], ["c", "a", "b", "b"])  # unequal numbers of fine-tunings, unsorted
    labels: Any
    predictions: Any
    if METRICS[metric].takes == SUMS:
        labels, both = draw_sums(rng, 8, 60)
        predictions = [both[:4], both[4:]]
    elif metric == "micro_auc":
        labels = (rng.random((60, 2)) < 0.4).astype(int)
        predictions = [(labels + rng.normal(size=(4, 60, 2))).round(1) for _ in range(2)]
    elif metric in ("pearson", "spearman"):
        labels = rng.integers(0, 4, 60) / 2
        predictions = [labels + rng.normal(size=(4, 60)) for _ in range(2)]
    else:
        labels = rng.integers(0, 2, 60)
        predictions = [np.where(rng.random((4, 60)) < 0.7, labels, 1 - labels) for _ in range(2)]
    result = multibootstrap(
        (predictions[0], predictions[1]), labels, metric, base_seeds=seeds[0], expt_seeds=seeds[1], paired=paired,
        method="percentile", num_replicates=200, seed=5, draw_order="reference",
    )  # fmt: skip
    expected = loop_over_replicates(metric, labels, predictions, seeds, paired, 8, 5)
    np.testing.assert_allclose(result.samples.base[:8], expected[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.samples.expt[:8], expected[:, 1], rtol=0, atol=1e-12)


def test_function_as_metric_equals_the_named_one() -> None:
    by_name = compare()
    by_function = compare(metric=lambda y_true, y_pred: float(np.mean(y_true == y_pred)))
    np.testing.assert_allclose(by_function.samples.delta, by_name.samples.delta, rtol=0, atol=1e-12)
    assert by_name.metric == "accuracy"


def test_chunks_and_repetition_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare()
    monkeypatch.setattr(resampling, "_CHUNK_BYTES", 7 * 4 * 60)
    np.testing.assert_array_equal(compare().samples.delta, whole.samples.delta)
    assert not np.array_equal(compare(seed=1).samples.delta, whole.samples.delta)


def test_p_is_floored_and_says_so() -> None:
    result = compare()
    assert result.p == 1 / 200 and result.p_is_floor
    assert any("floor" in note for note in result.notes)
    other = compare(alternative="less")
    assert other.p == 1.0 and not other.p_is_floor


def test_identical_sides_are_no_difference() -> None:
    labels, (base, _) = make_golden_data()
    result = compare((labels, (base, base.copy())))
    assert result.p == 1.0 and not result.p_is_floor
    assert (result.delta.mean, result.delta.low, result.delta.high) == (0.0, 0.0, 0.0)


def test_seed_counts_are_noted() -> None:
    labels, (base, expt) = make_golden_data()
    single = compare((labels, (base[:2], expt[:2])), base_seeds=[0, 0], expt_seeds=[0, 0])
    assert single.num_base_seeds == 1 and len(single.base_run_scores) == 2
    assert any("contributes nothing" in note for note in single.notes)
    three = compare((labels, (base[:6], expt[:6])), base_seeds=SEEDS[:6], expt_seeds=SEEDS[:6])
    assert any("2/3" in note for note in three.notes)
    assert not any("seeds for" in note for note in compare().notes)


def test_undefined_replicates_are_dropped_or_zeroed_and_counted() -> None:
    labels = np.array([1, 0, 0, 0])
    seeds = {"base_seeds": [0], "expt_seeds": [0], "num_replicates": 300}
    classes = np.array([[1, 0, 0, 0]])
    zeroed = compare((labels, (classes, classes)), "mcc", **seeds)
    assert len(zeroed.samples.base) == 300 and zeroed.num_dropped == 0
    lacking = int((zeroed.samples.base == 0).sum())
    assert lacking > 50  # a replicate lacks example 0 with probability (3/4)^4 = 0.32
    assert any(note.startswith(f"{lacking} of 300 replicates hold") for note in zeroed.notes)
    scores = np.array([[0.9, 0.1, 0.2, 0.3]])
    dropped = compare((labels, (scores, scores)), "micro_auc", **seeds)
    assert dropped.num_dropped == lacking and len(dropped.samples.delta) == 300 - lacking
    assert any(note.startswith(f"{lacking} of 300 replicates left out") for note in dropped.notes)


def test_too_many_undefined_replicates_are_refused() -> None:
    labels, scores = np.array([1, 0]), np.array([[0.9, 0.1]])
    with pytest.raises(ValueError, match=r"undefined in .* replicates"):
        compare((labels, (scores, scores)), "micro_auc", base_seeds=[0], expt_seeds=[0])


def test_run_without_a_score_is_named() -> None:
    labels, good = np.arange(10.0), np.arange(20.0).reshape(2, 10)
    bad = np.stack([good[0], np.full(10, 0.1)])
    with pytest.raises(ValueError, match=r"undefined for expt run 1 \(seed 1\)"):
        compare((labels, (good, bad)), "pearson", base_seeds=[0, 1], expt_seeds=[0, 1])


def test_constant_classes_score_zero_mcc_with_a_note() -> None:
    labels, (base, _) = make_golden_data()
    result = compare((labels, (np.zeros_like(base), base)), "mcc")
    assert result.base.point == 0.0 and result.expt.point > 0.3
    assert any(note.startswith("10 of 10 runs of base predict one value only") for note in result.notes)


IDS = [f"e{i}" for i in range(60)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, b, e: ((y, (b.T, e)), {}), "swapped, pass base.T"),
        (lambda y, b, e: ((y[:10], (b, e)), {}), "swapped"),  # as many labels as runs
        (lambda y, b, e: ((y[:50], (b, e)), {}), "50 labels"),
        (lambda y, b, e: ((y, (b, e[:, :50])), {}), "expt holds 10 runs x 50 examples"),
        (lambda y, b, e: ((y, (b[0], e)), {}), "base has shape"),
        (lambda y, b, e: ((y, (b[:0], e)), {}), "at least one"),
        (lambda y, b, e: ((y[:0], (b[:, :0], e[:, :0])), {}), "empty"),
        (lambda y, b, e: ((y, (b,)), {}), "pair"),
        (lambda y, b, e: ((y, (b, e)), {"base_seeds": SEEDS[:9]}), "10 runs but 9 seeds"),
        (lambda y, b, e: ((y, (b, e)), {"expt_seeds": SEEDS + 1}), "seed 0 is in base but not in expt"),
        (lambda y, b, e: ((y, (b, e)), {"base_seeds": SEEDS + 1}), "seed 5 is in base but not in expt"),
        (lambda y, b, e: ((y, (b, e)), {"base_seeds": ["x", *SEEDS[1:].tolist()]}), "mix types"),
        (lambda y, b, e: ((y, (b, e)), {"base_seeds": np.where(SEEDS, SEEDS, np.nan)}), "seeds hold NaN"),
        (lambda y, b, e: ((y, (b, e)), {"base_ids": IDS, "expt_ids": IDS[::-1]}), "sort both by id"),
        (lambda y, b, e: ((y, (b, e)), {"base_ids": IDS, "expt_ids": [*IDS[:-1], "x"]}), "different examples"),
        (lambda y, b, e: ((y, (b, e)), {"base_ids": IDS, "expt_ids": IDS[:-1]}), "59 example ids"),
        (lambda y, b, e: ((y, (b, e)), {"base_ids": ["a"] * 60, "expt_ids": ["a"] * 60}), "duplicate"),
        (lambda y, b, e: ((y, (b, e)), {"base_ids": IDS}), "not for expt"),
        (lambda y, b, e: ((y, (b, np.where(e == 1, np.nan, e))), {}), "NaN"),
        (lambda y, b, e: ((y, (b.astype(float), e)), {}), "class numbers"),
        (lambda y, b, e: ((y.astype(float), (b, e)), {}), "labels of type float64"),
        (lambda y, b, e: ((y.astype(str), (b, e)), {}), "wants numbers"),
        (lambda y, b, e: ((y - 1, (b, e)), {}), "classes are 0, 1"),
        (lambda y, b, e: ((y, (b, e - 1)), {}), "classes are 0, 1"),
        (lambda y, b, e: ((y, (b, e)), {"metric": "f1"}), "macro_f1"),
        (lambda y, b, e: ((y, (b, e)), {"metric": "bleu"}), "unknown"),
        (lambda y, b, e: ((y, (b, e)), {"num_replicates": 199}), "at least 200"),
        (lambda y, b, e: ((y, (b, e)), {"method": "bca"}), "method='bca' is unknown"),
        (lambda y, b, e: ((y[:1], (b[:, :1], e[:, :1])), {"method": "t"}), "at least 2 examples"),
        (lambda y, b, e: ((y, (b, e)), {"seed": -1}), "seed=-1"),
        (lambda y, b, e: ((y, (b, e)), {"confidence": 95}), "between 0 and 1"),
        (lambda y, b, e: ((y, (b, e)), {"alternative": "two-sided"}), "greater"),
        (lambda y, b, e: ((y, (b, e)), {"draw_order": "random"}), "draw_order"),
        (lambda y, b, e: ((y, (b, e)), {"resample_seeds": False, "resample_examples": False}), "nothing to resample"),
        (lambda y, b, e: ((y, ([[0, 1], [0]], e)), {}), "rectangular"),
    ],
)
def test_refuses_in_one_line(change: Any, message: str) -> None:
    labels, (base, expt) = make_golden_data()
    data, settings = change(labels, base, expt)
    with pytest.raises(ValueError, match=message) as caught:
        compare(data, settings.pop("metric", "accuracy"), **settings)
    assert "\n" not in str(caught.value)


def test_square_input_is_noted() -> None:
    labels = np.array([0, 1, 0])
    runs = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 0]])
    result = compare((labels, (runs, runs)), base_seeds=[0, 1, 2], expt_seeds=[0, 1, 2])
    assert any("rows are runs" in note for note in result.notes)


def simulate(rng: np.random.Generator, effect: float) -> tuple[Any, tuple[Any, Any]]:
    """Two procedures, 10 independent seeds each, 150 examples; skill varies by seed, difficulty by example."""
    difficulty = rng.normal(size=150)
    sides = []
    for mean in (0.5, 0.5 + effect):
        skill = rng.normal(mean, 0.2, size=(10, 1))
        sides.append((skill + difficulty + rng.normal(size=(10, 150)) > 0).astype(int))
    return np.ones(150, dtype=int), (sides[0], sides[1])


def test_ablating_an_axis_narrows_the_interval() -> None:
    data = simulate(np.random.default_rng(0), 0.2)
    settings = {"base_seeds": np.arange(10), "expt_seeds": np.arange(10), "paired": False, "num_replicates": 500}
    both = compare(data, **settings)
    for axis in ("resample_seeds", "resample_examples"):
        one = compare(data, **settings, **{axis: False})
        assert one.base.high - one.base.low < both.base.high - both.base.low
        assert any("not resampled" in note for note in one.notes)


def test_import_brings_in_nothing_heavy() -> None:
    code = "import sys, selfpretrain.stats; print(sorted({'scipy', 'sklearn', 'torch', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

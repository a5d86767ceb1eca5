"""Randomness is a pure function of (seed, purpose, counters)."""

from __future__ import annotations

import itertools

import pytest

from selfpretrain.seeds import PURPOSES, derive_seed, make_generator


def test_the_same_key_gives_the_same_stream():
    assert (make_generator(3, "mask", 7).random(50) == make_generator(3, "mask", 7).random(50)).all()


def test_every_part_of_the_key_matters():
    keys = [*itertools.product((0, 1, 2), PURPOSES, (0, 1, 2))]
    draws = {make_generator(seed, purpose, counter).integers(2**62) for seed, purpose, counter in keys}
    assert len(draws) == len(keys)
    assert len({derive_seed(seed, purpose, counter) for seed, purpose, counter in keys}) == len(keys)


def test_order_of_the_counters_matters():
    assert derive_seed(0, "dropout", 1, 2) != derive_seed(0, "dropout", 2, 1)


def test_streams_never_change_between_versions():
    # a stored number: if this changes, finished and resumed runs no longer fit together
    assert derive_seed(0, "init") == 6_102_389_744_414_414_618
    assert make_generator(1, "mask", 5).integers(0, 1000, 4).tolist() == [917, 441, 948, 522]


def test_torch_seeds_fit_63_bits():
    seeds = [derive_seed(seed, "dropout", step) for seed in range(20) for step in range(20)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # and use them


def test_neighbouring_streams_are_unrelated():
    first, second = (make_generator(0, "sample", step).random(20_000) for step in (1, 2))
    assert abs(((first - 0.5) * (second - 0.5)).mean() * 12) < 0.03


def test_an_unknown_purpose_is_refused():
    with pytest.raises(ValueError, match="not in tuple"):
        make_generator(0, "masks")

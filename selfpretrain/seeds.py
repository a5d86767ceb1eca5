"""Randomness as a pure function of (seed, purpose, counters): nothing has to be saved to resume."""

from __future__ import annotations

import numpy as np

PURPOSES = ("order", "offset", "mask", "sample", "segments", "init", "dropout", "head", "subset")


def make_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """numpy's random stream of (seed, purpose, counters)."""
    key = np.random.SeedSequence([seed, PURPOSES.index(purpose), *counters])
    return np.random.Generator(np.random.Philox(key))


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """An integer seed for torch, 63 bits."""
    state = np.random.SeedSequence([seed, PURPOSES.index(purpose), *counters]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))

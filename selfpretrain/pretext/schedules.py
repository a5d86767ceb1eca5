"""When the encoder of a pretraining is kept on the way: rules, as shares of its steps, and the steps they come to."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from selfpretrain.config import UserError

RULE, CHECKPOINTS = "pretrain.checkpoint_schedule", "study.checkpoints"
OF_RULE = "schedule"  # in study.checkpoints: those of the rule
FIRST = 1e-3  # share of the steps before the first of log:<number>
MOST = 1000  # checkpoints of a rule
_ALLOWED = f"allowed: multiberts, log:<number from 2 to {MOST}>, every:<share from {1 / MOST:g} to below 1>"

# every 1 % of the steps to 10 %, then every 5 %: published as every 20k to 200k, then every 100k to 2M [MultiBERTs]
MULTIBERTS = tuple(percent / 100 for percent in (*range(1, 11), *range(15, 100, 5)))


def list_shares(rule: str | None) -> tuple[float, ...]:
    """The shares of the steps after which the encoder is kept, in order, the last step, which always is, left out.

    Args:
        rule: multiberts (28 with the last), log:<number> (so many with the last, their distances growing by one factor
            from a thousandth of the steps on), every:<share>; None: none.

    Raises:
        UserError: no such rule, or a number that cannot be.
    """
    if rule is None:
        return ()
    if rule == "multiberts":
        return MULTIBERTS
    if (found := re.fullmatch(r"log:([0-9]+)", rule)) and 2 <= int(found[1]) <= MOST:
        number = int(found[1])
        return tuple(round(FIRST ** (1 - place / (number - 1)), 12) for place in range(number - 1))
    if (found := re.fullmatch(r"every:([0-9]*\.?[0-9]+)", rule)) and Fraction(1, MOST) <= Fraction(found[1]) < 1:
        share = Fraction(found[1])  # as it was written: .1 three times is .3
        return tuple(float(place * share) for place in range(1, math.ceil(1 / share)))
    raise UserError(f"{RULE}={rule} is no schedule; {_ALLOWED}")


def is_log(rule: str | None) -> bool:
    """Whether a rule's checkpoints lie closer at the beginning."""
    return rule is not None and (rule == "multiberts" or rule.startswith("log:"))


def round_shares(shares: Iterable[float], total_steps: int) -> list[int]:
    """Numbers of completed steps, in order, each once; never the last, which is kept anyway."""
    return sorted({max(1, round(share * total_steps)) for share in shares} - {total_steps})


def choose_steps(shares: Iterable[float], total_steps: int, key: str) -> list[int]:
    """:func:`round_shares` where every share has a step of its own; ``key`` is the setting, with its value.

    Raises:
        UserError: there are too few steps for that; it names the fewest that do.
    """
    listed = sorted(set(shares))
    if not _fits(listed, total_steps):
        raise UserError(
            f"{key} has {len(listed) + 1} checkpoints, and {total_steps} steps of pretraining are too few to tell them "
            f"apart; it needs at least {find_fewest_steps(listed)} (pretrain.total_steps)"
        )
    return round_shares(listed, total_steps)


def find_fewest_steps(shares: Sequence[float]) -> int:
    """From which number of steps on every share, in order, has a step of its own, whatever the number."""
    ends = (0.0, *shares, 1.0)
    steps = math.ceil(1 / min(after - before for before, after in itertools.pairwise(ends))) + 1
    while _fits(shares, steps - 1):
        steps -= 1
    return steps


def _fits(shares: Sequence[float], total_steps: int) -> bool:
    steps = [0, *(round(share * total_steps) for share in shares), total_steps]
    return all(before < after for before, after in itertools.pairwise(steps))


def choose_checkpoint_shares(checkpoints: Sequence[Any], rule: str | None) -> tuple[float, ...]:
    """The shares of ``study.checkpoints`` in order, those of the rule where it names that; UserError for any other form."""
    shares: set[float] = set()
    for entry in checkpoints:
        if entry == OF_RULE and rule is None:
            raise UserError(f"{CHECKPOINTS}=[{OF_RULE}] needs {RULE}=<rule>; {_ALLOWED}")
        if entry == OF_RULE:
            shares |= {*list_shares(rule)}
        elif type(entry) in (int, float) and 0 < entry < 1:
            shares.add(float(entry))
        else:
            allowed = f"numbers above 0 and below 1, and {OF_RULE}"
            raise UserError(f"{CHECKPOINTS}={list(checkpoints)} has {entry!r}; allowed: {allowed}")
    return tuple(sorted(shares))

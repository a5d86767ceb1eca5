"""What a study compares seed by seed: pairs of conditions, and how far a procedure's difference hangs on the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from selfpretrain.config import UserError
from selfpretrain.study.conditions import find_condition


class Comparison(NamedTuple):
    """A weighted sum of conditions' scores, of one seed number after the other."""

    first: str  # in words: the first minus the second
    second: str
    conditions: tuple[str, ...]  # (a, b): a - b; (a, b, c, d): (a - b) - (c - d)

    @property
    def name(self) -> str:
        return f"{self.first} - {self.second}"

    @property
    def is_interaction(self) -> bool:
        return len(self.conditions) > 2


def list_comparisons(
    pairs: Sequence[Any], conditions: Sequence[str], factors: Mapping[str, int] | None = None
) -> list[Comparison]:
    """Every <procedure>:<text> against its <text>, the pairs given, and every procedure on one text against another.

    UserError for a pair that is none of two of the study's ``conditions``, or that no seed pairs, as none does the
    study's levels of crossed ``factors`` with the numbers of released seeds.
    """
    given = [_check_pair(pair, conditions, factors or {}) for pair in pairs]
    known = [frozenset(pair) for pair in given]
    for pair in known:
        if known.count(pair) > 1:
            raise UserError(f"study.pairs compares {' and '.join(sorted(pair))} twice; give each pair once")
    rows = [row for row in map(find_condition, conditions) if row.procedures and row.plain in conditions]
    own = [(row.key, row.plain) for row in rows if frozenset((row.key, row.plain)) not in known]
    found = [Comparison(*pair, pair) for pair in (*own, *given)]
    for one, other in combinations(rows, 2):
        if one.procedures == other.procedures:
            by = "+".join(one.procedures)
            sides = one.key, one.plain, other.key, other.plain
            found.append(Comparison(f"{by} on {one.plain}", f"{by} on {other.plain}", sides))
    return found


def _check_pair(pair: Any, conditions: Sequence[str], factors: Mapping[str, int]) -> tuple[str, str]:
    if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1] or not all(isinstance(n, str) for n in pair):
        raise UserError(f"study.pairs has {pair!r}; allowed: [[<condition>, <another condition>], ...]")
    for name in pair:
        if name not in conditions:
            raise UserError(
                f"study.pairs has {name!r}, which is not among study.conditions={list(conditions)}; add it there"
            )
        if find_condition(name).is_released:
            raise UserError(
                f"study.pairs has {name}, which is one pretraining whatever the seed: no seed pairs it; leave it out"
            )
        if find_condition(name).released and len(factors) > 1:
            raise UserError(
                f"study.pairs has {name}, whose seeds are numbers, and study.seed_factors={dict(factors)} makes the study's "
                "levels: no seed pairs them; leave the pair out, or name one factor"
            )
    return pair[0], pair[1]

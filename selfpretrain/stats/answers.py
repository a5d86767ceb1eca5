"""SQuAD's official scores of an answer in words: exact match and F1 of the words [Rajpurkar et al. 2016, evaluate-v1.1.py].

Written anew, from the rules of that script: case, punctuation, articles and the amount of white space make no difference.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))  # ASCII's; other marks stay
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, then without articles, its words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def score_answer(given: str, accepted: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1, 0 to 1, of one answer: each the best over the accepted ones, of which there is at least one.

    Where nothing is left of both, as of "the" and "a", they match and their F1 is 0: so the official script says.
    """
    normalised = normalise_answer(given)
    wanted = [normalise_answer(answer) for answer in accepted]
    return float(normalised in wanted), max(_compute_f1(normalised.split(), words.split()) for words in wanted)


def _compute_f1(given: list[str], wanted: list[str]) -> float:
    num_same = (Counter(given) & Counter(wanted)).total()
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(given), num_same / len(wanted)
    return 2 * precision * recall / (precision + recall)

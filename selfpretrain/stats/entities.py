"""Named entities of tagged sentences, and what a sentence adds to their F1. No torch.

Read as conlleval does, and seqeval by default: an entity begins at B or S, at any tag behind O, behind E or S, and where
the type changes; it ends where the next one begins, or before O. So IOB1, IOB2 and IOBES are read by one rule, and a broken
sequence (I behind O, another type behind B) has entities, too, and is never refused. Of BILOU, L is E and U is S. Plain tags,
without a prefix, are entities as long as they stay the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

OUTSIDE = "O"
# by scheme, the prefixes of its tags; of schemes that have all those that occur, the first is meant
SCHEMES = {"iob": "BI", "iobes": "BIES", "bilou": "BILU", "plain": ""}
# what a sentence adds to entity_f1 and token_accuracy, in this order
SUMS = ("entities found", "entities predicted", "entities", "words right", "words of the most frequent tag", "words")

Entity = tuple[str, int, int]  # type, first word, the word behind the last
_PREFIXED = re.compile(r"[BIESLU](-.+)?", re.DOTALL)
_LIKE_PREFIXED = re.compile(r"[BIESLU]\W.*|[BIESLU]_.*|.*[-_][BIESLU]", re.DOTALL)
_CANONICAL = {"L": "E", "U": "S"}


def find_scheme(tags: Collection[str]) -> str | None:
    """The scheme of these tags, a name in SCHEMES; None where only some have a prefix, or each has one written otherwise."""
    inside = set(tags) - {OUTSIDE}
    prefixed = {tag for tag in inside if _PREFIXED.fullmatch(tag)}
    if inside and prefixed == inside:
        prefixes = {tag[0] for tag in inside}
        return next((name for name, known in SCHEMES.items() if prefixes <= set(known)), None)
    unclear = any("-" in tag for tag in prefixed) or (inside and all(map(_LIKE_PREFIXED.fullmatch, inside)))
    return None if unclear else "plain"


def list_foreign(tags: Collection[str], scheme: str) -> list[str]:
    """The tags that the scheme has not."""
    known = SCHEMES[scheme]
    return [tag for tag in tags if known and tag != OUTSIDE and not (_PREFIXED.fullmatch(tag) and tag[0] in known)]


def find_entities(tags: Sequence[str], scheme: str) -> list[Entity]:
    """The entities of one sentence, in their order."""
    entities: list[Entity] = []
    start, before = 0, ("O", "")
    for place, (prefix, kind) in enumerate([*_iter_parts(tags, scheme), ("O", "")]):
        inside = before[0] != "O"
        begins = prefix in "BS" or before[0] in "OES" or kind != before[1]
        if inside and (begins or prefix == "O"):
            entities.append((before[1], start, place))
        if begins:
            start = place
        before = (prefix, kind)
    return entities


def _iter_parts(tags: Sequence[str], scheme: str) -> Iterator[tuple[str, str]]:
    """Prefix and type of each tag."""
    for tag in tags:
        if tag == OUTSIDE:
            yield "O", ""
        elif scheme == "plain":
            yield "I", tag
        else:
            yield _CANONICAL.get(tag[0], tag[0]), tag[2:]


def count_sums(sentences: Iterable[str], predicted: Iterable[str], scheme: str) -> npt.NDArray[np.int64]:
    """What each of N sentences, tags with spaces between, adds to SUMS: [N, len(SUMS)].

    F1 of the sums over all sentences is conlleval's and seqeval's micro average. The sums of a perfect answer are those of
    the sentences beside themselves.
    """
    tagged = [sentence.split(" ") for sentence in sentences]
    counts = Counter(chain.from_iterable(tagged))
    frequent = max(counts, key=lambda tag: (counts[tag], tag), default=OUTSIDE)
    rows = [_count(*pair, scheme, frequent) for pair in zip(tagged, (p.split(" ") for p in predicted), strict=True)]
    return np.array(rows, np.int64).reshape(-1, len(SUMS))


def _count(tags: list[str], predicted: list[str], scheme: str, frequent: str) -> tuple[int, ...]:
    wanted, found = find_entities(tags, scheme), find_entities(predicted, scheme)
    right = sum(tag == other for tag, other in zip(tags, predicted, strict=True))
    return len({*wanted} & {*found}), len(found), len(wanted), right, tags.count(frequent), len(tags)

"""Which examples go where, and in what order: by the content of the text only, never by the order of a file.

A change here changes scores: raise ``RULE_VERSION``, which is part of every task's fingerprint.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from selfpretrain.sources.arrays import BLOCK_VALUES, collect, iter_slices, make_zeros
from selfpretrain.sources.strings import Numbers, TextRows, gather

RULE_VERSION = 2
KeyOf = Callable[[tuple[str, ...]], str]  # from an example's texts to its content (compute_key)
PART_ROWS = 1 << 17  # sorted at once, about
MIN_ROWS = 50  # fewer examples leave nothing to test on


def normalise(text: str) -> str:
    """Lower case, runs of white space as one space: two texts equal after this count as the same text."""
    lower = text.lower()
    # what is printable has no white space but the space itself, and is seldom in need of more
    return lower.strip(" ") if lower.isprintable() and "  " not in lower else " ".join(lower.split())


def compute_key(texts: Sequence[str], unordered: bool = False) -> str:
    """The content of one example; the order of the two texts does not matter if ``unordered``."""
    parts = [normalise(text) for text in texts]
    # U+0000 between the texts, so that ("a b", "c") is not ("a", "b c")
    return "\0".join(sorted(parts) if unordered else parts)


class Keys(Sequence[str]):
    """What ``key_of`` gives of N examples, worked out when it is asked for: together they are as large as the texts."""

    def __init__(self, key_of: KeyOf, texts: Sequence[tuple[str, ...]]):
        self._key_of, self._texts = key_of, texts

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        return map(self._key_of, self._texts)

    def __getitem__(self, row: Any) -> Any:
        return self._key_of(self._texts[row])


def compute_hash(purpose: str, key: str) -> int:
    """64 bits that depend on the content and on what they are used for, on nothing else."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=purpose.encode()[:16])
    return int.from_bytes(digest.digest(), "big")


def compute_hashes(purpose: str, keys: Iterable[str]) -> np.ndarray:
    """:func:`compute_hash` of N keys, uint64 [N]."""
    empty = hashlib.blake2b(digest_size=8, person=purpose.encode()[:16])

    def compute_digest(key: str) -> bytes:
        hashed = empty.copy()  # cheaper than one more from its parameters
        hashed.update(key.encode())
        return hashed.digest()

    digests = map(compute_digest, keys)
    blocks = iter(lambda: b"".join(islice(digests, BLOCK_VALUES)), b"")
    return collect((np.frombuffer(block, ">u8") for block in blocks), np.uint64)


def sort_rows(purpose: str, keys: Iterable[str], *ties: Callable[[int], Any]) -> np.ndarray:
    """The rows, int64 [N], in the order of their keys' hashes; of equal hashes by what ``ties`` give of a row, then as they
    stand.
    """
    return collect((rows for rows, _ in _iter_sorted(compute_hashes(purpose, keys), *ties)), np.int64)


def _iter_sorted(hashes: np.ndarray, *ties: Callable[[int], Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of N hashes, uint64, in the order of :func:`sort_rows`, a part at a time, and where each run of equal hashes ends in
    it: no run is in two parts.
    """
    for chosen in _iter_parts(hashes, len(hashes) // PART_ROWS + 1):
        rows = chosen[np.argsort(hashes[chosen], kind="stable")]
        ordered = hashes[rows]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], [True] * (len(rows) > 0))) + 1
        if ties:
            sizes = np.diff(ends, prepend=0)
            for begin, end in zip((ends - sizes)[sizes > 1].tolist(), ends[sizes > 1].tolist(), strict=True):
                rows[begin:end] = sorted(rows[begin:end].tolist(), key=lambda row: [tie(row) for tie in ties])
        yield rows, ends


def _iter_parts(hashes: np.ndarray, num_parts: int) -> Iterator[np.ndarray]:
    """The rows of N hashes in parts of about equal size, ascending: those of the lowest hashes first."""
    for part in range(num_parts):
        rows = [np.zeros(0, np.int64)]
        for block in iter_slices(len(hashes)):
            rows.append(np.flatnonzero((hashes[block] >> 32) * num_parts >> 32 == part) + block.start)
        yield np.concatenate(rows)


def find_common(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The rows, int64 ascending, whose hashes are among the ``known`` ones."""
    marks, num_parts = np.zeros(len(hashes), bool), len(known) // PART_ROWS + 1
    for mine, theirs in zip(_iter_parts(hashes, num_parts), _iter_parts(known, num_parts), strict=True):
        marks[mine] = np.isin(hashes[mine], known[theirs])
    return np.flatnonzero(marks)


def find_repeated(keys: Sequence[str]) -> tuple[int, int] | None:
    """The first row whose key an earlier one has, and the first that has it; None where all differ."""
    found: list[tuple[int, int]] = []
    for rows, ends in _iter_sorted(compute_hashes("repeated", keys)):
        begins = ends - np.diff(ends, prepend=0)
        for begin, end in zip(begins[ends - begins > 1].tolist(), ends[ends - begins > 1].tolist(), strict=True):
            first: dict[str, int] = {}
            pairs = ((row, first.setdefault(keys[row], row)) for row in rows[begin:end].tolist())
            found += [pair for pair in pairs if pair[0] != pair[1]][:1]
    return min(found, default=None)


def sort_by_hash(documents: TextRows) -> TextRows:
    """Texts in the order of a hash of their content: any part of it is a fair sample, whatever order a file had."""
    return documents.take(sort_rows("order", map("\n".join, documents), documents.get))


def compute_order(
    texts: Sequence[tuple[str, ...]], labels: np.ndarray, ids: Sequence[str] | None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Rows in the order of a hash of their texts; equal texts by label, then by id and by group if there are such.

    What is equal in all of them may stand in any order: no result can tell.
    """
    ties: list[Callable[[int], Any]] = [texts.__getitem__, lambda row: labels[row : row + 1].tolist()]
    ties += [of.__getitem__ for of in (ids, groups) if of is not None]
    return sort_rows("order", map("\0".join, texts), *ties)


def name_by_content(texts: Sequence[tuple[str, ...]]) -> Sequence[str]:
    """An id for each example: 16 hex digits of its texts; further ones with the same texts get -2, -3 and so on."""
    hashes = compute_hashes("id", map("\0".join, texts))
    numbers = make_zeros(len(hashes), np.int64)
    for rows, ends in _iter_sorted(hashes):
        sizes = np.diff(ends, prepend=0)
        numbers[rows] = np.arange(len(rows)) - np.repeat(ends - sizes, sizes) + 1
    named = zip(Numbers(hashes), Numbers(numbers), strict=True)
    return gather(f"{hashed:016x}" if number == 1 else f"{hashed:016x}-{number}" for hashed, number in named)


def compute_strata(labels: np.ndarray) -> np.ndarray:
    """The group of each example, whole numbers [N], whose shares a cut keeps.

    Classes for int64 [N]; any label set or none for float32 [N, K]; a single group for scores, float32 [N], and for parts
    of the text, object [N].
    """
    if labels.ndim == 2:
        return np.asarray(labels.any(axis=1), dtype=np.int8)
    if labels.dtype.kind in "fO":
        return np.broadcast_to(np.int64(0), len(labels))
    return labels


def count_strata(strata: np.ndarray) -> Counter[int]:
    """How many examples each group has, in the order in which they first occur."""
    return Counter(iter(Numbers(strata)))


def compute_size(split: str, num_rows: int, fraction: float | None = None) -> int:
    """Examples to cut off as a split. Without a fraction of the rows it is 20 % for test up to 2,000 rows, then 400, then
    10 %; for validation 10 %, at least 50 and at most 2,000, never above 20 %."""
    if fraction is not None:
        return int(fraction * num_rows)
    if split == "test":
        return int(max(min(0.2 * num_rows, 400), 0.1 * num_rows))
    return int(min(max(0.1 * num_rows, 50), 2000, 0.2 * num_rows))


def compute_quotas(counts: dict[int, int], size: int) -> dict[int, int]:
    """``size`` shared out in proportion to ``counts``, by largest remainder; it never exceeds a count."""
    total = sum(counts.values())
    exact = {stratum: size * count / total for stratum, count in counts.items()}
    quotas = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(counts, key=lambda s: (quotas[s] - exact[s], s))
    for stratum in by_remainder[: size - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def cut(keys: Sequence[str], strata: np.ndarray, size: int, purpose: str) -> np.ndarray:
    """Choose about ``size`` of N examples to hold out; bool [N], True where held out.

    Examples with the same key are always on one side; each stratum gives its share and keeps at least one
    example. ``purpose`` makes one cut independent of another.
    """
    left = count_strata(strata)
    quotas = compute_quotas(left, size)
    held_out = np.zeros(len(keys), dtype=bool)
    for rows in _iter_equal(purpose, keys):
        if not any(quotas.values()):  # nothing fits any more
            break
        wanted = Counter(strata[rows].tolist())
        # texts that occur twice with different labels count for the most frequent one
        stratum = min(wanted, key=lambda s: (-wanted[s], s))
        if quotas[stratum] >= len(rows) and all(left[s] > count for s, count in wanted.items()):
            quotas[stratum] -= len(rows)
            left.subtract(wanted)
            held_out[rows] = True
    return held_out


def join(keys: Iterable[str], groups: np.ndarray) -> list[str] | None:
    """One name, made of their keys, for all examples that have a key or a group in common, or have it by way of others.

    None where the groups, uint64 [N], join no two keys: what is cut by its keys then keeps them whole, too.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts, of_text = np.unique(compute_hashes("group", keys), return_inverse=True)
    of_group = np.unique(groups, return_inverse=True)[1] + len(texts)
    size = int(of_group.max()) + 1
    links = coo_array((np.ones(len(of_text), bool), (of_text, of_group)), (size, size))
    components = connected_components(links, directed=False)[1][: len(texts)]
    _, firsts, numbers = np.unique(components, return_index=True, return_inverse=True)
    if len(firsts) == len(texts):
        return None
    return [f"{least:016x}" for least in texts[firsts][numbers][of_text].tolist()]  # of a component the least key


def cut_whole(keys: Sequence[str], strata: np.ndarray, size: int, purpose: str) -> np.ndarray:
    """:func:`cut` for equal keys of so many examples that no stratum's share would hold them; bool [N], True where held out.

    All of a key are held out where that brings the number nearer to ``size``, whatever their strata; of fewer than two
    keys the smallest are added, since nothing could be resampled of one. Each stratum keeps at least one example.
    """
    left, held_out = Counter(strata.tolist()), np.zeros(len(keys), dtype=bool)

    def hold_out(rows: list[int]) -> bool:
        wanted = Counter(strata[rows].tolist())
        if any(left[stratum] <= count for stratum, count in wanted.items()):
            return False
        left.subtract(wanted)
        held_out[rows] = True
        return True

    groups = list(_iter_equal(purpose, keys))
    num_held = sum(2 * (size - len(keys) + left.total()) > len(rows) and hold_out(rows) for rows in groups)
    for rows in sorted(groups, key=len):
        num_held += num_held < 2 and not held_out[rows[0]] and hold_out(rows)
    return held_out


def _iter_equal(purpose: str, keys: Sequence[str]) -> Iterator[list[int]]:
    """The rows of each key, in the order of the keys' hashes; of equal hashes in that of the keys."""
    for rows, ends in _iter_sorted(compute_hashes(purpose, keys)):
        begin = 0
        for end in ends.tolist():
            same: dict[str, list[int]] = {}
            for row in rows[begin:end].tolist():
                same.setdefault(keys[row] if end - begin > 1 else "", []).append(row)
            yield from (same[key] for key in sorted(same))
            begin = end


def subsample(keys: Sequence[str], strata: np.ndarray, size: int) -> np.ndarray:
    """The rows, int64 ascending, of ``size`` of N examples with each stratum's share.

    The order of choice is by content, so a larger sample of one stratum holds a smaller one. Of equal keys the
    earlier row is chosen, so the rows have to stand in the order of :func:`compute_order`.
    """
    quotas = compute_quotas(count_strata(strata), size)
    for stratum in quotas:
        if quotas[stratum] == 0:  # no class may vanish: the largest gives one up
            quotas[max(quotas, key=lambda s: (quotas[s], -s))] -= 1
            quotas[stratum] = 1
    chosen: list[int] = []
    for row in Numbers(sort_rows("subsample", keys, keys.__getitem__)):
        if len(chosen) == size:
            break
        stratum = int(strata[row])
        if quotas[stratum] > 0:
            quotas[stratum] -= 1
            chosen.append(row)
    return np.array(sorted(chosen), dtype=np.int64)

"""What several tests of packing share."""

from __future__ import annotations


def split_row(ids, types, mask, cls, sep, pad):
    """A and B of a row [CLS] A [SEP] B [SEP], as lists, with what its layout says of them checked."""
    real = sum(mask)
    assert mask == [True] * real + [False] * (len(mask) - real)
    assert ids[0] == cls and ids[real - 1] == sep and set(ids[real:]) <= {pad}
    end = ids.index(sep)
    assert types == [0] * (end + 1) + [1] * (real - end - 1) + [0] * (len(mask) - real)
    first, second = ids[1:end], ids[end + 1 : real - 1]
    assert not {cls, sep, pad} & {*first, *second}
    return first, second

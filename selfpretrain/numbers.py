"""Numbers as text, the same in every table and sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "-"  # plain ASCII: survives every terminal, CSV reader and LaTeX engine
DIGITS = 3  # decimals of a score, where nothing else is said
SIGNIFICANT = 2  # digits of an uncertainty that are worth printing


def choose_digits(half_width: float, num_examples: int | None = None) -> int:
    """The decimals that a number deserves, by half the width of its interval and the test examples behind it.

    So many that the half width has two significant digits ("it usually suffices to quote [an uncertainty] to at most two
    significant digits", JCGM 100:2008, the GUM, 7.2.6), but no more than tell k of ``num_examples`` right answers from
    k + 1: 3 of 872 examples, 4 of 7,600. An interval without a width, or without an end, sets no limit of its own.

        .0123 -> 3;  .0080 -> 4, of 872 examples 3;  .12 -> 2;  .0996 -> 2, since it is .10;  14 -> 0
    """
    digits = DIGITS
    if math.isfinite(half_width) and half_width > 0:
        exponent = int(f"{half_width:.{SIGNIFICANT - 1}e}".partition("e")[2])  # of the rounded one
        digits = SIGNIFICANT - 1 - exponent
    if num_examples:
        digits = min(digits, len(str(num_examples - 1)))
    return max(0, digits)


def format_score(value: float, digits: int = DIGITS) -> str:
    """0.8421 -> .842"""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip(MINUS)
    return text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def format_signed(value: float, digits: int = DIGITS) -> str:
    """0.031 -> +.031"""
    text = format_score(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def format_whole(value: float) -> str:
    text = f"{value:.0f}"
    return "0" if text == "-0" else text


def format_p(p: float) -> str:
    """0.0312 -> .031; below .001 only that."""
    if p >= 0.9995:
        return "1.000"
    return "< .001" if p < 0.001 else format_score(p)


def format_p_clause(p: float) -> str:
    """p = .031, or p < .001"""
    text = format_p(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_duration(seconds: float) -> str:
    """48 s, 1.4 min, 38 min, 5.2 h"""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.{int(minutes < 10)}f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def format_counted(count: int, singular: str, plural: str | None = None) -> str:
    """2, "seed" -> 2 seeds"""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def join_words(words: Sequence[str]) -> str:
    """["a", "b", "c"] -> a, b and c"""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))

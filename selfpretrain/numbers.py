"""Numbers as text, the same in every table and sentence."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "-"  # plain ASCII: survives every terminal, CSV reader and LaTeX engine


def format_score(value: float, digits: int = 3) -> str:
    """0.8421 -> .842"""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip(MINUS)
    return text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def format_signed(value: float, digits: int = 3) -> str:
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

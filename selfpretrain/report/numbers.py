"""Numbers as text, the same in every table and sentence."""

from __future__ import annotations

import math

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


def format_interval(low: float, high: float) -> str:
    return f"[{format_score(low)}, {format_score(high)}]"


def format_percent_interval(low: float, high: float) -> str:
    return f"[{format_whole(low)}, {format_whole(high)}]"


def format_whole(value: float) -> str:
    text = f"{value:.0f}"
    return "0" if text == "-0" else text


def format_p(p: float, is_bound: bool) -> str:
    """0.0031 -> .003; a p at its floor is only known to be smaller: < .002, rounded up."""
    if p >= 0.9995:
        return "1.000"
    if is_bound:
        return f"< {format_score(math.ceil(p * 1000 - 1e-9) / 1000)}"
    return "< .001" if p < 0.001 else format_score(p)


def format_p_clause(p: float, is_bound: bool) -> str:
    """p = .003, or p < .002"""
    text = format_p(p, is_bound)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_counted(count: int, singular: str, plural: str | None = None) -> str:
    """2, "seed" -> 2 seeds"""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"

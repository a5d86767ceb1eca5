"""The tables of ``benchmarks coverage``, made from its JSON alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

LOWEST_COVERAGE, LOWEST_SINGLE, HIGHEST_TYPE1 = 0.93, 0.91, 0.065  # what is asked of t; type I at 3 seeds: .08
HIGHEST_TYPE1_OF_THREE = 0.08
HIGHEST_FAMILY = 0.07
OVER_COVERED = 0.97
FURTHEST_POWER = 0.05  # between predicted and found

INTRODUCTION = """Made from the JSON beside it by `python -m benchmarks coverage`. Studies are drawn from a probit model whose truth is
known (`benchmarks/simulation.py`): seed, fine-tuning, example difficulty, seed x example. 95 % intervals should cover
.95, tests at .05 reject a true null .05 of the time. "seeds": a run's score varies by seed with sd .022; "examples":
with .004, and the two sides find different examples easy. Each pair of numbers is *t* / *percentiles*. One standard
error of a share of .95 is .005 over 2,000 studies, .007 over 1,000, .010 over 500, .015 over 200; percentiles are
counted on the first fifth of the studies, type I on the three quarters without a difference.
"""


def render_coverage(results: dict[str, Any]) -> str:
    """Markdown: what was run, and a table per part that is there."""
    renderers = {
        "accuracy": ("Accuracy", _render_cells),
        "metrics": ("Other metrics", _render_cells),
        "families": ("Eight comparisons after Holm, none of which differs", _render_families),
        "decisions": ("What `decide` says, margin .01, by t", _render_decisions),
        "benefit": ("Benefit %, Fieller's interval", _render_benefit),
        "means": ("Means of the cross-task matrix, by t", _render_means),
        "one_seed": ("One seed a side, by t", _render_one_seed),
        "power": ("Power, predicted and found, by t", _render_power),
    }
    blocks = ["# Coverage of the statistics", INTRODUCTION]
    for part, (title, render) in renderers.items():
        if part in results:
            found = results[part]
            blocks += [f"## {title}", _describe(found), *render(found["rows"])]
    return "\n\n".join(block.rstrip("\n") for block in blocks) + "\n"


def _describe(found: dict[str, Any]) -> str:
    machine = f"{found['machine']}, commit {found['commit']}, {found['date']}"
    return f"`{found['command']}` · {machine} · {found['minutes']:.0f} min"


def _tabulate(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(header)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _format(share: float | None) -> str:
    return "—" if share is None else f"{share:.3f}".removeprefix("0")


def _name(row: dict[str, Any]) -> list[str]:
    runs = str(row["seeds"]) + (f" x {row['finetunings']}" if row.get("finetunings", 1) > 1 else "")
    return [row["doubt"], "paired" if row["paired"] else "unpaired", f"{row['examples']:,}", runs]


NAMES = ("doubt by", "design", "examples", "seeds")


def _render_cells(rows: list[dict[str, Any]]) -> list[str]:
    header = ("metric", *NAMES, "studies", "difference covered", "score covered", "type I", "width", "by examples")
    table = [
        [
            row["metric"],
            *_name(row),
            f"{row['t']['studies']:,} / {row['percentile']['studies']:,}",
            *(_pair(row, key) for key in ("coverage", "single", "type1")),
            f"{row['t']['width']:.3f} / {row['percentile']['width']:.3f}",
            f"{row['t']['by_examples']:.0%}",
        ]
        for row in rows
    ]
    return [_tabulate(header, table), _judge(rows)]


def _pair(row: dict[str, Any], key: str) -> str:
    return f"{_format(row['t'][key])} / {_format(row['percentile'][key])}"


def _judge(rows: list[dict[str, Any]]) -> str:
    """Which cells of t miss what is asked of them, and how far it errs on the wide side."""
    asked = (
        f"Asked of t: differences covered at least {LOWEST_COVERAGE}, scores {LOWEST_SINGLE}, type I at most "
        f"{HIGHEST_TYPE1} ({HIGHEST_TYPE1_OF_THREE} at 3 seeds)."
    )
    misses = find_misses(rows)
    missed = f"Missed by: {'; '.join(misses)}." if misses else f"All {len(rows)} cells keep it."
    wide = [row for row in rows if row["t"]["coverage"] > OVER_COVERED]
    most = max((row["t"]["coverage"] for row in rows), default=0.0)
    share = min((row["t"]["by_examples"] for row in wide), default=0.0)
    over = (
        f" Intervals are too wide where examples make much of the doubt, because what seed and example do together is "
        f"counted twice: more than {OVER_COVERED} is covered in {len(wide)} cells, up to {_format(most)}, with at least "
        f"{share:.0%} of the variance by examples."
    )
    return f"{asked} {missed}{over if wide else ''}"


def find_misses(rows: list[dict[str, Any]]) -> list[str]:
    """Each cell and number of t on the wrong side of its limit, with its distance in standard errors."""
    misses = []
    for row in rows:
        t = row["t"]
        nulls = t["studies"] * 0.75
        for name, share, limit, sign, studies in (
            ("difference covered", t["coverage"], LOWEST_COVERAGE, -1, t["studies"]),
            ("score covered", t["single"], LOWEST_SINGLE, -1, t["studies"]),
            ("type I", t["type1"], get_highest_type1(row["seeds"]), 1, nulls),
        ):
            beyond = sign * (share - limit) / math.sqrt(limit * (1 - limit) / studies)
            if beyond > 0:
                cell = f"{row['metric']}, {', '.join(_name(row))} seeds"
                misses.append(f"{cell}: {name} {_format(share)} ({beyond:.1f} standard errors beyond)")
    return misses


def get_highest_type1(num_seeds: int) -> float:
    return HIGHEST_TYPE1_OF_THREE if num_seeds == 3 else HIGHEST_TYPE1


def _render_families(rows: list[dict[str, Any]]) -> list[str]:
    table = [
        [
            *_name(row),
            f"{row['t']['families']} / {row['percentile']['families']}",
            *(_format(row[method]["wrong"]) for method in ("t", "percentile")),
        ]
        for row in rows
    ]
    misses = [
        f"{', '.join(_name(row))} seeds: {_format(row['t']['wrong'])}"
        for row in rows
        if row["t"]["wrong"] > HIGHEST_FAMILY
    ]
    explained = "Share of families with any claim. Percentiles with 1,000 replicates."
    verdict = f"Missed by: {'; '.join(misses)}." if misses else "All keep it."
    asked = f"Asked of t: at most {HIGHEST_FAMILY}. {verdict}"
    return [explained, _tabulate((*NAMES, "families", "t", "percentiles"), table), asked]


def _render_decisions(rows: list[dict[str, Any]]) -> list[str]:
    outcomes = ("better", "not worse", "worse", "undecided")
    table = [
        [*_name(row), f"{row['truth']:+.2f}", str(row["studies"])]
        + [_format(row["outcomes"].get(outcome, 0.0)) for outcome in outcomes]
        for row in rows
    ]
    explained = (
        "Wrong are: better at a truth of 0 or below, not worse at -.01 (exactly the margin) or below, worse at 0 or "
        "above. Each should happen in at most .025 of the studies."
    )
    return [explained, _tabulate((*NAMES, "truth", "studies", *outcomes), table)]


def _render_benefit(rows: list[dict[str, Any]]) -> list[str]:
    table = [
        [*_name(row), str(row["studies"]), _format(row["defined"] / row["studies"]), _format(row["coverage"])]
        for row in rows
    ]
    explained = (
        "The truth is 60 %. Covered: of the studies in which the reference's gain is clear, the others give none."
    )
    return [explained, _tabulate((*NAMES, "studies", "gain clear", "covered"), table)]


def _render_means(rows: list[dict[str, Any]]) -> list[str]:
    columns = [f"{unit} by {axis}" for axis in ("text", "task") for unit in ("score", "gain", "Benefit")]
    table = [
        [*_name(row), str(row["studies"]), *(_format(row["covered"].get(column)) for column in columns)] for row in rows
    ]
    explained = (
        "By text: over five tasks, half of a seed's luck being its encoder's on all of them. By task: over five texts, half "
        "of it being the seed number's under all of them. Benefit is counted where the reference's mean gain is clear."
    )
    lowest = min((share for row in rows for share in row["covered"].values()), default=math.nan)
    asked = (
        f"Asked: at least {LOWEST_COVERAGE} of differences, {LOWEST_SINGLE} of scores. The lowest is {_format(lowest)}."
    )
    return [explained, _tabulate((*NAMES, "studies", *columns), table), asked]


def _render_one_seed(rows: list[dict[str, Any]]) -> list[str]:
    table = [
        [*_name(row), str(row["studies"]), _format(row["checkpoints"]), _format(row["procedures"]), str(row["p_given"])]
        for row in rows
    ]
    header = (*NAMES, "studies", "covered: these checkpoints", "covered: the procedures", "p given")
    return [_tabulate(header, table)]


def _render_power(rows: list[dict[str, Any]]) -> list[str]:
    table = [
        [
            *_name(row),
            f"{row['truth']:+.2f}",
            str(row["studies"]),
            *(_format(row[key]) for key in ("predicted", "found")),
        ]
        for row in rows
    ]
    explained = (
        "Predicted: by `stats.power` from the components of one study of 300 seeds and 3,000 examples. Found: share of the "
        "studies with p below .05."
    )
    most = max((abs(row["predicted"] - row["found"]) for row in rows), default=math.nan)
    asked = f"Asked: within {FURTHEST_POWER}. The furthest apart are {_format(most)}."
    return [explained, _tabulate((*NAMES, "truth", "studies", "predicted", "found"), table), asked]

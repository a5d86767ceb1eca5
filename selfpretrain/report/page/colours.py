"""The colours that follow from data, as a style sheet for light and dark: of conditions, and of a matrix's cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

LIGHT, DARK = "#ffffff", "#14171c"  # backgrounds, as in page.css
ENOUGH = 3.0  # contrast of what is drawn to its background [WCAG 2.2, 1.4.11]
_STEP = 0.04
_INKS = ("#000000", "#ffffff")
# from the lowest to the highest: orange to purple through the background, told apart with every kind of colour blindness
# [ColorBrewer's PuOr]; and one hue
PALETTES: dict[str, dict[str, Sequence[str]]] = {
    "d": {
        LIGHT: ("#9c4a04", "#c9700f", "#f0a653", "#fcd5a5", "#f1f1f1", "#d3cfe9", "#aea3d2", "#7a67ab", "#4b2778"),
        DARK: ("#ffcf99", "#f0a04b", "#b8680f", "#6f4519", "#2e333c", "#463f68", "#6a5b9e", "#a99cdb", "#d8cffa"),
    },
    "s": {
        LIGHT: ("#f2f6fb", "#dbe8f5", "#bcd7ec", "#94c1e2", "#67a8d5", "#428ac3", "#236ba9", "#114d86", "#08305c"),
        DARK: ("#1c2733", "#1b3550", "#1c466d", "#225a8b", "#2f71a9", "#5390c5", "#7cafdc", "#a8cdee", "#d6e8fa"),
    },
}


def write_colours(conditions: Mapping[str, str]) -> str:
    """Variables --c0, --c1, ... of the conditions in their order, and classes d0 to d8 and s0 to s8 of cells.

    The conditions' colours are made dark enough on a light page and light enough on a dark one; paper is light.
    """
    light, dark = (_write_scheme(conditions.values(), background) for background in (LIGHT, DARK))
    classes = "".join(
        f".matrix .{key}{step}{{background:var(--{key}{step});color:var(--{key}{step}i)}}"
        for key, palette in PALETTES.items()
        for step in range(len(palette[LIGHT]))
    )
    return f"\n:root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{classes}\n"


def _write_scheme(conditions: Iterable[str], background: str) -> str:
    variables = {f"c{place}": fit(colour, background) for place, colour in enumerate(conditions)}
    for key, palette in PALETTES.items():
        for step, colour in enumerate(palette[background]):
            variables |= {f"{key}{step}": colour, f"{key}{step}i": choose_ink(colour)}
    return "".join(f"--{name}:{colour};" for name, colour in variables.items())


def choose_ink(background: str) -> str:
    """Black or white, whichever is read better on it."""
    return max(_INKS, key=lambda ink: compute_contrast(ink, background))


def fit(colour: str, background: str) -> str:
    """The colour, mixed with as little black or white as its contrast to the background needs."""
    end = _parse(choose_ink(background))
    share, found = 0.0, colour
    while compute_contrast(found, background) < ENOUGH:
        share = min(1.0, share + _STEP)
        mixed = ((1 - share) * own + share * other for own, other in zip(_parse(colour), end, strict=True))
        found = "#" + "".join(f"{round(value):02x}" for value in mixed)
    return found


def compute_contrast(one: str, other: str) -> float:
    """From 1 to 21 [WCAG 2.2]."""
    light, dark = sorted(map(compute_luminance, (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def compute_luminance(colour: str) -> float:
    """Relative, 0 to 1, of #rrggbb [WCAG 2.2]."""
    shares = (value / 255 for value in _parse(colour))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parse(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))

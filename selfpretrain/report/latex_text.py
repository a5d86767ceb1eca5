"""Text for LaTeX: any string as ASCII that every engine sets, with commands of LaTeX's kernel alone.

pdflatex stops at a character that its fonts have not, and lualatex leaves it out without an error. Labels and names may
hold any: accents become commands, common signs their names, and what is left stands as its code points, [U+4E2D 6587].
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import groupby


def _name_greek(letter: str) -> str:
    """TeX's name: alpha, Gamma."""
    name = unicodedata.name(letter).rpartition(" ")[2].lower().replace("lamda", "lambda")
    return name if letter.islower() else name.title()


_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    '"': r"{\char34}",  # a shorthand of babel's in some languages
}
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0331": "b",
}  # fmt: skip
_LETTERS = {
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}",
    "Ł": r"\L{}", "ı": r"\i{}", "ȷ": r"\j{}", "¡": "!`", "¿": "?`", "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}",
    "£": r"\pounds{}", "†": r"\dag{}", "‡": r"\ddag{}", "…": r"\ldots{}", "–": "--", "—": "---", "‘": "`", "’": "'",
    "“": "``", "”": "''", "‐": "-", "‑": "-", "\u00ad": r"\-", "\u00a0": "~", "\u202f": "~", "\u2009": r"\,",
}  # fmt: skip
_MATHS = {
    "−": "-", "×": r"\times", "÷": r"\div", "±": r"\pm", "·": r"\cdot", "•": r"\bullet", "≤": r"\leq", "≥": r"\geq",
    "≠": r"\neq", "≈": r"\approx", "∞": r"\infty", "→": r"\rightarrow", "←": r"\leftarrow", "↔": r"\leftrightarrow",
    "°": r"^{\circ}", "¹": "^{1}", "²": "^{2}", "³": "^{3}", "µ": r"\mu", "¬": r"\neg", "√": r"\surd", "∑": r"\sum",
    "∈": r"\in", "∩": r"\cap", "∪": r"\cup", "∀": r"\forall", "∃": r"\exists", "ς": r"\varsigma", "ο": "o",
    **{letter: f"\\{_name_greek(letter)}" for letter in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"},
}  # fmt: skip
_PARTS = re.compile(r".[\u0300-\u036f]*", re.DOTALL)  # a character with the accents over and under it
# a long name may go on in the next line behind these, a number may not
_BREAKS = re.compile(r"""(?<=\w[_@])(?=\w)|(?<=\w[:+/,;=.])(?=[^\W\d]|["'(\[])""")
_LIGATURE = re.compile(r"(?<=[-'`,<>])(?=[-'`,])|(?<=[!?])(?=`)")  # inside two characters that mean themselves
_MARKS = {"\0": r"\allowbreak{}", "\1": "{}"}


def escape_latex(text: str, breaks: bool = False) -> str:
    """The text as LaTeX, also behind ``\\\\`` and ``\\item``; with ``breaks`` names may be divided at their marks.

    Signs before numbers are set as such: -.5 has a minus, not a hyphen.
    """
    text = " ".join(re.sub("[\0\1]", "\ufffd", text).split())  # an empty line would end a paragraph
    text = _LIGATURE.sub("\1", _BREAKS.sub("\0", text) if breaks else text)
    escaped = re.sub(r"(?<![\w.}\\-])([-+])(?=[.\d])", r"$\1$", _translate(text))
    return f"{{}}{escaped}" if text.startswith(("[", "*")) else escaped  # else an argument of what stands before


def list_pieces(text: str) -> list[str]:
    """What stays together where a text is divided with ``breaks``."""
    return [piece for word in text.split() for piece in _BREAKS.split(word)]


def _translate(text: str) -> str:
    pieces = []
    parts = ((part, _translate_part(part)) for part in _PARTS.findall(unicodedata.normalize("NFD", text)))
    for is_known, group in groupby(parts, key=lambda part: part[1] is not None):
        found = list(group)
        if is_known:
            pieces.append("".join(str(translated) for _, translated in found))
        else:
            whole = unicodedata.normalize("NFC", "".join(part for part, _ in found))
            codes = " ".join(f"{ord(character):04X}" for character in whole)
            pieces.append(rf"\texttt{{[U+{codes}]}}")
    return "".join(pieces)


def _translate_part(part: str) -> str | None:
    """A character with its accents; None where the kernel has no command for it."""
    base, accents = part[0], part[1:]
    if base in _MARKS:
        return _MARKS[base]
    if not accents:
        return _translate_character(base)
    if len(accents) > 1 or accents not in _ACCENTS or not (base.isascii() and base.isalpha()):
        whole = unicodedata.normalize("NFC", part)  # a sign that is written with a stroke, as "not equal"
        return _translate_character(whole) if len(whole) == 1 and whole != base else None
    above = accents not in "\u0323\u0327\u0331"
    base = {"i": r"\i ", "j": r"\j "}.get(base, base) if above else base
    return f"\\{_ACCENTS[accents]}{{{base}}}"


def _translate_character(character: str) -> str | None:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else None
    if character in _MATHS:
        return f"${_MATHS[character]}$"
    return _LETTERS.get(character)


# widths in thousandths of the em of Computer Modern Roman; what is not here is a letter or a digit of 500
_WIDTHS = {
    **dict.fromkeys(".,:;'|!il", 278), **dict.fromkeys(" -", 333), **dict.fromkeys("[]", 278), **dict.fromkeys("()`jtrfI", 389),
    **dict.fromkeys("abdhknpqu", 556), **dict.fromkeys("xyvgs", 528), **dict.fromkeys("mwMW%", 1000),
    **dict.fromkeys("+−<>=@&#ABCDEFGHKLNOPQRTUVXYZ", 778),
}  # fmt: skip
_UNKNOWN = 2900  # as code points: five letters of a typewriter, and a share of what stands around them
_SCALES = {10: 1.0, 9: 1.028, 8: 1.063, 7: 1.138}  # how much wider than in proportion the smaller fonts are


def estimate_width(text: str, size: int) -> float:
    """How wide a text is in points, in Computer Modern of 10, 9, 8 or 7 points; rather a little too much."""
    return _count_thousandths(text) / 1000 * size * _SCALES[size]


@lru_cache(maxsize=1 << 16)  # a table is measured in several sizes
def _count_thousandths(text: str) -> int:
    plain = unicodedata.normalize("NFD", text)
    return sum(
        _WIDTHS.get(part[0], 500 if _translate_part(part) is not None else _UNKNOWN) for part in _PARTS.findall(plain)
    )

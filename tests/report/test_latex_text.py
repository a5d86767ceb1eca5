"""Any string as LaTeX: ASCII alone, and nothing in it that means more than itself."""

from __future__ import annotations

import random
import re
import sys

import pytest

from selfpretrain.report.latex_text import escape_latex, estimate_width, list_pieces


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50 % #1 $2", r"a\_b \& 50 \% \#1 \$2"),
        (r"x^2 ~ {y} \z", r"x\textasciicircum{}2 \textasciitilde{} \{y\} \textbackslash{}z"),
        ("< .001 and -.5, -3, +.2, a-b_c 50%", r"$<$ .001 and $-$.5, $-$3, $+$.2, a-b\_c 50\%"),
        ("[-.020, .002]", r"{}[$-$.020, .002]"),  # no optional argument of what stands before it
        ("* x", "{}* x"),  # nor a star of it
        ("study -- x, ?` !` ,, ''", "study -{}- x, ?{}` !{}` ,{}, '{}'"),  # no ligature
        ('say "no" | yes', r"say {\char34}no{\char34} \textbar{} yes"),
        ("two\n\nlines\tand more", "two lines and more"),
        ("naïve Ångström, Łódź, Straße", r"na\"{\i }ve \r{A}ngstr\"{o}m, \L{}\'{o}d\'{z}, Stra\ss{}e"),
        ("α ≤ Ω ≠ ∞ – … 10 µm²", r"$\alpha$ $\leq$ $\Omega$ $\neq$ $\infty$ -- \ldots{} 10 $\mu$m$^{2}$"),
        ("中文 🎉", r"\texttt{[U+4E2D 6587]} \texttt{[U+1F389]}"),
        ("a\x00b\x07\u202ec", r"a\texttt{[U+FFFD]}b\texttt{[U+0007 202E]}c"),
        ("a\u00ad5 -5", r"a\-5 $-$5"),  # a soft hyphen is none before a number
        ("λ lambda", r"$\lambda$ lambda"),
    ],
)
def test_escapes(text, escaped):
    assert escape_latex(text) == escaped


def test_long_names_may_be_divided_and_numbers_not():
    text = escape_latex("mix:own+own_of:qqp study.models=[nano] +.031 [-.010, .050] agnews@4000", breaks=True)
    assert text.replace(r"\allowbreak{}", "") == escape_latex(
        "mix:own+own_of:qqp study.models=[nano] +.031 [-.010, .050] agnews@4000"
    )
    assert r"mix:\allowbreak{}own+\allowbreak{}own\_\allowbreak{}of" in text
    assert r"$+$.031 [$-$.010, .050] agnews@\allowbreak{}4000" in text
    assert list_pieces("own_of:qqp@4000 (f1) .031") == ["own_", "of:", "qqp@", "4000", "(f1)", ".031"]


def test_whatever_comes_braces_and_dollars_are_in_pairs():
    generator = random.Random(0)
    for _ in range(2000):
        codes = [generator.choice([generator.randrange(128), generator.randrange(sys.maxunicode)]) for _ in range(12)]
        text = escape_latex("".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000), breaks=True)
        assert text.isascii() and text.isprintable()
        bare = re.sub(r"\\[\\&%$#_{}]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        assert not re.search(r"(?<!\\)[&%#]", text)


def test_widths_are_about_those_of_computer_modern():
    """By TeX: \\setbox0\\hbox{.842 [.830, .851]} is 68.1 pt wide in cmr10."""
    assert estimate_width(".842 [.830, .851]", 10) == pytest.approx(68.1, rel=0.03)
    assert estimate_width("roberta", 8) < estimate_width("roberta", 10)
    assert estimate_width("中", 10) > estimate_width("W", 10)

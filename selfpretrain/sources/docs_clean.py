"""From a raw docstring (reST, numpydoc, Google style) to its paragraphs of English prose."""

from __future__ import annotations

import inspect
import re

MIN_WORDS = 5  # a shorter paragraph is a heading, a type or a label
MIN_LETTER_SHARE = 0.75  # of all characters but white space; below this it is a formula, a table or code

_UNDERLINE = re.compile(r"^([=\-~^\"'`*#+.:_])\1{2,}$")
_TABLE_LINE = re.compile(r"^[=\-+|~^ ]{3,}$|^\|.*\|$|^\+[-=+]+\+$")
_DIRECTIVE = re.compile(r"^\.\. (?:\|[^|]+\| *)?([\w:-]+)::")
_MARKUP = re.compile(r"^\.\.(?: |$)")  # a directive, a reference or a comment
# directives whose indented block is prose; the block of any other is code, a formula, a table or a list of names
_PROSE_DIRECTIVES = {"note", "warning", "seealso", "tip", "important", "caution", "attention", "hint", "admonition",
                     "versionadded", "versionchanged", "deprecated", "rubric", "topic"}  # fmt: skip
_FIELD = re.compile(r"^:[\w*][^:`]{0,60}:\s+")  # ":param x: the text"
_BULLET = re.compile(r"^(?:[-*+•]|\(?\d{1,2}[.)]|[a-z]\))\s+(?=\S)")
_ARGUMENT = re.compile(
    r"^[`*]{0,3}[\w.]+[`*]{0,3}(?:\s*\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:(?:\s+|$)"
)  # "x (int): the text"
_TYPE = re.compile(r"^\S*$|, (?:optional|default\b.*)$")  # what "x: int, optional" leaves, with the text below it
_INLINE = [
    (re.compile(r":[\w:+-]+:`~?!?([^`<]+?)\s*(?:<[^`]*>)?`"), r"\1"),  # :func:`~a.b`, :ref:`text <target>`
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`_{1,2}"), r"\1"),  # `text <target>`_
    (re.compile(r"!?\[([^\]]+)\]\((?:[^()]|\([^()]*\))*\)"), r"\1"),  # [text](target)
    (re.compile(r"\[(?:\d+|#\w*)\]_|\[\[\d+\]\]"), ""),  # footnotes
    (re.compile(r"(?:https?|ftp)://\S+|<[^<>@\s]+@[^<>\s]+>"), ""),
    (re.compile(r"</?[a-zA-Z][^<>]{0,80}>"), ""),  # HTML tags
    (re.compile(r"`+([^`]*?)`+_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}(?=[^\s*])([^*]*[^\s*])\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)(\|\w+\|)(?!\w)"), ""),
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\s+([,.;:!?)])(?=\s|$)"), r"\1"),
    (re.compile(r"\(\s*\)"), ""),
]
_WORD = re.compile(r"[A-Za-z]{2,}|\b[aAI]\b")
_SENTENCE_END = re.compile(r"(?<![.\s][A-Za-z])(?<!e\.g)(?<!i\.e)(?<!cf)(?<!vs)(?<!etc)(?<!Fig)(?<!Eq)(?<!No)"
                           r"[.!?]\)?\s+(?=[A-Z\"'(])")  # fmt: skip


def count_words(text: str) -> int:
    return len(_WORD.findall(text))


def clean_docstring(raw: str) -> list[str]:
    """The prose paragraphs of a docstring, markup removed, white space collapsed, in order.

    Dropped: doctests, code, tables, formulas in display, headings, lists of names, and what is shorter than
    ``MIN_WORDS`` words.
    """
    lines = [line.rstrip() for line in inspect.cleandoc(raw).split("\n")]
    paragraphs = (_strip_markup(" ".join(block)) for block in _iter_blocks(_drop_code(lines)))
    return [paragraph for paragraph in paragraphs if _is_prose(paragraph)]


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of a clean paragraph; common abbreviations do not end one."""
    sentences, start = [], 0
    for match in _SENTENCE_END.finditer(paragraph):
        sentences.append(paragraph[start : match.end()].strip())
        start = match.end()
    return [*sentences, paragraph[start:].strip()]


def _is_prose(paragraph: str) -> bool:
    if count_words(paragraph) < MIN_WORDS:
        return False
    visible = [character for character in paragraph if not character.isspace()]
    return sum(character.isalpha() for character in visible) >= MIN_LETTER_SHARE * len(visible)


def _strip_markup(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _drop_code(lines: list[str]) -> list[str]:
    """Blank out fences, doctests, literal and directive blocks, headings with their underlines, and table rules."""
    kept: list[str] = []
    fence = doctest = False
    block: int | None = None  # inside an indented block to drop: the indentation of the line that opened it
    for line in lines:
        text = line.strip()
        if text.startswith("```") or (text.startswith("~~~") and (fence or not _UNDERLINE.match(text))):
            fence = not fence
            kept.append("")
            continue
        doctest = (doctest or text.startswith(">>>")) and bool(text)
        if block is not None and text and _indent(line) <= block:
            block = None
        if fence or doctest or block is not None or text.startswith(("In [", "Out[", "$ ", "%", "@")):
            kept.append("")
            continue
        if _UNDERLINE.match(text) or _TABLE_LINE.match(text):
            if _UNDERLINE.match(text) and kept and kept[-1]:
                kept[-1] = ""  # the heading above its underline
            kept.append("")
            continue
        directive, is_markup = _DIRECTIVE.match(text), _MARKUP.match(text)
        if (is_markup or text.endswith("::")) and not (directive and directive[1] in _PROSE_DIRECTIVES):
            block = _indent(line)
        kept.append("" if is_markup else line)
    return kept


def _iter_blocks(lines: list[str]) -> list[list[str]]:
    """Runs of lines that form a paragraph; a blank line, a list item, a field or another indentation begins a new one."""
    blocks: list[list[str]] = [[]]
    indent, hanging = 0, False
    for line in lines:
        text = line.strip()
        if not text:
            blocks.append([])
            continue
        item = _FIELD.match(text) or _BULLET.match(text) or _ARGUMENT.match(text)
        if item:
            rest = text[item.end() :]
            blocks.append([] if _TYPE.search(rest) else [rest])
        elif blocks[-1] and (_indent(line) == indent or (hanging and _indent(line) > indent)):
            blocks[-1].append(text)
        else:
            blocks.append([text])
        hanging = bool(item)
        indent = _indent(line)
    return [block for block in blocks if block]

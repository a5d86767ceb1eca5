"""Command-line overrides as the shell passes them, and as Hydra parses them.

Hydra's grammar gives a meaning to spaces, commas, brackets, ``=``, ``%``, ``~``, digits, ``null`` and ``true``. In a
setting that holds text (a path, a column, a name) they mean nothing: such a value is put in quotes before Hydra sees
it, so that any name can be typed as it is. What a user put in quotes stays. ``[a,b]`` is a list of columns where a
setting takes several; ``null`` unsets a setting that may be unset. In a sweep (``-m``) a comma outside of quotes
parts the values.
"""

from __future__ import annotations

import re

from selfpretrain.config import Settings, iter_settings

# settings that hold one text or a list of them
COLUMNS = ("task.text", "task.label", "task.options", "task.corpus_columns", "task.label_names")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.S)
_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.S)  # Hydra's own, for sweeps
# settings whose keys are the user's own; Hydra takes new ones behind ++ alone
MAPPINGS = tuple(key for key, field, _ in iter_settings(Settings()) if field.type.startswith("dict["))
RESOURCES = "hydra.sweeper.resources."
# settings that hold text, and whether null unsets each
TEXTS = {key: field.type != "str" for key, field, _ in iter_settings(Settings()) if field.type in ("str", "str | None")}


def quote_override(override: str, is_sweep: bool = False) -> str:
    """``task.path=my file.csv`` -> ``task.path='my file.csv'``, and ``++`` before new keys of a mapping; all else comes back as
    it is.
    """
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if equals and (name.startswith((RESOURCES, *(f"{mapping}." for mapping in MAPPINGS))) or name in MAPPINGS):
        return f"++{name}={value}"
    is_file = name == "study" and value.endswith(".yaml")
    if not equals or not (name in TEXTS or name in COLUMNS or is_file):
        return override
    if is_sweep and _FUNCTION.fullmatch(value):
        return override
    values = [part.strip() for part in _split(value)] if is_sweep else [value]
    return f"{key}={','.join(_quote_value(name, each) for each in values)}"


def _quote_value(name: str, value: str) -> str:
    if _QUOTED.fullmatch(value) or (value == "null" and TEXTS.get(name)):
        return value
    if name in COLUMNS and value.startswith("[") and value.endswith("]"):
        parts = [part.strip() for part in _split(value[1:-1])]
        return f"[{','.join(part if _QUOTED.fullmatch(part) else quote(part) for part in parts)}]"
    return quote(value)


def _split(text: str) -> list[str]:
    """The parts between commas that stand outside of quotes and brackets."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        quoted = _QUOTED.match(text, place)
        if quoted and (place == start or text[start:place].strip() in ("", "[")):
            place = quoted.end()
            continue
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        if text[place] == "," and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
        place += 1
    return [*parts, text[start:]]


def escape_interpolation(text: str) -> str:
    """A text for OmegaConf in which a ``${`` is no interpolation."""
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)


def quote(text: str) -> str:
    """A text in Hydra's quotes; a ``${`` in it is no interpolation."""
    text = escape_interpolation(text)
    text = re.sub(r"(\\+)(?='|\Z)", lambda found: found[1] * 2, text)  # or they would escape the quote
    return "'" + text.replace("'", "\\'") + "'"


def unquote(text: str) -> str:
    """What :func:`quote` made of it, undone."""
    text = re.sub(r"(\\*)\\'", lambda found: found[1][: len(found[1]) // 2] + "'", text[1:-1])
    text = re.sub(r"\\+\Z", lambda found: found[0][: len(found[0]) // 2], text)
    return re.sub(r"(\\*)\\\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", text)


def to_typed(override: str) -> str:
    """An override as a user would type it, before the shell's own quotes."""
    if override.startswith("++") and quote_override(override[2:]) == override:
        return override[2:]
    key, equals, value = override.partition("=")
    if equals and value.startswith("'") and _QUOTED.fullmatch(value):
        typed = f"{key}={unquote(value)}"
        if quote_override(typed) == override:
            return typed
    return override

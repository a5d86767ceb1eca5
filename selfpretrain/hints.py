"""What is wrong with a command line, as one line, and what a name that nobody knows was probably meant to be."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence

from selfpretrain.config import Settings, iter_settings
from selfpretrain.places import list_groups


def hint_at(name: str, known: Sequence[str]) -> str:
    """``did you mean 'x'? `` where one of the known names is near; else empty."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def hint_at_setting(key: str, siblings: Sequence[str]) -> str:
    """The same of a whole key: a setting of that name in another section, a near name of its own, or a near key."""
    last, keys = key.rpartition(".")[2], [name for name, *_ in iter_settings(Settings())]
    namesakes = [name for name in keys if name.rpartition(".")[2] == last]
    if namesakes and last not in siblings:
        return f"did you mean {' or '.join(map(repr, namesakes[:3]))}? "
    return hint_at(last, siblings) or hint_at(key, keys)


def explain_setting(error: Exception, schema: type) -> str:
    """OmegaConf's complaint about one setting as one line, with the settings there are."""
    text = str(error).splitlines()[0].rstrip(".")
    key = str(getattr(error, "full_key", "") or getattr(error, "key", "") or "").partition("[")[0]
    path = key.split(".")
    last, owner = path[-1], getattr(error, "object_type", None)
    if path[0] != "hydra" or not dataclasses.is_dataclass(owner):
        owner = _find_section(schema, path[:-1])
    types = {f.name: str(f.type) for f in dataclasses.fields(owner)}  # type: ignore[arg-type]
    groups = list_groups() if owner is schema is Settings else []
    if last in types:
        fix = f"{key}.<setting>=<value>" if types[last].endswith("Config") else f"{key}=<{types[last]}>"
        return f"setting {key}: {text}; give {fix}"
    return f"setting {key or '?'}: {text}; {hint_at_setting(key, [*types, *groups])}allowed: {', '.join(types)}"


def _find_section(schema: type, path: list[str]) -> type:
    """The dataclass that holds the setting at the end of ``path``, as far as there is one."""
    for name in path:
        factory = {f.name: f.default_factory for f in dataclasses.fields(schema)}.get(name)
        if not (isinstance(factory, type) and dataclasses.is_dataclass(factory)):
            break
        schema = factory
    return schema


def explain_composition(error: Exception, command: str) -> str:
    """Hydra's complaint about the command line as one line."""
    missing, names = getattr(error, "missing_cfg_file", None), list(getattr(error, "options", None) or ())
    if missing and names:
        group, _, name = missing.partition("/") if missing.startswith("study/") else missing.rpartition("/")
        own = "; or a file of your own, study=<file>.yaml, which selfpretrain init writes" if group == "study" else ""
        wrong = "is no file here" if name.endswith(".yaml") else "is not known"
        return f"{group}={name} {wrong}; {hint_at(name, names)}allowed: {', '.join(names)}{own}"
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "key", None) is None:
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        place = re.match(r"In '([^']+\.yaml)'", str(error))  # a study file
        where = f"{place[1].partition('/')[2]}: " if place else ""
        return where + explain_setting(cause, Settings)  # type: ignore[arg-type]
    lines = []
    for line in str(error).splitlines():
        if line.strip().startswith(("Config search path", "See https")):
            break
        # a study is one sweep already, and an unknown key with + would only be refused by our own door
        if line.strip() and "use +" not in line and not (command == "study" and "--multirun" in line):
            lines.append(line.strip().replace("\\'", "'"))
    first = str(error.__cause__ or "").splitlines()
    if first and first[0] not in lines[0]:
        lines[0] += f" ({first[0]})"
    gone = re.search(r"'([\w.]+)' does not exist", lines[0])  # what ~ should delete
    hint = hint_at_setting(gone[1], list_groups()) if gone else ""
    return " ".join(lines[:30]).rstrip(".") + f"; {hint}selfpretrain {command} --help lists the choices"

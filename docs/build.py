"""Write what these pages are made of: ``settings.md`` from the settings, and what the code of the others prints.

    python docs/build.py

A block of Python of a page is executed after those above it; the block of text behind it is what it prints. The cells of
the notebook are executed likewise, and what they print is stored in it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from selfpretrain.config import Settings, iter_settings
from selfpretrain.door import describe_setting, find_folder, list_choices

DOCS = Path(__file__).resolve().parent
EXECUTED = ("verdict.md",)  # pages whose Python is executed and whose text it prints
NOTEBOOK = "stats.ipynb"
COMMAND = "python docs/build.py"
# groups of choices whose files begin with what they are
GROUPS = {
    "model": "models", "study": "studies", "effort": "efforts", "budget": "budgets", "procedure": "procedures", "task": "tasks",
    "text": "texts",
}  # fmt: skip
_PRINTED = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```\n", re.DOTALL)


def execute(code: str, names: dict[str, Any]) -> str:
    """What the code prints; ``names`` are those it knows and adds to."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<page>", "exec"), names)  # our own pages
    return printed.getvalue()


def build_page(text: str) -> str:
    """The page, with what its Python prints now."""
    names: dict[str, Any] = {}
    return _PRINTED.sub(
        lambda found: f"```python\n{found[1]}```\n\n```text\n{execute(found[1], names)}```\n",
        text,
    )


def build_notebook(text: str) -> str:
    """The notebook, with what its cells print now."""
    notebook, names, number = json.loads(text), {}, 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            printed = execute("".join(cell["source"]), names)
            lines = printed.splitlines(keepends=True)
            cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if printed else []
            cell["execution_count"] = number
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def build_settings(_: str = "") -> str:
    """Every setting by section, and the files that name several at once."""
    return "\n".join(iter_reference()) + "\n"


def iter_reference() -> Iterator[str]:
    yield f"""# Every setting

Made from `selfpretrain/config.py` by `{COMMAND}`; `selfpretrain settings` prints the same, `selfpretrain settings pretrain` one section.
Any of them stands on the command line of any command, `<setting>=<value>`; one that does not exist is refused. Where a choice
(`model=`, `effort=`, `study=`, a task's card) sets one, its value there replaces the default below; the command line replaces both.
Names in brackets are sources: [ELECTRA] google-research/electra, [RoBERTa] fairseq's examples/roberta, [BERT] google-research/bert,
[TAPT] Gururangan et al. 2020, [MultiBERTs] Sellam et al. 2022."""
    sections = {section.name: section.default_factory for section in fields(Settings)}
    rows = {name: [] for name in sections}
    for key, field, value in iter_settings(Settings()):
        rows[key.partition(".")[0]].append(describe_setting(key, field, value))
    single = [row for group in rows.values() if len(group) == 1 for row in group]
    yield from ("", "## Of no section", "", *_tabulate(single))
    for name, group in rows.items():
        if len(group) > 1:
            purpose = " ".join(str(sections[name].__doc__).split())
            yield from ("", f"## {name}", "", purpose, "", *_tabulate(group))
    yield from ("", "## Choices", "", "Each is a file under `conf/` or `corpora/` with its source at its head.")
    for group, words in GROUPS.items():
        yield from ("", f"### {group if group != 'text' else 'corpora/text'}: {words}", "")
        yield from (f"- `{name}`{_read_head(group, name)}" for name in list_choices(group))


def _tabulate(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield "| setting | type | what is allowed; what it means |"
    yield "|---|---|---|"
    for key, type_name, meaning in rows:
        cells = (f"`{key}`", type_name.replace("<", "&lt;"), meaning.replace("<", "&lt;"))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _read_head(group: str, name: str) -> str:
    """What the file says first of itself, up to the end of the sentence; empty where it says nothing."""
    (path,) = (
        path for folder in ("conf", "corpora") if (path := find_folder(folder) / group / f"{name}.yaml").is_file()
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines[lines[0].startswith("# @package") :]:
        if not line.startswith("# ") or line.startswith("#   "):
            break
        comments.append(line[2:])
    sentence = re.split(r"(?<!\bal\.)(?<=[.?])\s(?=[A-Z])", " ".join(comments), maxsplit=1)[0].rstrip(".:")
    return f": {sentence}".replace("<", "&lt;") if sentence else ""


BUILDERS: dict[str, Callable[[str], str]] = {
    "settings.md": build_settings,
    NOTEBOOK: build_notebook,
    **dict.fromkeys(EXECUTED, build_page),
}


def main() -> None:
    for name, build in BUILDERS.items():
        path = DOCS / name
        path.write_text(build(path.read_text(encoding="utf-8") if path.is_file() else ""), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()

"""Tab completion: a few lines for the shell, which ask this module for every word.

    eval "$(selfpretrain completion bash)"            in ~/.bashrc; zsh in ~/.zshrc, after compinit
    selfpretrain completion fish | source             in ~/.config/fish/config.fish

Words come from the tables that the commands themselves read: the commands, the presets and cards on disk, and the settings.
Nothing heavy is imported for a word; a shell waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from selfpretrain.config import Settings, UserError, iter_settings
from selfpretrain.fields import Limit
from selfpretrain.places import find_folder, list_choices

# bash ends a word at = and :, and replaces what stands behind the last of them only
BASH = """\
_selfpretrain() {
    local typed=${COMP_LINE:0:$COMP_POINT} cut= line quoted
    local word=${typed##*[[:space:]]}
    [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && cut=${word%"${word##*=}"}
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && cut=${word%"${word##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r line; do
        printf -v quoted %q "${line#"$cut"}"
        COMPREPLY+=("$quoted")
    done < <("$1" completion words "$typed" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && $quoted == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _selfpretrain selfpretrain
"""
ZSH = """\
_selfpretrain() {
    local line
    local -a open closed
    for line in "${(@f)$($words[1] completion words "$LBUFFER" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        if [[ $line == *[=./] ]]; then open+=("$line"); else closed+=("$line"); fi
    done
    compadd -S '' -- $open
    compadd -- $closed
}
compdef _selfpretrain selfpretrain
"""
FISH = """\
complete -c selfpretrain -f -a '(selfpretrain completion words (commandline -cp | string collect) 2>/dev/null)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
OPTIONS = ("--help", "--cfg", "--multirun", "--info", "--config-dir")  # Hydra's, for people
BOOLEANS = ("true", "false")
FILES = re.compile(r"[._](path|dir|env)$")  # settings that hold a file or folder


def print_completion(arguments: Sequence[str], commands: Collection[str]) -> None:
    """The script of a shell; of ``words <line>``, what the last word of a command line up to the cursor may become."""
    match arguments:
        case ["words", line]:
            print("\n".join(complete(line, commands)))
        case [shell] if shell in SHELLS:
            print(SHELLS[shell], end="")
        case _:
            raise UserError(
                f"selfpretrain completion {' '.join(arguments)}: name a shell of {', '.join(SHELLS)}; in ~/.bashrc: "
                'eval "$(selfpretrain completion bash)"'
            )


def complete(line: str, commands: Collection[str]) -> list[str]:
    """What the last word of ``line``, which begins with the program, may become; sorted, each a whole word."""
    *before, current = re.split(r"\s+", line.lstrip())
    words = before[1:]
    command = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in commands), None)
    if command is None:
        found: Iterable[str] = [name.split()[0] for name in commands] if not words else []
    else:
        rest = words[len(command.split()) :]
        found = _list_words(command, current, is_first=not rest)
        if not rest:  # of two words
            found = [*found, *(name.split()[1] for name in commands if name.startswith(f"{command} "))]
    return sorted({word for word in found if word.startswith(current)})


def _list_words(command: str, current: str, is_first: bool) -> Iterable[str]:
    """Words that may follow a command where ``current`` stands, and some that may not."""
    key, equals, value = current.partition("=")
    if equals:
        return (f"{key}={choice}" for choice in _list_values(key, value))
    if command == "completion":
        return SHELLS if is_first else ()
    sections = {name.partition(".")[0] for name, *_ in iter_settings(Settings())}
    if command == "settings":
        return sections
    if current.startswith("-"):
        return OPTIONS
    groups, files = list_groups(command), list(_list_files(current)) if command == "init" and is_first else []
    keys = [name for name, *_ in iter_settings(Settings()) if _is_read(command, name)]
    if "." in current:
        return [*(f"{name}=" for name in keys), *files]
    tops = {name if "." in name else f"{name}=" for name in keys}
    return [*(f"{name}=" for name in groups), *{re.sub(r"\..*", ".", name) for name in tops}, *files]


def _is_read(command: str, key: str) -> bool:
    """Whether a command takes this setting: those without a root under ``conf`` take few."""
    few = {"init": ("task.", "study.name"), "doctor": ("runtime.",)}
    return key.startswith(few.get(command, ""))


def list_groups(command: str) -> list[str]:
    """The groups of presets and cards that a command composes, as its root under ``conf`` names them."""
    root = find_folder("conf") / f"{command.replace(' ', '_')}.yaml"
    if not root.is_file():
        return []
    defaults = root.read_text(encoding="utf-8").partition("\ndefaults:\n")[2]
    return re.findall(r"^  - (\w+): ", defaults, re.MULTILINE)


def _list_values(key: str, value: str) -> Iterable[str]:
    """What a group or a setting may be."""
    if "." not in key and (choices := list_choices(key)):
        return [*choices, *(_list_files(value, (".yaml",)) if key == "study" else ())]
    field = {name: field for name, field, _ in iter_settings(Settings())}.get(key)
    if field is None:
        return ()
    if field.type == "bool":
        return BOOLEANS
    if FILES.search(key):
        return _list_files(value)
    allowed = field.metadata.get("allowed")
    if allowed is None and field.type == "str" and "." in key:
        from selfpretrain.door import NAMED  # tables of objects, slower to import

        allowed = NAMED.get(key)
    return () if allowed is None or isinstance(allowed, Limit) else [name or "null" for name in allowed]


def _list_files(typed: str, endings: tuple[str, ...] = ("",)) -> Iterable[str]:
    """The files and folders that a path may become; hidden ones where it names a dot."""
    folder, name = re.fullmatch(r"(.*/)?([^/]*)", typed, re.DOTALL).groups()  # type: ignore[union-attr]
    path = Path(folder or ".").expanduser()
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            if entry.is_dir():
                yield f"{folder or ''}{entry.name}/"
            elif entry.name.endswith(endings):
                yield f"{folder or ''}{entry.name}"

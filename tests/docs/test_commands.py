"""Every command that README.md and the pages show is run, small; what cannot be is composed or looked up, with the reason.

``extend.md``, ``tutorial.md`` and ``troubleshooting.md`` are followed by tests of their own.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from urllib.parse import unquote

import pytest

from selfpretrain.__main__ import COMMANDS
from selfpretrain.config import Settings, iter_settings
from selfpretrain.door import compose_settings
from tests.conftest import write_csv
from tests.docs.conftest import FOLLOWED, FORM, PAGES, ROOT, check_launcher, is_ours, list_blocks, list_lines

# composed and checked, as its first step would be, but not carried out
COMPOSED = {
    r"hydra/launcher=(slurm|ray|local_gpus)": "several machines or GPUs; tests/test_launchers.py has what can be had of them here",
    r"study=(paper|multiberts|swe_vs_plain|engines|quickstart)": "data of the hub, and hours",
    r"task=(agnews|sst2)\b": "data of the hub",
    r"engine=fairseq": "fairseq's environment; tests/interop has it where it was built",
    r"tracking=wandb": "a process of W&B's; tests/test_tracking.py has its real client",
    r"corpus_engine=ray": "a Ray cluster; tests/stages/test_corpus_on_ray.py has one",
    r"^selfpretrain study task=local task.path=reviews.csv task.text=body task.label=topic$": "the tutorial's, on another file",
    r"study -cd mine": "the plan above it reads all of the same",
}
# of other programs
OTHERS = {
    r"make \w+": "dry",
    r"launch/\w+\.sh( .*)?": "its study is composed",
    r"python -m (benchmarks|launch)[\w.]* ?.*": "minutes; the module is there",
    r"pip install .*": "a network",
    r"python docs/build.py": "tests/docs/test_made.py compares what it writes",
    r"sbatch launch/slurm.sh": "Slurm",
    r"ray start.*": "Ray's own",
    r'eval "\$\(selfpretrain completion bash\)"': "tests/welcome/test_completion.py",
}
SPAN = re.compile(
    r"`((?:\w+=\S+ )*(?:(?:selfpretrain|make|python -m|python docs/build.py|pip|sbatch|eval)(?= |`)|launch/\w+\.sh)[^`\n]*)`"
)


def list_commands() -> dict[str, list[str]]:
    """Every command of each page, in blocks of shell and in the text."""
    found = {}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        lines = (
            []
            if path.name in FOLLOWED
            else [each for block in list_blocks(text, "sh") for each in list_lines(block.text)]
        )
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        spans = [span for span in SPAN.findall(prose) if span not in ("selfpretrain", "make")]
        found[path.name] = [re.sub(r"\s+#.*", "", line).strip() for line in dict.fromkeys([*lines, *spans])]
    return found


SHOWN = list_commands()
ALL = list(dict.fromkeys(line for lines in SHOWN.values() for line in lines))  # a page's in its order
WHOLE = ("settings", "doctor")  # commands that need no setting
FORMS = [
    line for line in ALL
    if is_ours(line) and (FORM.search(line) or ((name := line.removeprefix("selfpretrain ")) in COMMANDS and name not in WHOLE))
]  # fmt: skip
RUN = [line for line in ALL if is_ours(line) and line not in FORMS]
NOT_OURS = [line for line in ALL if not is_ours(line)]


def find_reason(line: str) -> str:
    return next((reason for pattern, reason in COMPOSED.items() if re.search(pattern, line)), "")


def split_command(line: str) -> tuple[str, list[str]]:
    """The command and its overrides."""
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    assert words.pop(0) == "selfpretrain"
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert name in COMMANDS, line
    return name, words[len(name.split()) :]


def test_there_are_commands():
    assert len(RUN) > 20 and len(FORMS) > 5
    assert all(any(re.search(pattern, line) for line in RUN) for pattern in COMPOSED), "a reason that no command needs"


@pytest.mark.parametrize("line", NOT_OURS)
def test_commands_of_others_are_known(line):
    assert any(re.fullmatch(pattern, line) for pattern in OTHERS), f"{line}: say in OTHERS what becomes of it"
    if line.startswith("make "):
        assert subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True).returncode == 0
    elif line.startswith("launch/"):
        check_launcher(line)
    elif line.startswith("python -m "):
        assert importlib.util.find_spec(line.split()[2]), line


@pytest.mark.parametrize("line", FORMS)
def test_forms_name_what_there_is(line):
    _, overrides = split_command(line.replace("...", ""))
    known = {key for key, _, _ in iter_settings(Settings())}
    groups = {"model", "corpus", "task", "study", "effort", "budget", "procedure", "tracking", "hydra/launcher"}
    for key in (each.partition("=")[0] for each in overrides if "=" in each):
        assert key in known | groups or key.startswith("hydra."), f"{line}: {key} is no setting"


@pytest.mark.parametrize("line", [line for line in RUN if find_reason(line)])
def test_what_cannot_be_run_is_composed(line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, overrides = split_command(line)
    if overrides[:1] == ["-cd"]:
        pytest.skip(find_reason(line))
    compose_settings(name.replace(" ", "_"), [each for each in overrides if not each.startswith("hydra.launcher.")])


@pytest.fixture
def files(workplace):
    """Besides those of the workplace: what data.md and README.md speak of."""
    rows = [{"subject": f"ticket {n}", "body": f"text {n} {'ab'[n % 2] * 3}", "queue": "ab"[n % 2]} for n in range(60)]
    write_csv(workplace / "tickets.csv", rows)
    (workplace / "tickets.tsv").write_text((workplace / "tickets.csv").read_text().replace(",", "\t"))
    (workplace / "test.csv").write_text((workplace / "reviews.csv").read_text().replace("title", "other"))
    study = workplace / "mine" / "study"
    study.mkdir(parents=True, exist_ok=True)
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (study / "ours.yaml").write_text(list_blocks(page, "yaml")[0].text)
    return workplace


RUN_ON = {name: [line for line in lines if line in RUN and not find_reason(line)] for name, lines in SHOWN.items()}


@pytest.mark.parametrize("name", [name for name, lines in RUN_ON.items() if lines])
def test_commands_end_well(type_in, files, name):
    """From the first to the last of a page, since one may go on with what another made."""
    for line in RUN_ON[name]:
        outcome = type_in(line)
        assert outcome.code == 0, (line, outcome)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads], target

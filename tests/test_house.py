"""The rules of the house: import layers, owners of libraries, sizes, no word about this or that machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [p for folder in ("selfpretrain", "hydra_plugins") for p in sorted((ROOT / folder).rglob("*.py"))]

# a room may import rooms of lower floors, also from inside a function; within a room modules make no circle
FLOORS = [
    ["fields", "places"],
    ["starts"],
    ["config", "seeds", "numbers", "hashing"],
    ["files", "children", "cluster", "overrides", "hints", "stats", "tracking", "engines", "model"],
    ["pretext", "relay"],
    ["contradictions"],
    ["door", "endings", "progress", "devices", "kinds"],
    ["cards"],
    ["sources"],
    ["data"],
    ["tasks", "runs"],
    ["train"],
    ["interop"],
    ["stages"],
    ["study"],
    ["report"],
    ["welcome"],
    ["__main__", "hydra_plugins"],
]
OWNERS = {
    "wandb": {"selfpretrain.relay"},
    "hydra": {"selfpretrain.door", "selfpretrain.__main__", "hydra_plugins"},
    "omegaconf": {"selfpretrain.door", "selfpretrain.__main__", "hydra_plugins"},
    "transformers": {"selfpretrain.interop"},
    "huggingface_hub": {"selfpretrain.interop", "selfpretrain.sources"},
    "fairseq": {"selfpretrain.interop"},
    "tokenizers": {"selfpretrain.data.tokenizer"},
    "datasets": {"selfpretrain.sources"},
    "matplotlib": {"selfpretrain.report"},
    "jinja2": {"selfpretrain.report.page"},
    "ray": {"selfpretrain.cluster"},
}
WITHOUT_TORCH = ["selfpretrain.stats", "selfpretrain.kinds", "selfpretrain.tasks.scores", "selfpretrain.runs.folder", "selfpretrain.runs.identity", "selfpretrain.runs.budget",
                 "selfpretrain.runs.results", "selfpretrain.study.plan", "selfpretrain.study.sweep", "selfpretrain.study.watch", "selfpretrain.study.facts", "selfpretrain.study.power",
                 "selfpretrain.model.flops", "selfpretrain.pretext.packing", "selfpretrain.pretext.batches", "selfpretrain.report.write", "selfpretrain.door", "selfpretrain.devices",
                 "selfpretrain.sources.documents", "selfpretrain.stages.corpus", "selfpretrain.stages.work",
                 "selfpretrain.welcome.doctor", "selfpretrain.welcome.starter"]  # fmt: skip


def get_module(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def get_room(module: str) -> str:
    """The package right below selfpretrain that a module lies in, or the module itself."""
    return module.removeprefix("selfpretrain.").split(".")[0]


def iter_imports(path: Path, inside_functions: bool = True):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside_functions else ast.iter_child_nodes(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            known = {get_module(p) for p in SOURCES}
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


@pytest.mark.parametrize("path", [p for p in SOURCES if get_module(p) != "selfpretrain"], ids=get_module)
def test_imports_go_down(path):
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    own = get_room(get_module(path))
    assert own in floors, f"{own} stands on no floor"
    for name in iter_imports(path):
        room = get_room(name)
        if name.startswith("selfpretrain.") and room != own and name in {get_module(p) for p in SOURCES}:
            assert floors[room] < floors[own], f"{get_module(path)} imports {name}, which is not below it"


def test_modules_make_no_circle():
    known = {get_module(p) for p in SOURCES}
    graph = {get_module(p): {name for name in iter_imports(p) if name in known} - {get_module(p)} for p in SOURCES}
    graph["selfpretrain"] = set()  # its name and version
    TopologicalSorter(graph).prepare()  # CycleError names the modules


@pytest.mark.parametrize("path", SOURCES, ids=get_module)
def test_every_library_has_one_owner(path):
    module = get_module(path)
    for name in iter_imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or any(module == o or module.startswith(o + ".") for o in owners), (
            f"{module} imports {name}"
        )


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_tables_need_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_commands_are_listed_quickly_without_heavy_imports():
    code = "import sys; sys.argv = ['selfpretrain']; from selfpretrain.__main__ import main; main(); sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "selfpretrain study" in shown.stdout


@pytest.mark.parametrize("path", SOURCES, ids=get_module)
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.body[0].lineno
            if ast.get_docstring(node):  # a public function may be explained at length
                lines = node.end_lineno - node.body[0].end_lineno
            assert lines <= 60, f"{node.name} has {lines} lines"


def test_no_drawers():
    drawers = ("utils", "util", "common", "helpers", "misc")
    assert not [p for p in SOURCES if p.stem in drawers or any(part in drawers for part in p.parts)]


def test_yaml_is_short():
    for folder in ("conf", "corpora"):
        for path in (ROOT / folder).rglob("*.yaml"):
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 30, path


def test_one_file_unpickles_and_weights_alone():
    forbidden = (
        r"\b(pickle\.loads?|Unpickler|joblib\.load|allow_pickle=True|trust_remote_code=True|weights_only=False)\b"
    )
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(forbidden, text), path
        calls = [
            node for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
        ]  # fmt: skip
        assert len(calls) == len(re.findall(r"\btorch\.load\b|\bimport load\b", text)), path
        assert not calls or get_module(path) == "selfpretrain.interop.pickled", path
        for call in calls:
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert settings.get("weights_only") == "True", path

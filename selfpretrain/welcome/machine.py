"""What this machine is: Python and torch, devices, cores, memory and disk, each as a :class:`Finding`.

Torch is not imported here, as it takes seconds: its version stands in a file, that its libraries load is tried in another
process, and that one imports it only where there may be a GPU to ask it about.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfpretrain.config import RuntimeConfig
from selfpretrain.files import CannotWrite, explain_write_errors, make_folder, write_text

OK, NOTE, PROBLEM = "ok", "note", "problem"
GIB = 2**30
LEAST_FREE_GIB = 1.0  # on a disk; a study of tiny models writes less
FEW_FREE_GIB = 10.0  # below it a note; checkpoints of a base model are a gigabyte each
FEW_MEMORY_GIB = 2.0
TORCH_SECONDS = 15.0  # for a GPU machine: torch has to be imported there
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
NO_LIMIT = 1 << 60  # cgroup v1 says a huge number


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line: ok, note or problem; about what, what was seen, and what to do about it."""

    level: str
    about: str
    seen: str
    fix: str = ""


def look_at_python() -> Finding:
    """The interpreter, and whether the packages are there in versions that this one wants."""
    seen = f"{platform.python_version()} ({sys.executable})"
    wrong = list(_list_unmet())
    if wrong:
        return Finding(PROBLEM, "python", f"{seen}, but {'; '.join(wrong[:3])}", "pip install --upgrade selfpretrain")
    return Finding(OK, "python", seen)


def _list_unmet() -> Iterator[str]:
    from packaging.requirements import Requirement

    try:
        needed = importlib.metadata.requires("selfpretrain") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return
    for requirement in map(Requirement, needed):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{requirement.name} is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement} is wanted and {found} installed"


def look_at_torch(runtime: RuntimeConfig) -> Iterator[Finding]:
    """Torch's version and build, whether it loads, and the device and precision that runs will have."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        yield Finding(PROBLEM, "torch", "not installed", "pip install torch")
        return
    build = runpy.run_path(str(Path(spec.submodule_search_locations[0]) / "version.py"))
    cuda = build.get("cuda") or build.get("hip")
    seen = f"{build['__version__']}, {f'built for CUDA {cuda}' if cuda else 'built for CPUs'}"
    asked = ask_torch(runtime)
    if "error" in asked:
        yield Finding(
            PROBLEM, "torch", f"{seen}, does not load: {asked['error']}", "pip install --force-reinstall torch"
        )
        return
    if "late" in asked:
        yield Finding(NOTE, "torch", f"{seen}; did not answer within {TORCH_SECONDS:g} s", "selfpretrain doctor again")
        return
    yield Finding(OK, "torch", seen)
    yield _describe_device(runtime, cuda, asked)


def _describe_device(runtime: RuntimeConfig, cuda: str | None, asked: dict[str, Any]) -> Finding:
    wide, narrow = (("bf16" if asked[name] else "fp32") for name in ("wide_bf16", "narrow_bf16"))
    precision = wide if wide == narrow else f"{wide}, fp32 for models narrower than 256"
    if asked["device"] == "cuda":
        return Finding(OK, "device", f"{'; '.join(asked['gpus'])}; precision=auto is {precision}")
    cpu = asked["cpu"] or platform.processor() or platform.machine()
    seen = f"CPU, {cpu}; precision=auto is {precision}"
    if runtime.device == "cuda":
        return Finding(PROBLEM, "device", f"no CUDA device, and runtime.device=cuda; {seen}", "runtime.device=auto")
    if asked["has_driver"]:
        why = "torch sees none" if cuda else "this torch is built for CPUs"
        return Finding(
            NOTE, "device", f"{seen}; a GPU's driver is here, but {why}", "https://pytorch.org/get-started/locally"
        )
    return Finding(OK, "device", seen)


def ask_torch(runtime: RuntimeConfig) -> dict[str, Any]:
    """What another process finds: ``device``, ``gpus``, ``wide_bf16``, ...; or ``error``, or ``late``."""
    places = [os.environ.get("PYTHONPATH"), str(Path(__file__).resolve().parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [sys.executable, "-P", "-m", "selfpretrain.welcome.machine", runtime.device]
    if sys.version_info < (3, 11):
        command.remove("-P")
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        return {"late": True}
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer_for_torch(device: str) -> dict[str, Any]:
    """In a process of its own: what runs will be computed on. Torch is imported where there may be a GPU."""
    from selfpretrain.devices import BF16_FROM, has_bf16, may_have_gpu, read_cpu_fact

    wanted = device if device != "cuda" else "auto"
    may = may_have_gpu()
    if not may or device == "cpu":
        spec = importlib.util.find_spec("torch")
        assert spec is not None and spec.submodule_search_locations
        for library in sorted((Path(spec.submodule_search_locations[0]) / "lib").glob("libtorch_python.*")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        found: dict[str, Any] = {"device": "cpu", "gpus": []}
    else:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        gpus = [torch.cuda.get_device_properties(number) for number in range(count)]
        named = [f"cuda:{n} {gpu.name}, {gpu.total_memory / GIB:.0f} GiB" for n, gpu in enumerate(gpus)]
        found = {"device": "cuda" if gpus else "cpu", "gpus": named}
    bf16 = {"wide_bf16": has_bf16(wanted, BF16_FROM), "narrow_bf16": has_bf16(wanted, BF16_FROM - 1)}
    return {**found, **bf16, "has_driver": may and sys.platform == "linux", "cpu": read_cpu_fact("model name")}


def look_at_cores(runtime: RuntimeConfig) -> Finding:
    """The cores that this process may use, and the threads that torch will start."""
    cores, why = count_cores()
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = runtime.num_threads or (int(given) if given.isdigit() else None)
    said = f"{cores:g} cores{why}; "
    if threads is not None:
        source = "runtime.num_threads" if runtime.num_threads else "OMP_NUM_THREADS"
        seen = f"{said}{source}={threads}"
        fix = "" if threads <= cores else f"runtime.num_threads={max(1, int(cores))}"
        return Finding(NOTE if fix else OK, "cores", seen + (", more than there are" if fix else ""), fix)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < usable:  # torch counts processors, and knows no quota
        fix = f"runtime.num_threads={max(1, int(cores))}"
        return Finding(NOTE, "cores", f"{said}torch may start more threads than that", fix)
    return Finding(OK, "cores", f"{said}torch chooses its threads")


def count_cores() -> tuple[float, str]:
    """Cores of this process, and in words what limits them: its affinity, or the quota of its container."""
    every = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    quota = read_cpu_quota()
    if quota is not None and quota < mine:
        return quota, f" of {every}, by this container's quota"
    return mine, f" of {every}, by affinity" if mine < every else ""


def read_cpu_quota() -> float | None:
    """Cores' worth of time that the control group gives; None without a limit."""
    v2, v1 = CGROUP / "cpu.max", CGROUP / "cpu" / "cpu.cfs_quota_us"
    try:
        if v2.is_file():
            quota, period = v2.read_text().split()
        else:
            quota, period = v1.read_text(), v1.with_name("cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file, or "max"
        return None


def look_at_memory() -> Finding:
    """Memory of the machine, or of the container where that is less."""
    total, free = read_memory()
    if total is None or free is None:
        return Finding(NOTE, "memory", "unknown on this system")
    seen = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    few = free < FEW_MEMORY_GIB * GIB
    return Finding(NOTE if few else OK, "memory", seen, "end other programs, or take a smaller model=" if few else "")


def _read_cached(file: Path) -> int:
    """Bytes of files that a control group keeps in memory, and gives up for programs."""
    if not file.is_file():
        return 0
    lines = (line.split() for line in file.read_text().splitlines())
    return max((int(value) for name, value in lines if name in ("inactive_file", "total_inactive_file")), default=0)


def read_memory() -> tuple[int | None, int | None]:
    """Bytes in all and free: of the machine, or of the control group if it has fewer; None where nothing is known."""
    if not MEMINFO.is_file():
        return None, None
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = int((CGROUP / limit).read_text()), int((CGROUP / used).read_text())
            now -= _read_cached((CGROUP / limit).with_name("memory.stat"))
        except (OSError, ValueError):
            continue
        if most < min(total, NO_LIMIT):
            total, free = most, min(free, most - now)
    return total, free


def look_at_disk(runs_dir: str) -> Iterator[Finding]:
    """Whether ``runtime.runs_dir`` can be written, renamed in and locked, and how much room is there and for temporary files."""
    path = Path(runs_dir).expanduser()
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if problem := try_folder(there):
        yield Finding(PROBLEM, "runs_dir", f"{path}: {problem}", "runtime.runs_dir=<folder on another disk>")
        return
    free = shutil.disk_usage(there).free / GIB
    seen = f"{path} can be written and locked; {free:,.1f} GiB free"
    level = PROBLEM if free < LEAST_FREE_GIB else NOTE if free < FEW_FREE_GIB else OK
    yield Finding(
        level, "runs_dir", seen, "" if level == OK else "free some space, or runtime.runs_dir=<folder on another disk>"
    )
    temporary = Path(tempfile.gettempdir())
    free = shutil.disk_usage(temporary).free / GIB
    if free < LEAST_FREE_GIB:  # a task is gathered there
        yield Finding(NOTE, "temporary", f"{temporary}: {free:.1f} GiB free", "TMPDIR=<folder on another disk>")


def try_folder(folder: Path) -> str:
    """What does not work in a folder; empty where it can be written, renamed in and locked."""
    from filelock import FileLock, Timeout

    try:
        with explain_write_errors(folder), tempfile.TemporaryDirectory(prefix=".selfpretrain-", dir=folder) as place:
            write_text(Path(place) / "first", "a")  # by way of another name
            os.replace(make_folder(Path(place) / "old"), Path(place) / "new")
            lock = Path(place) / "lock"
            with FileLock(lock, timeout=0):
                try:
                    with FileLock(lock, timeout=0):
                        return "locks do not hold on this file system"
                except Timeout:
                    return ""
    except Timeout:
        return "cannot be locked"
    except CannotWrite as error:
        return str(error).partition(";")[0]
    except (OSError, NotImplementedError) as error:  # a lock that the file system has not
        return f"cannot be written, renamed in or locked: {error}"


if __name__ == "__main__":
    print(json.dumps(answer_for_torch(sys.argv[1])))

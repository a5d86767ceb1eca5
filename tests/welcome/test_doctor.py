"""``selfpretrain doctor``: every line ok, note or problem, nothing waited for too long, and the exit code."""

from __future__ import annotations

import re
import threading
import time

import pytest
import torch

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.welcome import doctor, machine, surroundings
from selfpretrain.welcome.machine import NOTE, OK, PROBLEM, Finding


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, no mirror and no logins but those of a test."""
    for name in ("SELFPRETRAIN_DATA", "WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))


def only(found) -> Finding:
    (finding,) = [found] if isinstance(found, Finding) else list(found)
    return finding


def test_every_line_says_what_and_how_to_mend_it(command, tmp_path):
    outcome = command("doctor", f"runtime.runs_dir={tmp_path / 'runs'}", "runtime.device=cpu")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    *lines, last = outcome.out.splitlines()
    assert all(re.match(r"(ok|note)  +\w+  +\S", line) for line in lines), lines
    assert all(" ->  " in line for line in lines if line.startswith("note")), lines
    about = [line.split()[1] for line in lines]
    assert {
        "python",
        "torch",
        "device",
        "cores",
        "memory",
        "runs_dir",
        "hf",
        "slurm",
        "ray",
        "fairseq",
        "mirror",
        "hub",
        "wandb",
    } <= {*about}
    (said,) = [line for line in lines if line.split()[1] == "torch"]
    assert torch.__version__ in said
    assert last.startswith("nothing stops a study here; notes: ")
    assert not (tmp_path / "runs").exists() and not list(tmp_path.glob(".selfpretrain-*"))


def test_a_problem_is_exit_code_1(command, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = command("doctor", f"runtime.runs_dir={tmp_path / 'file'}", "runtime.device=cpu")
    assert outcome.code == 1 and "1 of these would stop a study" in outcome.out
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("problem")]
    assert "a file stands where a folder is needed" in line and "->  runtime.runs_dir=" in line


@pytest.mark.parametrize(("word", "said"), [
    ("study.name=x", "not study.name=x"), ("runtime", "not runtime"), ("runtime.device=tpu", "allowed: auto, cpu, cuda"),
    ("runtime.runs_dri=x", "did you mean 'runs_dir'?"),
])  # fmt: skip
def test_wrong_settings_are_refused(command, word, said):
    outcome = command("doctor", word)
    assert (outcome.code, outcome.out) == (2, "") and said in outcome.err


def test_what_hangs_or_fails_is_a_line_and_the_others_are_there():
    never = threading.Event()

    def fail():
        raise UserError("this is wrong")

    def explode():
        raise RuntimeError("a fault")

    started = time.monotonic()
    looks = [
        ("slow", 0.2, lambda: never.wait(30)),
        ("bad", 1.0, fail),
        ("worse", 1.0, explode),
        ("good", 1.0, lambda: Finding(OK, "good", "so")),
    ]
    found = doctor.look(looks)
    assert time.monotonic() - started < 20
    never.set()
    assert [finding.level for finding in found] == [PROBLEM, PROBLEM, PROBLEM, OK]
    assert [finding.seen for finding in found] == [
        "no answer within 0.2 s",
        "this is wrong",
        "RuntimeError: a fault",
        "so",
    ]


def test_torch_that_does_not_load(monkeypatch, tmp_path):
    folder = tmp_path / "torch"
    (folder / "lib").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "version.py").write_text("__version__ = '9.9'\ncuda = None\n")
    (folder / "lib" / "libtorch_python.so").write_text("no library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = machine.ask_torch(RuntimeConfig(device="cpu"))
    assert "libtorch_python.so" in asked["error"]


def test_devices_in_words():
    gpu = {
        "device": "cuda",
        "gpus": ["cuda:0 X, 80 GiB"],
        "wide_bf16": True,
        "narrow_bf16": True,
        "has_driver": True,
        "cpu": "",
    }
    found = machine._describe_device(RuntimeConfig(), "12.8", gpu)
    assert (found.level, found.seen) == (OK, "cuda:0 X, 80 GiB; precision=auto is bf16")
    cpu = {**gpu, "device": "cpu", "gpus": [], "narrow_bf16": False, "cpu": "Y"}
    found = machine._describe_device(RuntimeConfig(), None, cpu)
    assert (
        found.level == NOTE
        and "bf16, fp32 for models narrower than 256" in found.seen
        and "built for CPUs" in found.seen
    )
    assert machine._describe_device(RuntimeConfig(device="cuda"), None, cpu).level == PROBLEM
    assert machine._describe_device(RuntimeConfig(), None, {**cpu, "has_driver": False}).level == OK


def test_limits_of_a_container(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert machine.read_cpu_quota() is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{2 << 30}\n")
    cores = machine.look_at_cores(RuntimeConfig())
    assert cores.level == NOTE and "0.5 cores" in cores.seen and cores.fix == "runtime.num_threads=1"
    memory = machine.look_at_memory()
    assert memory.level == NOTE and "1.0 of 3.0 GiB free" in memory.seen
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {1 << 30}\nactive_file 9\n")  # given up for programs
    assert "2.0 of 3.0 GiB free" in machine.look_at_memory().seen
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.read_cpu_quota() is None
    assert machine.look_at_cores(RuntimeConfig(num_threads=1)).level == OK
    many = machine.look_at_cores(RuntimeConfig(num_threads=10_000))
    assert many.level == NOTE and "more than there are" in many.seen


def test_locks_that_do_not_hold(monkeypatch, tmp_path):
    from contextlib import nullcontext

    assert machine.try_folder(tmp_path) == ""
    monkeypatch.setattr("filelock.FileLock", lambda *_, **__: nullcontext())
    assert machine.try_folder(tmp_path) == "locks do not hold on this file system"
    assert only(machine.look_at_disk(str(tmp_path))).level == PROBLEM


def test_a_full_disk(monkeypatch, tmp_path):
    sizes = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: sizes)
    found = list(machine.look_at_disk(str(tmp_path / "a" / "b")))
    assert [finding.level for finding in found] == [PROBLEM, NOTE] and "0.0 GiB free" in found[0].seen


def test_mirror(monkeypatch, mnli_mirror):
    found = only(surroundings.look_at_mirror())
    assert found.level == NOTE and ": hans, mnli, snli; the general text is docs" in re.sub(
        r"mnli_mm, ", "", found.seen
    )
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(mnli_mirror / "gone"))
    found = only(surroundings.look_at_mirror())
    assert found.level == PROBLEM and "is not a folder" in found.seen and "unset it" in found.fix
    monkeypatch.delenv("SELFPRETRAIN_DATA")
    assert only(surroundings.look_at_mirror()).level == NOTE


def test_hub(monkeypatch):
    assert "HF_HUB_OFFLINE" in surroundings.look_at_hub().seen
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = surroundings.look_at_hub()
    assert found.level == NOTE and "does not answer" in found.seen and "SELFPRETRAIN_DATA" in found.fix


def test_wandb_login(monkeypatch, tmp_path):
    assert (surroundings.look_at_wandb().level, surroundings.look_at_wandb().fix) == (NOTE, "wandb login")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    found = surroundings.look_at_wandb()
    assert found.level == OK and "secret" not in found.seen
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert surroundings.look_at_wandb().fix == "unset WANDB_MODE"


def test_extras(monkeypatch, tmp_path):
    found = {
        finding.about: finding for finding in surroundings.look_at_extras(RuntimeConfig(fairseq_env=str(tmp_path)))
    }
    assert found["hf"].level == OK and found["fairseq"].fix == f"launch/fairseq_env.sh {tmp_path}"
    (tmp_path / "installed").write_text("")
    found = {
        finding.about: finding for finding in surroundings.look_at_extras(RuntimeConfig(fairseq_env=str(tmp_path)))
    }
    assert found["fairseq"].level == OK

    def lack(name):
        raise surroundings.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(surroundings.importlib.metadata, "version", lack)
    found = {finding.about: finding for finding in surroundings.look_at_extras(RuntimeConfig())}
    assert found["ray"].level == NOTE and found["ray"].fix == 'pip install "selfpretrain[ray]"'

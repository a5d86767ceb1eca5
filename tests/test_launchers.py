"""Who carries a study's cells out changes nothing of what comes of them; what cannot be is refused before anything starts."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from joblib.externals.loky import reusable_executor

from hydra_plugins.selfpretrain_launchers import pool, slurm
from selfpretrain.config import UserError
from selfpretrain.report import plots
from tests.conftest import start_ray

ROOT = Path(__file__).resolve().parent.parent
HAS_RAY, HAS_SUBMITIT = (importlib.util.find_spec(name) is not None for name in ("ray", "submitit"))
needs_ray = pytest.mark.skipif(not HAS_RAY, reason='pip install "selfpretrain[ray]"')
needs_submitit = pytest.mark.skipif(not HAS_SUBMITIT, reason='pip install "selfpretrain[slurm]"')


@pytest.fixture
def study(local, tiny, command, tmp_path, monkeypatch):
    """``study("a", ...)``: a study of none and own, its runs in that folder."""
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})
    settings = [setting for setting in tiny if not setting.startswith("runtime.runs_dir")]

    def run(folder, *more):
        given = [*settings, *local(), "study.pretrain_seeds=2", "study.num_replicates=200", "runtime.num_threads=1"]
        return command("study", *given, f"runtime.runs_dir={tmp_path / folder}", *more)

    return run


@pytest.fixture(autouse=True)
def no_cluster():
    """Each test finds none of an earlier one's, and leaves no processes."""
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(kill_workers=True)
    if HAS_RAY:
        importlib.import_module("ray").shutdown()


def read_files(folder):
    names = (
        "encoder.safetensors",
        "head.safetensors",
        "validation.parquet",
        "test.parquet",
        "result.json",
        "scores.csv",
    )
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.name in names}


def test_told_to_end_the_processes_save_and_end(tiny, local, tmp_path):
    """SIGTERM reaches the command alone; its processes are at a training that would last for hours."""
    settings = [*tiny, *local(), "pretrain.total_steps=1000000", "runtime.log_every=1", "runtime.num_threads=1"]
    command = [sys.executable, "-m", "selfpretrain", "study", *settings, "hydra/launcher=local_cores"]
    study = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        runs = wait_for(lambda: list((tmp_path / "runs" / "pretrain").glob("*/metrics.jsonl")))
        study.terminate()
        _, said = study.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(study.pid, signal.SIGKILL)
    assert study.returncode == 75, said
    assert [run.parent for run in runs if list(run.parent.glob("checkpoints/step_*/state.json"))]
    assert b"the same command continues" in said


def wait_for(look, seconds=180):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["hydra/launcher=local_cores", "hydra.launcher.processes=x"], "processes=x is no number"),
        (["hydra/launcher=local_gpus", "hydra.launcher.gpus=x"], "hydra.launcher.gpus=x, and the GPUs"),
        (["hydra/launcher=local_gpus", "hydra.launcher.gpus=[a]"], "hydra.launcher.gpus=['a'], and the GPUs"),
        pytest.param(["hydra/launcher=ray", "hydra.launcher.task.num_gpus=x"], "num_gpus=x is no number", marks=needs_ray),
        (["hydra/launcher=slurm", "hydra.sweeper.resources.corpus.timout_min=1"], "corpus.timout_min: the launcher has no such"),
        (["hydra/launcher=ray", "hydra.sweeper.resources.fintune.address=x"], "fintune: there is no such stage; allowed: corpus,"),
    ],
)  # fmt: skip
def test_settings_of_a_launcher_that_cannot_be(study, given, line):
    outcome = study("refused", *given)
    assert outcome.code == 2 and line in outcome.err and outcome.err.count("\n") == 1


def test_the_same_study_by_any_launcher(study, tmp_path):
    assert study("basic").code == 0
    wanted = read_files(tmp_path / "basic")
    assert len(wanted) == 2 * 2 + 4 * 5 + 1
    cores = study("cores", "hydra/launcher=local_cores", "hydra.launcher.processes=2", "study.cells_per_job=2")
    assert (cores.code, cores.err) == (0, ""), cores
    assert read_files(tmp_path / "cores") == wanted
    if HAS_RAY:
        start_ray(2)  # which the launcher then finds
        ray = study("ray", "hydra/launcher=ray", "hydra.launcher.task.num_gpus=0")
        assert (ray.code, ray.err) == (0, ""), ray
        assert read_files(tmp_path / "ray") == wanted


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["hydra/launcher=local_cores", "hydra.launcher.processes=0"], "hydra.launcher.processes=0 is not allowed"),
        (["hydra/launcher=local_gpus", "hydra.launcher.gpus=[0,7]"], "the GPUs of this machine are 0 to 1"),
        pytest.param(
            ["hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:9"],
            "no Ray cluster at 127.0.0.1:9",
            marks=needs_ray,
        ),
        pytest.param(
            ["hydra/launcher=ray", "hydra.launcher.task.num_gpus=9"],
            "num_gpus=9, and the cluster has 0",
            marks=needs_ray,
        ),
        pytest.param(["hydra/launcher=slurm"], "there is no sbatch here", marks=needs_submitit),
        pytest.param(
            ["hydra/launcher=slurm", "hydra.launcher.partion=x"], "did you mean 'partition'?", marks=needs_submitit
        ),
        (["hydra/launcher=slrum"], "hydra/launcher=slrum is not known; did you mean 'slurm'?"),
    ],
)
def test_what_cannot_be_is_one_line(study, tmp_path, monkeypatch, given, line):
    if "hydra.launcher.task.num_gpus=9" in given:
        start_ray(1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("selfpretrain.cluster.CONNECT_SECONDS", 10)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = study("runs", *given)
    assert outcome.code == 2 and line in outcome.err and outcome.err.count("\n") == 1, outcome
    assert not (tmp_path / "runs").exists()


def test_a_launcher_without_its_package_names_the_extra(study, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    outcome = study("runs", "hydra/launcher=ray")
    assert outcome.code == 2 and 'pip install "selfpretrain[ray]"' in outcome.err, outcome


@pytest.mark.parametrize(
    ("answer", "line"), [(0, None), (1, "Slurm refuses --partition=gpu --nodes=1 --mem=2G --time=60: no such")]
)
def test_slurm_is_asked_first(tmp_path, monkeypatch, answer, line):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "sbatch: error: no such" >&2\nexit {answer}\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    settings = {"partition": "gpu", "nodes": 1, "cpus_per_task": None, "mem_gb": 2, "timeout_min": 60}
    if line is None:
        slurm.check(settings)
    else:
        with pytest.raises(UserError, match=line):
            slurm.check(settings)
    assert (tmp_path / "asked").read_text() == "--test-only --partition=gpu --nodes=1 --mem=2G --time=60 --wrap=true\n"


def test_a_gpu_is_one_process_s(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_taken", [])
    seen = []
    for _ in range(2):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
        pool.take_gpu([0, 2], tmp_path)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["3", "6"]
    with pytest.raises(RuntimeError, match="all of the GPUs"):
        pool.take_gpu([0, 2], tmp_path)
    pool._taken.pop().release()  # its process died
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    pool.take_gpu([0, 2], tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


def test_gpus_are_those_that_are_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pool.choose_gpus("all") == [0, 1] and pool.choose_gpus([1]) == [1]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="are none; hydra/launcher=local_cores goes without"):
        pool.choose_gpus("all")

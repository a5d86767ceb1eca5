"""A cluster that is not there is one line, soon, and leaves no process; Ray itself need not be installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hydra_plugins.selfpretrain_launchers.ray_launcher import RayLauncher
from selfpretrain import cluster
from selfpretrain.config import UserError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='pip install "selfpretrain[ray]"')


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "selfpretrain\[ray\]"'):
        cluster.connect()


@needs_ray
def test_a_port_where_nobody_listens_is_told_at_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"no Ray cluster at {address} \(.*refused\)"):
        cluster.connect(address)


@needs_ray
def test_an_address_where_no_cluster_answers_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        begun = time.monotonic()
        with pytest.raises(UserError, match=rf"no Ray cluster at {address} .*RAY_ADDRESS") as caught:
            cluster.connect()
        assert time.monotonic() - begun < 15
    assert "\n" not in str(caught.value)
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    assert not [line for line in running if address.encode() in line]


@pytest.fixture
def started_elsewhere(monkeypatch):
    """The address of a cluster that was started in another folder, by somebody with another environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # nobody's token is looked for
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 240)  # a busy machine
    environment = {name: value for name, value in os.environ.items() if not name.startswith(cluster.TAKEN_ALONG)}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a socket's path is short
        words = [f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--object-store-memory=80000000"]
        program = [Path(sys.executable).with_name("ray"), "start", "--head", *words, f"--temp-dir={folder}", "--block"]
        head = subprocess.Popen(program, cwd="/", env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for_port(port)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def wait_for_port(port):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.2)
    pytest.fail("Ray did not start")


@needs_ray
def test_tasks_of_a_cluster_see_the_command_s_folder_and_what_steers_a_run_but_no_secrets(
    started_elsewhere, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFPRETRAIN_DATA", "mirror")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    names = ("SELFPRETRAIN_DATA", "HF_TOKEN", "WANDB_API_KEY")
    with cluster.connected(started_elsewhere):
        (found,) = RayLauncher(task={"num_cpus": 1}).run([lambda: [os.getcwd(), *map(os.environ.get, names)]])
    assert found == [str(tmp_path), "mirror", None, None]

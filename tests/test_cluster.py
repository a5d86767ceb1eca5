"""A cluster that is not there is one line, soon, and leaves no process; Ray itself need not be installed."""

from __future__ import annotations

import importlib.util
import socket
import sys
import time
from pathlib import Path

import pytest

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

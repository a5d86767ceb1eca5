"""A scheduler's early signal saves first and is then its own again."""

from __future__ import annotations

import signal

import pytest

from selfpretrain.train.trainer import catch_signals


@pytest.fixture
def heard():
    """What somebody who listens to SIGUSR2, as submitit does, has heard."""
    calls = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGUSR2, before)


def test_it_is_passed_on_at_the_end(heard):
    with catch_signals() as caught:
        signal.raise_signal(signal.SIGUSR2)
        assert caught == [0, signal.SIGUSR2] and not heard
    assert heard == [signal.SIGUSR2]
    with catch_signals() as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught == [0, signal.SIGTERM] and heard == [signal.SIGUSR2]


def test_it_is_passed_on_when_the_work_ends_otherwise(heard):
    with pytest.raises(ZeroDivisionError), catch_signals():
        signal.raise_signal(signal.SIGUSR2)
        raise ZeroDivisionError
    assert heard == [signal.SIGUSR2]


def test_where_nobody_listens_it_is_left_alone():
    before = signal.getsignal(signal.SIGUSR2)
    with catch_signals():
        assert signal.getsignal(signal.SIGUSR2) is before

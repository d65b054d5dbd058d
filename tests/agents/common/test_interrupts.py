"""Signals while a job runs: the first asks it to stop, an echo of it changes nothing, a later one acts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ttrl_env.agents.common import interrupts
from ttrl_env.agents.common.interrupts import StopRequest, ending_at_once

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_are_given_back():
    """Handlers are those of a terminal: the tests themselves may run in the background, or under nohup."""
    terminal = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in terminal.items()}
    yield
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == terminal


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_the_end(number) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested


def test_signals_close_together_are_one_request() -> None:
    """As from a terminal and a wrapper that sends them on; delivered before Python runs the first handler."""
    with StopRequest() as stop:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested


def test_a_later_signal_acts_as_usual(monkeypatch) -> None:
    monkeypatch.setattr(interrupts, "SAME_REQUEST_SECONDS", 0.0)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_request_is_answered_at_once(capfd) -> None:
    with StopRequest("Stopping soon.") as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err == "\nStopping soon.\n"


def test_an_interrupted_import_ends_the_process_without_a_traceback() -> None:
    code = (
        "import os, signal; from ttrl_env.agents.common.interrupts import ending_at_once\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with ending_at_once():\n    os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_after_imports_an_interrupt_is_an_exception_again() -> None:
    with ending_at_once(), ending_at_once():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_somebodys_own_handler_stays_during_imports() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

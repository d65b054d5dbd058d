"""What is printed when nobody can read it any more."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from ttrl_env.agents.cli import main
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.quiet_streams import quiet_streams


@contextlib.contextmanager
def left_pipe():
    """Standard output whose reader has gone, as after ``| head`` has read enough."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, contextlib.redirect_stdout(stream):
        yield  # and closing it does not fail: what was buffered has gone nowhere


@contextlib.contextmanager
def full_disk():
    with open("/dev/full", "w") as stream, contextlib.redirect_stdout(stream):
        yield


@pytest.mark.parametrize("arguments", [["tasks"], ["--help"], ["train", "--cfg"]])
def test_a_command_does_not_mind_that_its_reader_has_gone(arguments) -> None:
    with left_pipe():
        assert main(arguments) == 0


@pytest.mark.parametrize("arguments", [["tasks"], ["--version"], ["train", "--help"]])
def test_a_command_whose_answer_is_lost_on_a_full_disk_fails_and_says_so(arguments, capsys) -> None:
    with full_disk():
        assert main(arguments) == 1
    assert "/dev/full: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("hindrance", [left_pipe, full_disk])
def test_the_display_of_a_run_goes_quiet_when_it_cannot_write(hindrance) -> None:
    with hindrance():
        display = Display()
        with display.bar("bar", 3) as progress, display.training(3, 0):
            for _ in range(3):
                display.say("iteration")
            progress(1, 3)
            display.rollout(1, 2)
        sys.stdout.flush()


def test_streams_that_are_closed_or_absent_are_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with quiet_streams():
        Display().say("nobody hears this")
    assert sys.stdout is None


def test_other_streams_stay_what_they_are(capsys) -> None:
    with quiet_streams():
        print("said")
        assert not sys.stdout.isatty()
    assert capsys.readouterr().out == "said\n"

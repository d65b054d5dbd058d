"""Ctrl-C at any moment of the ``ttrl`` command: it ends without a traceback, as one that was interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ttrl_env.agents.common.interrupts import INTERRUPTED

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "agents/ttrl"

# SIGINT is ignored in a shell's background jobs, and the tests themselves may be one
INTERRUPTED_WHEN = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
script, when, *sys.argv[1:] = sys.argv[1:]

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class AtImport:
    def find_spec(self, name, *_):
        if name == when:
            interrupt()

if when == "running":
    from ttrl_env.agents.commands import tasks
    tasks._suites = interrupt
if when == "exit":
    import atexit
    atexit.register(interrupt)
sys.meta_path.insert(0, AtImport())
runpy.run_path(script, run_name="__main__")
"""


def interrupted(when: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", INTERRUPTED_WHEN, str(SCRIPT), when, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("when", "arguments"),
    [
        ("ttrl_env", ["help"]),
        ("gymnasium", ["help"]),
        ("ttrl_env.agents.commands.tasks", ["tasks"]),
        ("hydra", ["train", "--cfg"]),
        ("exit", ["help"]),
    ],
)
def test_it_ends_without_a_traceback(when, arguments) -> None:
    done = interrupted(when, *arguments)
    assert done.stderr == ""
    assert done.returncode == -signal.SIGINT  # which shells show as 130


def test_within_a_command_it_is_an_exception_with_a_word_for_the_user() -> None:
    done = interrupted("running", "tasks")
    assert (done.returncode, done.stderr) == (INTERRUPTED, "ttrl tasks: interrupted\n")

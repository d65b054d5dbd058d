"""Shell completion in a real zsh: what the line holds after a Tab."""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest

from ttrl_env.agents.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")]

STARTUP = """
autoload -Uz compinit && compinit -u -D
source {script}
report() {{ print -r -- "$BUFFER" >> {lines}; BUFFER= }}
zle -N report
bindkey -e
bindkey '^G' report
print ready >> {lines}
"""
"""After this, Ctrl-G writes the line under way to a file and empties it."""

SECONDS = 30.0


class Zsh:
    """An interactive zsh that has read the completion script, in a folder of its own."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder, self._lines = folder, folder / ".lines"
        (folder / ".script").write_text(script)
        startup = STARTUP.format(script=folder / ".script", lines=self._lines)
        (folder / ".zshrc").write_text(startup)
        self._terminal, other = pty.openpty()
        os.set_blocking(self._terminal, False)
        environment = {**os.environ, "ZDOTDIR": str(folder), "TERM": "vt100"}
        self._process = subprocess.Popen(
            ["zsh", "-d", "-i"], cwd=folder, env=environment, stdin=other, stdout=other, stderr=other
        )
        os.close(other)
        self._await(1)

    def complete(self, line: str) -> str:
        """The line after a Tab at its end."""
        known = len(self._read())
        os.write(self._terminal, f"{line}\t\a".encode())
        return self._await(known + 1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _read(self) -> list[str]:
        return self._lines.read_text().splitlines() if self._lines.exists() else []

    def _await(self, number: int) -> str:
        end = time.monotonic() + SECONDS
        shown = b""
        while len(lines := self._read()) < number:
            with suppress(BlockingIOError):  # a terminal that nobody reads stops the shell
                shown += os.read(self._terminal, 10_000)
            assert time.monotonic() < end, shown.decode(errors="replace")
            time.sleep(0.01)
        return lines[-1]


@pytest.fixture(scope="module")
def zsh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zsh]:
    with redirect_stdout(io.StringIO()) as script:
        assert main(["completion", "zsh"]) == 0
    shell = Zsh(tmp_path_factory.mktemp("zsh"), script.getvalue())
    (shell.folder / "my_runs").mkdir()
    (shell.folder / "my_runs" / "first.json").touch()
    (shell.folder / "task_notes.txt").touch()
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ttrl ta", "ttrl tasks "),
        ("ttrl help ta", "ttrl help tasks "),
        ("ttrl tasks libero_goal_s", "ttrl tasks libero_goal_swap "),
        ("ttrl train env.n_sam", "ttrl train env.n_samples="),
        ("ttrl train ppo.advantage=r", "ttrl train ppo.advantage=rloo "),
        ("ttrl train preset=tiny-cpu test_time_rl=t", "ttrl train preset=tiny-cpu test_time_rl=true "),
        (
            "ttrl eval checkpoint=tiny-vla-libero-object-f",
            "ttrl eval checkpoint=tiny-vla-libero-object-four ",
        ),
        ("ttrl tasks --h", "ttrl tasks --help "),
        ("ttrl eval my_r", "ttrl eval my_runs/"),
        ("ttrl train policy.path=my_r", "ttrl train policy.path=my_runs/"),
        ("ttrl record check=true report=my_runs/f", "ttrl record check=true report=my_runs/first.json "),
        # a file is offered where nothing else fits, not beside the words
        ("ttrl record ta", "ttrl record task_ids="),
    ],
)
def test_a_tab_completes(zsh: Zsh, typed: str, completed: str) -> None:
    assert zsh.complete(typed) == completed

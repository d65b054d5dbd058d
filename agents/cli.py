"""The command line: ``ttrl COMMAND``, with a module for each command."""

from __future__ import annotations

import difflib
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ttrl_env import __version__
from ttrl_env.agents.commands.table import COMMANDS, module_of, overview
from ttrl_env.agents.common.interrupts import INTERRUPTED, ending_at_once, raising_interrupts
from ttrl_env.agents.common.quiet_streams import quiet_streams
from ttrl_env.errors import (
    EnvironmentDiedError,
    OtherTasksWarning,
    SettingsWarning,
    TTRLError,
    WorkersDiedError,
)
from ttrl_env.libero_version import LiberoVersionWarning

_USAGE = f"""ttrl {__version__}: test-time reinforcement learning for VLA policies on LIBERO

{overview()}

Settings are key=value in every command. `ttrl help COMMAND` lists the keys, and `--cfg` prints what they
come to, without running anything.

For example, test-time RL on one task of libero_spatial, eight replicas:

  ttrl train test_time_rl=true env.suite=libero_spatial 'env.task_ids=[0]' data.n_samples=8
"""

_FORMER_COMMANDS = {
    "demos": "`ttrl record SUITE` records demonstrations, with key=value settings, e.g. "
    "`ttrl record libero_object 'task_ids=[0]' episodes=30`; `ttrl demo` is the ten-minute demonstration"
}
"""Commands of release 0.1 that have another name now, and what to write instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the process's exit code (2 for a mistake in the command).

    A reader of the output that goes away (``| head``, a pager that is left) does not end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # one that is ASCII only shows "?" for what it cannot
            stream.reconfigure(errors="replace")
    try:
        with quiet_streams():
            return _run(arguments)
    except OSError as error:
        if error.filename != getattr(sys.stdout, "name", None):
            raise
        print(f"ttrl: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    name, *rest = arguments
    if name in _FORMER_COMMANDS:
        print(f"ttrl: {name} has another name now: {_FORMER_COMMANDS[name]}", file=sys.stderr)
        return 2
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        print(f"ttrl: no such command {name!r}.{hint}\n\n{_USAGE}", end="", file=sys.stderr)
        return 2
    try:
        with raising_interrupts():
            return _run_command(name, rest)
    except (EnvironmentDiedError, WorkersDiedError) as error:
        print(f"ttrl {name}: {error}", file=sys.stderr)
        return 1
    except TTRLError as error:
        print(f"ttrl {name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise  # not about a file of the user's
        print(f"ttrl {name}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"ttrl {name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run_command(name: str, arguments: Sequence[str]) -> int:
    with ending_at_once():
        run: Callable[[Sequence[str]], int] = module_of(name).run
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, name, warnings.showwarning)
        return run(arguments)


def _show_warning(
    command: str, others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    """Show the package's own warnings as the command's message, without the line of code that noticed."""
    if issubclass(category, (LiberoVersionWarning, OtherTasksWarning, SettingsWarning)):
        print(f"ttrl {command}: {message}", file=sys.stderr)
    else:
        others(message, category, *where)

"""The command line: ``ttrl train | eval | demos | pretrain | tasks | doctor | cache``."""

from __future__ import annotations

import difflib
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ttrl_env import __version__
from ttrl_env.agents.common.quiet_streams import quiet_streams
from ttrl_env.errors import EnvironmentDiedError, TTRLError
from ttrl_env.libero_version import LiberoVersionWarning

_USAGE = f"""ttrl {__version__}: test-time reinforcement learning for VLA policies on LIBERO

  ttrl train [key=value ...]       train a policy; `ttrl train --help` lists every key
  ttrl eval checkpoint=PATH ...    evaluate a checkpoint; `ttrl eval --help` lists every key
  ttrl demos SUITE ...             scripted demonstrations as HDF5; `ttrl demos --help` lists the options
  ttrl pretrain data=[PATH] ...    behaviour cloning from HDF5 files; `ttrl pretrain --help` lists every key
  ttrl tasks [SUITE]               list the suites, or the tasks of one
  ttrl doctor [CHECKPOINT]         check this machine: GL, LIBERO, memory, GPU; or a policy checkpoint
  ttrl cache [--clear]             the native engine's compiled tasks

For example, test-time RL on one task of libero_spatial, eight replicas:

  ttrl train test_time_rl=true env.suite=libero_spatial 'env.task_ids=[0]' data.n_samples=8
"""

_COMMANDS = {
    "train": "ttrl_env.agents.commands.train",
    "eval": "ttrl_env.agents.commands.evaluate",
    "demos": "ttrl_env.agents.commands.demos",
    "pretrain": "ttrl_env.agents.commands.pretrain",
    "tasks": "ttrl_env.agents.commands.tasks",
    "doctor": "ttrl_env.agents.commands.doctor",
    "cache": "ttrl_env.agents.commands.cache",
}


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
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    name, *rest = arguments
    if name not in _COMMANDS:
        nearest = difflib.get_close_matches(name, _COMMANDS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        print(f"ttrl: no such command {name!r}.{hint}\n\n{_USAGE}", end="", file=sys.stderr)
        return 2
    try:
        run: Callable[[Sequence[str]], int] = importlib.import_module(_COMMANDS[name]).run
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, name, warnings.showwarning)
            return run(rest)
    except EnvironmentDiedError as error:
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
        return 130


def _show_warning(
    command: str, others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    """Show which LIBERO this is as the command's own message, without the line of code that noticed."""
    if issubclass(category, LiberoVersionWarning):
        print(f"ttrl {command}: {message}", file=sys.stderr)
    else:
        others(message, category, *where)

"""Checks as commands show them: one line each, with what was found or what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ttrl_env.agents.common.consoles import make_console
from ttrl_env.errors import TTRLError


def report(checks: Iterable[tuple[str, Callable[[], str]]]) -> int:
    """Print one line a check; returns the exit code, 1 if any of them failed.

    A check returns a description of what it found, or raises an error that says what is wrong.
    """
    console = make_console(soft_wrap=True)
    failed = 0
    for name, check in checks:
        try:
            outcome, colour, text = "ok", "green", check()
        except (TTRLError, OSError, RuntimeError) as error:
            outcome, colour, text = "FAILED", "red", str(error)
            failed += 1
        console.print(f"[{colour}]{outcome:>6}[/{colour}]  {name}: ", end="")
        console.print(text, markup=False)
    return 1 if failed else 0

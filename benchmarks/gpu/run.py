"""Which items run, one after the other, within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.gpu.catalogue import Item
from benchmarks.gpu.figures import Setting
from benchmarks.gpu.process import run
from benchmarks.gpu.results import Results

Say = Callable[[str], None]
RunOne = Callable[[Item, Setting, float], dict[str, Any]]


def run_items(
    items: Sequence[Item],
    setting: Setting,
    results: Results,
    say: Say,
    *,
    minutes: float | None = None,
    again: bool = False,
    run_one: RunOne = run,
    clock: Callable[[], float] = time.monotonic,
) -> list[Item]:
    """Run what is not done yet, in order; returns what did not fit into the budget.

    Args:
        items: the most valuable first. Their expected minutes decide what fits; a later, shorter one may.
        setting: for all of them.
        results: where each entry is kept at once.
        say: prints a line.
        minutes: the budget; ``None``: no limit.
        again: run what is done, too.
        run_one: measures one item within a number of seconds.
        clock: seconds.
    """
    end = None if minutes is None else clock() + 60 * minutes
    left_out = []
    for item in items:
        if results.is_done(item.name) and not again:
            say(f"{item.name}: done before")
            continue
        left = None if end is None else end - clock()
        if left is not None and left < 60 * item.minutes:
            say(f"{item.name}: not run, takes {item.minutes:g} minutes and {max(left, 0) / 60:.1f} are left")
            left_out.append(item)
            continue
        limit = 60 * item.limit_minutes
        entry = run_one(item, setting, limit if left is None else min(limit, left))
        results.keep(item.name, entry)
        reason = f": {entry['reason']}" if entry.get("reason") else ""
        say(f"{item.name}: {entry['status']} in {entry['seconds']:.0f} s{reason}")
    return left_out


def timed_by(items: Sequence[Item], setting: Setting) -> list[Item]:
    """``items`` with the minutes of ``cuda_and_egl`` that ``setting`` asks for."""
    minutes = setting.egl_minutes

    def timed(item: Item) -> Item:
        if item.name != "cuda_and_egl":
            return item
        return replace(item, minutes=minutes + 1, limit_minutes=minutes + 4)

    return [timed(item) for item in items]

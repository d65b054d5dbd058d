"""Terminal output of a run: progress bars, or a line a minute, and one line an iteration."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ttrl_env.agents.common.consoles import make_console
from ttrl_env.agents.common.minute_lines import MinuteLines, clock_time
from ttrl_env.agents.common.quiet_streams import quiet_stream
from ttrl_env.agents.distributed.main_process import is_main_process

_RATE_SECONDS = float("inf")
"""Time over which Rich measures a bar's rate. Of its 30 seconds, a slow job has no two updates."""


class Display:
    """Writes to a console: lines always, progress bars on a terminal, a line a minute elsewhere.

    In a run with several processes only the first one writes. Output errors are ignored.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or make_console(
            None if sys.stdout is None else quiet_stream(sys.stdout, any_error=True),
            soft_wrap=True,
            quiet=not is_main_process(),
        )
        self._progress: Progress | None = None
        self._lines: MinuteLines | None = None
        self._iteration = self._last_iteration = 0
        self._end: float | None = None

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, description: str, total: int, completed: int = 0) -> Iterator[Any]:
        """A progress bar; yields ``update(done, total)``."""
        if not self.console.is_interactive:
            yield partial(MinuteLines(self.say, completed).update, description)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with self._progress_of(*columns) as progress:
            task = progress.add_task(description, total=total, completed=completed)

            def update(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            yield update

    @contextmanager
    def training(self, iterations: int, completed: int) -> Iterator[None]:
        """Bars of a training run: its iterations, and what is played at the moment."""
        self._iteration, self._last_iteration, self._end = completed, iterations, None
        if not self.console.is_interactive:
            self._lines = MinuteLines(self.say, completed)
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with self._progress_of(*columns) as progress:
            self._progress = progress
            self._iterations = progress.add_task("iterations", total=iterations, completed=completed, left="")
            self._played = progress.add_task("rollout rows", total=None, left="")
            try:
                yield
            finally:
                self._progress = None

    def rollout(self, finished: int, total: int) -> None:
        """Show how many rows of a rollout have finished their episodes."""
        self._show_played("rollout rows", f"{finished} of {total} rows of the next rollout", finished, total)

    def evaluating(self, finished: int, total: int) -> None:
        """Show how many episodes of an evaluation have ended."""
        played = f"{finished} of {total} episodes of an evaluation"
        self._show_played("evaluation", played, finished, total)

    def iteration(self, number: int, metrics: dict[str, Any], seconds_left: float | None = None) -> None:
        """Print an iteration's line, with the time that the rest of the run takes, as far as it is known."""
        self._iteration = number
        self._end = None if seconds_left is None else time.monotonic() + seconds_left
        if self._progress is not None:
            self._progress.update(self._iterations, completed=number, left=_left(seconds_left))
        steps = metrics["rollout/steps_to_success"]
        self.say(
            f"iteration {number:4d}  success {metrics['rollout/success_rate']:4.0%}{_of_all_states(metrics)}"
            f"  steps {'-' if steps is None else format(steps, '.0f'):>4}"
            f"  reward {metrics['rollout/reward_mean']:.3f} (spread {metrics['rollout/reward_spread']:.3f})"
            f"  KL {metrics.get('update/approx_kl_last', 0.0):.4f}"
            f"  simulation {metrics['seconds/simulation']:.1f} s, policy {metrics['seconds/policy']:.1f} s,"
            f" update {metrics['seconds/update']:.1f} s{_left(seconds_left, before='  ')}"
        )

    def evaluation(self, iteration: int, result: dict[str, Any]) -> None:
        """Print the line of an evaluation, whose report is ``result``."""
        low, high = result["success_rate_interval_95"]
        steps = result["steps_to_success"]
        self.say(
            f"evaluation after {iteration} iterations: success {result['success_rate']:.0%}"
            f" [{low:.0%}, {high:.0%}] of {len(result['episodes'])} {result['init_states']} episodes,"
            f" steps to success {'-' if steps is None else format(steps, '.0f')}"
        )

    def _show_played(self, bar: str, line: str, finished: int, total: int) -> None:
        left = None if self._end is None else max(self._end - time.monotonic(), 0.0)
        if self._progress is not None:
            self._progress.update(self._iterations, left=_left(left))
            self._progress.update(self._played, description=bar, completed=finished, total=total)
        if self._lines is not None:
            detail = f" and {line}"
            self._lines.update("iterations", self._iteration, self._last_iteration, detail, left)

    def _progress_of(self, *columns: ProgressColumn) -> Progress:
        return Progress(*columns, console=self.console, transient=True, speed_estimate_period=_RATE_SECONDS)


def _of_all_states(metrics: dict[str, Any]) -> str:
    """The estimate beside the success of rollouts whose states were not drawn alike."""
    estimate = metrics.get("states/success_rate")
    return "" if estimate is None else f" (all states about {estimate:.0%})"


def _left(seconds: float | None, before: str = "") -> str:
    return f"{before}about {clock_time(seconds)} left" if seconds else ""

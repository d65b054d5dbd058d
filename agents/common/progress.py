"""Terminal output of a run: progress bars, or a line a minute, and one line an iteration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ttrl_env.agents.common.consoles import make_console
from ttrl_env.agents.common.minute_lines import MinuteLines
from ttrl_env.agents.common.quiet_streams import quiet_stream
from ttrl_env.agents.distributed.main_process import is_main_process


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
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(description, total=total, completed=completed)

            def update(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            yield update

    @contextmanager
    def training(self, iterations: int, completed: int) -> Iterator[None]:
        """Bars of a training run: its iterations, and the rows of the rollout under way."""
        self._iteration, self._last_iteration = completed, iterations
        if not self.console.is_interactive:
            self._lines = MinuteLines(self.say, completed)
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            self._progress = progress
            self._iterations = progress.add_task("iterations", total=iterations, completed=completed)
            self._rows = progress.add_task("rollout rows", total=None)
            try:
                yield
            finally:
                self._progress = None

    def rollout(self, finished: int, total: int) -> None:
        """Show how many rows have finished their episodes."""
        if self._progress is not None:
            self._progress.update(self._rows, completed=finished, total=total)
        if self._lines is not None:
            rows = f" and {finished} of {total} rows of the next rollout"
            self._lines.update("iterations", self._iteration, self._last_iteration, rows)

    def iteration(self, number: int, metrics: dict[str, Any]) -> None:
        """Print an iteration's line."""
        self._iteration = number
        if self._progress is not None:
            self._progress.update(self._iterations, completed=number)
        steps = metrics["rollout/steps_to_success"]
        self.say(
            f"iteration {number:4d}  success {metrics['rollout/success_rate']:4.0%}"
            f"  steps {'-' if steps is None else format(steps, '.0f'):>4}"
            f"  reward {metrics['rollout/reward_mean']:.3f} (spread {metrics['rollout/reward_spread']:.3f})"
            f"  KL {metrics.get('update/approx_kl_last', 0.0):.4f}"
            f"  simulation {metrics['seconds/simulation']:.1f} s, policy {metrics['seconds/policy']:.1f} s,"
            f" update {metrics['seconds/update']:.1f} s"
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

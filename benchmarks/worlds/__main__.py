"""Play every task in several versions of MuJoCo, and compare each version with the published one.

Writes ``benchmarks/results/worlds.jsonl``, with one line for each task and version. ``docs/make_tables.py``
makes the tables of ``docs/which-libero.md`` from it. A whole scan takes half an hour for each version on one
core. The same command continues an interrupted scan, and keeps earlier comparisons.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from benchmarks.worlds.compare import compare
from benchmarks.worlds.figure import plot
from benchmarks.worlds.packages import environment
from benchmarks.worlds.play import every_task, read
from ttrl_env import tasks
from ttrl_env.agents.training.metrics import read_records
from ttrl_env.libero_version import PUBLISHED_MUJOCO, is_version, release
from ttrl_env.machine.whole_files import write_whole
from ttrl_env.published_scenes import write_published

RESULTS_FILE = RESULTS / "worlds.jsonl"

NEWEST, PINNED, OLDEST = "4.0.0", "3.2.3", "2.3.7"
"""Versions to compare with the published one: the newest, one that other projects pin, and the last of the
series that LIBERO's robosuite was written for."""

FIGURE = RESULTS.parents[1] / "docs/images/two-worlds.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scan of the command line; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    versions = [PUBLISHED_MUJOCO, *options.versions]
    if not options.report_only:
        for suite in options.suites:  # suite by suite, so that an unfinished scan compares whole suites
            for version in versions:
                if _play(version, suite, options.folder):
                    print(f"some tasks of {suite} cannot be played in MuJoCo {version}", file=sys.stderr)
    results = merge(_compared(options.folder, options.versions, options.suites))
    print(
        f"{len(results)} comparisons in {RESULTS_FILE}; python docs/make_tables.py brings the docs up to date"
    )
    if NEWEST in options.versions and plot(options.folder, NEWEST, FIGURE):
        print(f"figure of both worlds: {FIGURE}")
    if options.golden:
        return _write_golden(options.folder / PUBLISHED_MUJOCO)
    return 0


def read_results() -> list[dict[str, Any]]:
    """All comparisons so far."""
    if not RESULTS_FILE.is_file():
        return []
    return read_records(RESULTS_FILE.parent, RESULTS_FILE.name)


def merge(new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add comparisons to those of earlier scans; a new one replaces that of the same task and version."""
    found = {(each["mujoco"], each["suite"], each["task_id"]): each for each in [*read_results(), *new]}
    order = {suite: index for index, suite in enumerate(tasks.LIBERO_SUITES)}
    ordered = sorted(
        found.values(), key=lambda each: (release(each["mujoco"]), order[each["suite"]], each["task_id"])
    )
    write_whole(RESULTS_FILE, "".join(json.dumps(each) + "\n" for each in ordered))
    return ordered


def _play(version: str, suite: str, folder: Path) -> int:
    """Play a suite in a separate process, which prints errors; returns nonzero if tasks failed."""
    command = [sys.executable, "-m", "benchmarks.worlds.play", str(folder / version), suite]
    return subprocess.run(command, env=environment(version, folder / "packages"), check=False).returncode


def _compared(folder: Path, versions: Sequence[str], suites: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for suite, task_id in every_task(suites):
        published = read(folder / PUBLISHED_MUJOCO, suite, task_id)
        for version in versions:
            other = read(folder / version, suite, task_id)
            if published is not None and other is not None:
                task = {"mujoco": version, "suite": suite, "task_id": task_id}
                found.append({**task, **compare(published, other)})
    return found


def _write_golden(folder: Path) -> int:
    """Write the file with which ``ttrl doctor`` compares; requires that every task has been played."""
    every = list(every_task(tuple(tasks.LIBERO_SUITES)))
    played = {task: read(folder, *task) for task in every}
    missing = [f"{suite} {task_id}" for (suite, task_id), scene in played.items() if scene is None]
    if missing:
        print(f"--golden: {len(missing)} tasks are not played, {missing[0]} is one", file=sys.stderr)
        return 1
    write_published({task: scene.scene for task, scene in played.items() if scene is not None})
    return 0


def _version(text: str) -> str:
    """Check a version from the command line, which must not be the published one."""
    if not is_version(text) or text == PUBLISHED_MUJOCO:
        raise argparse.ArgumentTypeError(
            f"expected a version of MuJoCo other than {PUBLISHED_MUJOCO}, such as {NEWEST}, got {text!r}"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    parser.add_argument(
        "--versions",
        nargs="+",
        type=_version,
        default=[NEWEST, PINNED, OLDEST],
        help="default %(default)s; the oldest comes with NumPy 1.26, which Python 3.13 cannot have",
    )
    parser.add_argument(
        "--suites",
        nargs="+",
        choices=tasks.LIBERO_SUITES,
        default=list(tasks.LIBERO_SUITES),
        metavar="SUITE",
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/worlds"), help="default %(default)s")
    parser.add_argument("--report-only", action="store_true", help="play nothing, compare what is there")
    parser.add_argument("--golden", action="store_true", help="also write ttrl_env/published_scenes.npz")
    return parser


if __name__ == "__main__":
    sys.exit(main())

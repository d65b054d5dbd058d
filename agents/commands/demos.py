"""``ttrl demos``: demonstrations by scripted experts, as LIBERO's HDF5 files."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.table import Table

from ttrl_env import tasks
from ttrl_env.agents.common.progress import Display
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError, UnknownNameError
from ttrl_env.libero_version import stamp
from ttrl_env.machine.folder_lock import require_writable
from ttrl_env.machine.memory import require_memory
from ttrl_env.tasks import Task


def run(arguments: Sequence[str]) -> int:
    """Record demonstrations of a suite's tasks, or measure how often their experts succeed."""
    options = _parser().parse_args(arguments)
    if options.noise is None:
        options.noise = 0.0 if options.check else 0.1
    chosen = _chosen_tasks(options)
    _check_numbers(options)
    if len(set(options.cameras)) < len(options.cameras):
        raise ConfigError(f"--cameras: expected each camera once, got {' '.join(options.cameras)}")
    opengl.require_gl()  # before MuJoCo is imported
    return _check(chosen, options) if options.check else _record(chosen, options)


def _chosen_tasks(options: argparse.Namespace) -> list[Task]:
    suite = tasks.get_suite(options.suite)
    wanted = range(suite.num_tasks) if options.tasks is None else options.tasks
    try:
        ids = [tasks.check_task_id(suite.name, task_id, "--tasks") for task_id in wanted]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if len(set(ids)) < len(ids):
        raise ConfigError(f"--tasks: expected each task once, got {' '.join(map(str, ids))}")
    return [tasks.get_task(suite.name, task_id) for task_id in ids]


def _check_numbers(options: argparse.Namespace) -> None:
    for name, (low, high) in _BOUNDS.items():
        value = getattr(options, name.replace("-", "_"))
        if not low <= value <= high:
            raise ConfigError(f"--{name}: expected an integer from {low} to {high}, got {value}")
    for name in ("noise", "shift"):
        if not 0.0 <= getattr(options, name) < 1.0:
            raise ConfigError(f"--{name}: expected a number from 0 to 1, got {getattr(options, name)}")


_BOUNDS = {
    "episodes": (1, 10_000),
    "image-size": (1, 16_384),
    "max-steps": (1, 100_000),
    "workers": (1, 1_024),
    "seed": (0, 2**63 - 1),
}
"""Integer options and what they may be: more would take weeks, or more than OpenGL and PyTorch have."""


def _record(chosen: Sequence[Task], options: argparse.Namespace) -> int:
    from ttrl_env.demonstrations.recording import RecordingSettings, memory_needed, record_dataset

    for name in ("report", "states"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name}: it goes with --check; add that, or leave --{name} out")
    _check_skills(chosen)
    settings = RecordingSettings(
        image_size=options.image_size,
        cameras=tuple(options.cameras),
        noise=options.noise,
        shift=options.shift,
        max_steps=options.max_steps,
        seed=options.seed,
    )
    require_memory(
        memory_needed(settings, options.workers),
        f"--image-size {options.image_size}: the images of --workers {options.workers} episodes of "
        f"--max-steps {options.max_steps}",
        "lower one of them",
    )
    output = Path(os.path.expanduser(options.output))
    require_writable(output, "--output")
    display = Display()
    for task in chosen:
        started = time.perf_counter()
        with display.bar(f"{task.suite} {task.task_id}", options.episodes) as progress:
            path = record_dataset(
                task,
                output,
                options.episodes,
                settings,
                num_workers=options.workers,
                progress=progress,
            )
        seconds = time.perf_counter() - started
        display.say(f"{path}  {path.stat().st_size / 1e6:.1f} MB, {seconds:.0f} s")
    return 0


def _check_skills(chosen: Sequence[Task]) -> None:
    """Raise before the first task is recorded if there is one without an expert."""
    from ttrl_env.demonstrations.experts import has_skill

    able = [str(task.task_id) for task in chosen if has_skill(task)]
    if len(able) < len(chosen):
        without = [str(task.task_id) for task in chosen if str(task.task_id) not in able]
        advice = f"ask for the others: --tasks {' '.join(able)}" if able else "see docs/demonstrations.md"
        raise UnknownNameError(
            f"--tasks: no scripted expert for {chosen[0].suite} {', '.join(without)}; {advice}"
        )


def _check(chosen: Sequence[Task], options: argparse.Namespace) -> int:
    from ttrl_env.demonstrations.check import check_expert

    if options.report is not None:
        require_writable(options.report.parent, "--report")
        if options.report.is_dir():
            raise ConfigError(f"--report: expected a file, and {options.report} is a folder")
    display = Display()
    table = Table(
        "task", "instruction", "solved", "of", "steps", "not solved from", title=f"noise {options.noise}"
    )
    reports = []
    for task in chosen:
        states = tasks.init_state_ids(task.suite, task.task_id, options.states or "all")
        try:
            with display.bar(f"{task.suite} {task.task_id}", len(states)) as progress:
                played = check_expert(
                    task,
                    states,
                    noise=options.noise,
                    seed=options.seed,
                    num_workers=options.workers,
                    progress=progress,
                )
        except UnknownNameError:
            table.add_row(str(task.task_id), task.instruction, "no expert", "", "", "")
            reports.append({"suite": task.suite, "task_id": task.task_id, "expert": False})
            continue
        steps = [episode.steps for episode in played if episode.success]
        failed = [episode.init_state_id for episode in played if not episode.success]
        mean = sum(steps) / len(steps) if steps else None
        shown = "-" if mean is None else f"{mean:.0f}"
        table.add_row(
            str(task.task_id),
            task.instruction,
            str(len(steps)),
            str(len(played)),
            shown,
            " ".join(map(str, failed)),
        )
        reports.append(
            {
                "suite": task.suite,
                "task_id": task.task_id,
                "expert": True,
                "instruction": task.instruction,
                "episodes": len(played),
                "solved": len(steps),
                "mean_steps": mean,
                "failed_init_states": failed,
            }
        )
    display.console.print(table)
    if options.report is not None:
        stamped = [{**report, **stamp()} for report in reports]
        options.report.write_text(json.dumps(stamped, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttrl demos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("suite", help="a LIBERO or LIBERO-PRO suite; `ttrl tasks` lists them")
    add("--tasks", type=int, nargs="+", metavar="ID", help="tasks of the suite; default: all")
    add("--episodes", type=int, default=50, help="successful episodes a task")
    add("--output", type=Path, default=Path("demos"), help="folder; files are OUTPUT/SUITE/TASK_demo.hdf5")
    add("--image-size", type=int, default=128, help="height and width of images, pixels")
    add(
        "--cameras",
        nargs="+",
        choices=get_args(CameraName),
        default=list(get_args(CameraName)),
        help="drawn at every step",
    )
    add("--noise", type=float, help="standard deviation added to the executed motion; 0.1, with --check 0")
    add("--shift", type=float, default=0.0, help="move objects by up to this many metres before an episode")
    add("--max-steps", type=int, default=200, help="longer episodes are dropped")
    add("--seed", type=int, default=0, help="seed of noise, shifts and the order of initial states")
    add("--workers", type=int, default=2, help="threads")
    add("--check", action="store_true", help="record nothing: how often do the experts succeed?")
    add(
        "--states",
        choices=("train", "held_out", "all"),
        help="with --check: from which initial states; default all",
    )
    add("--report", type=Path, help="with --check: also write a JSON report")
    return parser

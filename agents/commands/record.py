"""``ttrl record``: demonstrations by scripted experts, as LIBERO's HDF5 files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table

from ttrl_env import libero_tasks, tasks
from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.bounds import Distinct, Seed, Share, Text, at_least
from ttrl_env.agents.config.output_folders import Folder, FolderSettings, OutputFile
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError, UnknownNameError
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import stamp
from ttrl_env.machine.folder_lock import require_writable
from ttrl_env.machine.memory import require_memory
from ttrl_env.suites import get_libero_suite
from ttrl_env.tasks import Split

if TYPE_CHECKING:
    from ttrl_env.demonstrations.check import CheckedEpisode


@dataclass(frozen=True, kw_only=True)
class RecordConfig(FolderSettings):
    """Demonstrations of a suite's tasks (`ttrl record`)."""

    suite: Annotated[str | None, Text()] = None
    """A LIBERO or LIBERO-PRO suite; `ttrl tasks` lists them."""
    task_ids: Annotated[tuple[int, ...], Distinct("task")] = ()
    """Tasks of the suite; []: all."""
    episodes: Annotated[int, at_least(1, 10_000)] = 50
    """Successful episodes a task; more than there are adds to the file."""
    output_dir: Annotated[str, Folder()] = "demos"
    """Folder; files are OUTPUT_DIR/SUITE/TASK_demo.hdf5."""
    image_size: Annotated[int, at_least(1, 16_384)] = 128
    """Height and width of images, pixels."""
    cameras: Annotated[tuple[CameraName, ...], Distinct("camera")] = ("agentview", "robot0_eye_in_hand")
    """Rendered at every step."""
    noise: Share | None = None
    """Standard deviation added to the executed motion; null: 0.1, and 0 with check."""
    shift: Share = 0.0
    """Move objects by up to this many metres before an episode."""
    max_steps: Annotated[int, at_least(1, 100_000)] = 200
    """Longer episodes are dropped."""
    seed: Seed = 0
    """Seed of noise, shifts and the order of initial states."""
    num_workers: Annotated[int, at_least(1, 1024)] = 2
    """Threads."""
    check: bool = False
    """Record nothing: how often do the experts succeed?"""
    init_states: Split | None = None
    """With check: from which initial states; null: all."""
    report: Annotated[str | None, OutputFile()] = None
    """With check: also write a JSON report to this file."""


SCHEMA = RecordConfig


def run(arguments: Sequence[str]) -> int:
    """Record demonstrations of a suite's tasks, or measure how often their experts succeed."""
    config = read_arguments("record", arguments, SCHEMA, _load)
    if config is None:
        return 0
    from ttrl_env.engines import opengl

    chosen = _chosen_tasks(config)
    opengl.require_gl()  # before MuJoCo is imported
    return _check(chosen, config) if config.check else _record(chosen, config)


def _load(overrides: Sequence[str]) -> RecordConfig:
    from ttrl_env.agents.config.loading import load_settings

    config = load_settings(RecordConfig, overrides)
    if config.suite is None:
        raise ConfigError("suite: name what to record, e.g. `ttrl record libero_object`")
    for key in ("report", "init_states"):
        if getattr(config, key) is not None and not config.check:
            raise ConfigError(f"{key}: it goes with check=true; add that, or leave {key} out")
    if config.noise is None:
        config = replace(config, noise=0.0 if config.check else 0.1)
    return config


def _chosen_tasks(config: RecordConfig) -> list[LiberoTask]:
    assert config.suite is not None
    suite = get_libero_suite(config.suite)
    try:
        ids = [tasks.check_task_id(suite.name, task_id, "task_ids") for task_id in config.task_ids]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return [libero_tasks.get_task(suite.name, task_id) for task_id in ids or range(suite.num_tasks)]


def _record(chosen: Sequence[LiberoTask], config: RecordConfig) -> int:
    from ttrl_env.demonstrations.recording import RecordingSettings, memory_needed, record_dataset

    _check_skills(chosen)
    assert config.noise is not None
    settings = RecordingSettings(
        image_size=config.image_size,
        cameras=config.cameras,
        noise=config.noise,
        shift=config.shift,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    require_memory(
        memory_needed(settings, config.num_workers),
        f"image_size={config.image_size}: the images of num_workers={config.num_workers} episodes of "
        f"max_steps={config.max_steps}",
        "lower one of them",
    )
    output = Path(config.output_dir)
    require_writable(output, "output_dir")
    display = Display()
    for task in chosen:
        started = time.perf_counter()
        with display.bar(f"{task.suite} {task.task_id}", config.episodes) as progress:
            path = record_dataset(
                task,
                output,
                config.episodes,
                settings,
                num_workers=config.num_workers,
                progress=progress,
            )
        seconds = time.perf_counter() - started
        display.say(f"{path}  {path.stat().st_size / 1e6:.1f} MB, {seconds:.0f} s")
    return 0


def _check_skills(chosen: Sequence[LiberoTask]) -> None:
    """Raise before the first task is recorded if there is one without an expert."""
    from ttrl_env.demonstrations.experts import has_skill

    able = [task.task_id for task in chosen if has_skill(task)]
    if len(able) < len(chosen):
        without = [str(task.task_id) for task in chosen if task.task_id not in able]
        others = ",".join(map(str, able))
        advice = f"ask for the others: 'task_ids=[{others}]'" if able else "see docs/demonstrations.md"
        raise UnknownNameError(
            f"task_ids: no scripted expert for {chosen[0].suite} {', '.join(without)}; {advice}"
        )


def _check(chosen: Sequence[LiberoTask], config: RecordConfig) -> int:
    from ttrl_env.demonstrations.check import check_expert

    report = None if config.report is None else Path(config.report)
    if report is not None:
        require_writable(report.parent, "report")
    assert config.noise is not None
    display = Display()
    results: list[dict[str, Any]] = []
    for task in chosen:
        states = tasks.init_state_ids(task.suite, task.task_id, config.init_states or "all")
        try:
            with display.bar(f"{task.suite} {task.task_id}", len(states)) as progress:
                played = check_expert(
                    task,
                    states,
                    noise=config.noise,
                    seed=config.seed,
                    num_workers=config.num_workers,
                    progress=progress,
                )
        except UnknownNameError:
            results.append({"suite": task.suite, "task_id": task.task_id, "expert": False})
        else:
            results.append(_result(task, played))
    display.console.print(_table(chosen, results, config.noise))
    if report is not None:
        stamped = [{**result, **stamp()} for result in results]
        report.write_text(json.dumps(stamped, indent=1) + "\n", encoding="utf-8")
    return 0


def _result(task: LiberoTask, played: Sequence[CheckedEpisode]) -> dict[str, Any]:
    """A task's part of the report."""
    steps = [episode.steps for episode in played if episode.success]
    return {
        "suite": task.suite,
        "task_id": task.task_id,
        "expert": True,
        "instruction": task.instruction,
        "episodes": len(played),
        "solved": len(steps),
        "mean_steps": sum(steps) / len(steps) if steps else None,
        "failed_init_states": [episode.init_state_id for episode in played if not episode.success],
    }


def _table(chosen: Sequence[LiberoTask], results: Sequence[dict[str, Any]], noise: float) -> Table:
    table = Table("task", "instruction", "solved", "of", "steps", "not solved from", title=f"noise {noise}")
    for task, result in zip(chosen, results, strict=True):
        if not result["expert"]:
            table.add_row(str(task.task_id), task.instruction, "no expert", "", "", "")
            continue
        mean = result["mean_steps"]
        table.add_row(
            str(task.task_id),
            task.instruction,
            str(result["solved"]),
            str(result["episodes"]),
            "-" if mean is None else f"{mean:.0f}",
            " ".join(map(str, result["failed_init_states"])),
        )
    return table

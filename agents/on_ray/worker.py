"""What Ray Train runs in each process of a run, at first and again after a failure."""

from __future__ import annotations

import os
import pkgutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.supervision import Supervisor
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.on_ray.relay import (
    Course,
    RelayedDisplay,
    RelayedSupervisor,
    name_of_copy,
    relayed_streams,
)
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine
from ttrl_env.errors import CheckpointError, ConfigError, EnvironmentDiedError, TTRLError, WorkersDiedError
from ttrl_env.machine.folder_lock import folder_lock

Job = Callable[[TrainConfig, Display, OwnEngine | EngineChoice | None, Supervisor], Path]
"""A run as each of its processes plays it; returns the last checkpoint."""

_LOCK_SECONDS = 60.0
"""Longest wait for the end of the process that wrote to the folder before a restart."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a process needs to know."""

    job: str
    """Where a :data:`Job` is, as ``module:function``. Only the run's processes import that module."""
    config: TrainConfig
    engine: OwnEngine | EngineChoice | None
    relay: Any
    """Ray's handle of the :class:`~ttrl_env.agents.on_ray.relay.Relay`."""
    started_in: str
    """The driver's working folder, which relative paths are meant from."""


def run_worker(settings: dict[str, Assignment]) -> str | None:
    """Play the run, from its last checkpoint if it has begun; returns the path of the last one.

    An error that would come again is told to the driver, which ends the run. A simulation or another process
    that has died is left to Ray Train, which starts all processes again.
    """
    import ray
    from ray import train

    assignment = settings["assignment"]
    relay = assignment.relay
    is_main = train.get_context().get_world_rank() == 0
    course: Course = ray.get(relay.enter.remote(is_main))
    if course.failure is not None:
        return None
    try:
        with relayed_streams(relay) if is_main else nullcontext():
            return str(_play(assignment, course, is_main))
    except (EnvironmentDiedError, WorkersDiedError):
        raise
    except TTRLError as error:
        ray.get(relay.fail.remote(error))
        raise


def _play(assignment: Assignment, course: Course, is_main: bool) -> Path:
    """Play the run from where it is; returns its last checkpoint."""
    config, relay = assignment.config, assignment.relay
    display = RelayedDisplay(relay) if is_main else Display(Console(quiet=True))
    import transformers  # the driver needs neither it nor PyTorch

    transformers.logging.disable_progress_bar()  # the driver has bars of its own
    _enter_folder(assignment)
    if course.starts:
        display.say(f"Ray has started the processes again ({_failures(course, config)})")
    config = _from_where_it_is(config, course)
    if is_main and course.starts:
        _wait_for_lock(config.output_dir)
    copies_of = None if config.ray.storage_path is None else config.output_dir
    supervisor = RelayedSupervisor(relay, is_main=is_main, copies_of=copies_of)
    job: Job = pkgutil.resolve_name(assignment.job)
    return job(config, display, assignment.engine, supervisor)


def _failures(course: Course, config: TrainConfig) -> str:
    most = config.ray.max_failures
    return f"failure {course.starts}" + (f" of at most {most}" if most >= 0 else "")


def _enter_folder(assignment: Assignment) -> None:
    """Change to the driver's working folder, as Ray Train has changed to one of its own."""
    if os.path.isdir(assignment.started_in):
        os.chdir(assignment.started_in)
    elif not os.path.isabs(assignment.config.output_dir):
        raise ConfigError(
            f"output_dir: {assignment.config.output_dir} is meant from {assignment.started_in}, which the "
            f"node {os.uname().nodename} does not have; give the full path of a folder that all nodes see"
        )


def _from_where_it_is(config: TrainConfig, course: Course) -> TrainConfig:
    """The configuration with which the run goes on: a restart from the last checkpoint."""
    if config.ray.storage_path is not None:
        _fetch_checkpoint(config, course)
    if course.began and list_checkpoints(config.output_dir):
        return replace(config, resume="auto")
    return config


def _fetch_checkpoint(config: TrainConfig, course: Course) -> None:
    """Copy the last checkpoint from ``ray.storage_path`` where ``output_dir`` has lost or never had it."""
    from ray import train
    from ray.train.collective import barrier

    stored = train.get_checkpoint()
    if stored is None:
        return
    name = name_of_copy(stored)
    if config.resume is None and not course.starts:
        raise CheckpointError(
            f"ray.storage_path: {config.ray.storage_path} already holds a run named "
            f"{Path(config.output_dir).name} (up to {name}). Continue it with resume=auto, or choose another "
            f"output_dir"
        )
    wanted = course.began or config.resume == "auto"
    if wanted and train.get_context().get_local_rank() == 0 and not list_checkpoints(config.output_dir):
        folder = Path(config.output_dir) / "checkpoints"
        draft = folder / f".draft_{os.uname().nodename}_{os.getpid()}"
        stored.to_directory(draft)
        try:
            draft.rename(folder / name)
        except OSError:
            if not (folder / name).is_dir():  # else another node has brought it to the shared folder
                raise
    barrier()


def _wait_for_lock(output_dir: str) -> None:
    """Wait until the process that wrote there before is gone; whoever holds the lock then is another run."""
    end = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < end:
        try:
            with folder_lock(output_dir, "output_dir"):
                return
        except ConfigError:
            time.sleep(0.2)

"""``ttrl doctor``: does this machine, or this policy checkpoint, do what training needs?"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import psutil

from ttrl_env import libero_tasks
from ttrl_env.agents.commands.arguments import key_values, read_arguments
from ttrl_env.agents.commands.checks import report
from ttrl_env.agents.commands.policy_tasks import own_tasks
from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.config.bounds import Distinct, Text, check_fields
from ttrl_env.agents.config.schema import EnvConfig, RoboTwinEnvConfig, TrainConfig
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import EngineConfig, EngineName
from ttrl_env.errors import CheckpointError, ConfigError
from ttrl_env.libero_version import describe, install_command, installed_mujoco, is_published
from ttrl_env.machine.cores import usable_cores
from ttrl_env.robotwin.processes import PYTHON_VARIABLE
from ttrl_env.suites import ROBOTWIN, get_libero_suite


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(TrainConfig):
    """What is checked: this machine, a policy for the run that the other keys describe, or suites."""

    checkpoint: Annotated[str | None, Text()] = None
    """Policy folder, checkpoint, run, shipped policy or hub repository; null: check this machine."""
    world: Annotated[tuple[str, ...], Distinct("suite")] = ()
    """Only compare every task of these suites with published LIBERO. The first time, a task takes ten seconds
    and a quarter of a gigabyte of the cache (`ttrl cache clear=true`)."""


SCHEMA = DoctorConfig


def run(arguments: Sequence[str]) -> int:
    """Print one line a check; returns 1 if any of them failed."""
    config = read_arguments("doctor", arguments, SCHEMA, _load)
    if config is None:
        return 0
    if config.world:
        suites = [get_libero_suite(suite, "world").name for suite in config.world]
        return report((suite, partial(_suite_is_published, suite)) for suite in suites)
    if config.checkpoint is None:
        named = PYTHON_VARIABLE in os.environ
        return report([*_CHECKS.items(), *([("RoboTwin", _robotwin)] if named else [])])
    return report(_policy_checks(config, key_values("doctor", arguments, SCHEMA)))


def _load(overrides: Sequence[str]) -> DoctorConfig:
    from ttrl_env.agents.config.composing import compose_config
    from ttrl_env.agents.config.loading import load_config, read_settings

    settings = read_settings(DoctorConfig, overrides)
    config = compose_config(DoctorConfig, settings)
    others = sorted({key for key, _ in settings} - {"world", "checkpoint"})
    if config.world:
        check_fields(config)
        if others or config.checkpoint is not None:
            also = others[0] if others else f"checkpoint={config.checkpoint}"
            raise ConfigError(f"world: takes no checkpoint and no other keys, got {also} as well")
        return config
    if config.checkpoint is None:
        if others:
            raise ConfigError(
                f"checkpoint: name the policy that {others[0]} is for, e.g. `ttrl doctor runs/ttrl`"
            )
        return config
    if "policy.path" in others:
        raise ConfigError(
            f"policy.path: expected {config.checkpoint!r} alone, which is the policy that is examined"
        )
    values = {"policy.path": config.checkpoint}
    given = {key for key, _ in settings}
    with contextlib.suppress(CheckpointError):  # a check of its own says what is wrong
        values |= own_tasks(config.checkpoint, "checkpoint", config.env, config.policy, given)
    return load_config(DoctorConfig, overrides, values)


def _policy_checks(config: DoctorConfig, overrides: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    from ttrl_env.agents.checkup.policy import examine
    from ttrl_env.agents.commands.terminal import silence_transformers
    from ttrl_env.agents.config.loading import read_settings

    silence_transformers()
    yield "accelerator", _accelerator
    yield "threads", _threads
    if config.env.suite == ROBOTWIN.name:
        yield "RoboTwin", partial(_robotwin, config.env)
    yield from examine(config, frozenset(key for key, _ in read_settings(DoctorConfig, overrides)))


def _robotwin(env: EnvConfig | None = None) -> str:
    """The other interpreter plays RoboTwin: the tasks of ``env``, or all. `ttrl robotwin check` says more."""
    from ttrl_env.robotwin.catalogue import TASKS
    from ttrl_env.robotwin.checkup import checks
    from ttrl_env.robotwin.processes import find_python

    settings = RoboTwinEnvConfig() if env is None else env.robotwin
    names = [] if env is None else [TASKS[task_id].name for task_id in env.task_ids]
    found = checks(find_python(settings.python), settings.assets, names)
    return "; ".join([f"{name}: {check()}" for name, check in found])


def _machine() -> str:
    memory = psutil.virtual_memory()
    fits = int(memory.available / 1.5e9)
    return (
        f"{platform.platform()}, Python {platform.python_version()}, "
        f"{usable_cores()} of {os.cpu_count()} cores usable, "
        f"{memory.available / 1e9:.0f} GB of memory free (about {fits} simulations of engine=upstream)"
    )


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in installed_versions().items())


def _accelerator() -> str:
    import torch

    if not torch.cuda.is_available():
        return "no GPU: TinyVLA trains on the CPU"
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    return f"{name}, {memory / 1e9:.0f} GB"


def _threads() -> str:
    """More threads than cores that this process may use wait for each other."""
    import torch

    usable, threads = usable_cores(), torch.get_num_threads()
    if threads > usable:
        raise ConfigError(
            f"PyTorch takes {threads} threads, {usable} cores are usable; set OMP_NUM_THREADS={usable}"
        )
    return f"PyTorch takes {threads}, {usable} cores are usable"


def _gl() -> str:
    opengl.require_gl()
    return f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}, libraries found"


def _assets() -> str:
    libero_tasks.require_libero()
    instruction = libero_tasks.get_task("libero_spatial", 0).instruction
    return f"LIBERO and its assets found; task 0 of libero_spatial: {instruction!r}"


def _simulation() -> str:
    """Build a real environment with each engine of this machine and compare their images."""
    import time

    from ttrl_env.engines.make_engine import make_engine

    images, seconds = [], []
    engines: tuple[EngineName, ...] = ("native", "upstream")
    for name in engines:
        started = time.perf_counter()
        engine = make_engine(name, EngineConfig(suite="libero_spatial", num_rows=1, image_size=128))
        try:
            engine.reset([0], [0], [0])
            images.append(engine.observations["agentview_image"][0].copy())
        finally:
            engine.close()
        seconds.append(f"{name} {time.perf_counter() - started:.1f} s")
    if images[0].std() < 1:
        raise RuntimeError("the rendered image is blank: the OpenGL driver does not work")
    if not np.array_equal(*images):
        raise RuntimeError("the engines' images differ: use engine=upstream and report it, please")
    return f"both engines built, reset and rendered the same image ({', '.join(seconds)})"


def _world() -> str:
    """Two tasks that tell worlds apart: textures that got darker, and boxes that rest otherwise."""
    _refuse([*_unlike_published("libero_object", [0]), *_unlike_published("libero_spatial", [5])])
    return f"{describe(installed_mujoco())}; libero_object 0 and libero_spatial 5 look and settle so"


def _suite_is_published(suite: str) -> str:
    task_ids = range(get_libero_suite(suite).num_tasks)
    _refuse(_unlike_published(suite, task_ids))
    return f"its {len(task_ids)} tasks look and settle as published"


def _unlike_published(suite: str, task_ids: Sequence[int]) -> list[str]:
    """What is not as in published LIBERO, a phrase for each task that differs."""
    from ttrl_env.agents.common.progress import Display
    from ttrl_env.engines.make_engine import make_engine
    from ttrl_env.published_scenes import differences, published_scene, scene_config, see

    found = []
    engine = make_engine("native", scene_config(suite))
    try:
        with Display().bar(suite, total=len(task_ids)) as progress:
            for count, task_id in enumerate(task_ids):
                progress(count, len(task_ids))
                different = differences(see(engine, task_id), published_scene(suite, task_id))
                if different:
                    found.append(f"{suite} {task_id} {' and '.join(different)}")
    finally:
        engine.close()
    return found


def _refuse(found: Sequence[str]) -> None:
    if found:
        mujoco = installed_mujoco()
        advice = "is another LIBERO installed, or does the OpenGL driver render otherwise?"
        if not is_published(mujoco):
            advice = install_command()
        raise RuntimeError(f"{'; '.join(found)}: MuJoCo {mujoco}; {advice}")


_CHECKS: dict[str, Callable[[], str]] = {
    "machine": _machine,
    "versions": _versions,
    "accelerator": _accelerator,
    "threads": _threads,
    "OpenGL": _gl,
    "LIBERO": _assets,
    "world": _world,
    "simulation": _simulation,
}

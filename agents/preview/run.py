"""Plays a preview and writes its report, from which an interrupted one goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ttrl_env import tasks
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.choices import TINY_VLA
from ttrl_env.agents.config.resuming import checkpoint_to_resume
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.distributed.devices import choose_device, use_usable_cores
from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.reports.episode_log import EpisodeLog
from ttrl_env.agents.evaluation.reports.run import policy_identity
from ttrl_env.agents.evaluation.reports.world import world_settings
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.policies.building import make_policy
from ttrl_env.agents.policies.finding import find_policy
from ttrl_env.agents.policies.known_tasks import describe_tasks
from ttrl_env.agents.policies.loading import read_kind
from ttrl_env.agents.preview.config import PreviewConfig
from ttrl_env.agents.preview.figure import plot
from ttrl_env.agents.preview.markdown import markdown
from ttrl_env.agents.preview.outcomes import gather
from ttrl_env.agents.preview.play import plan, play, states_per_task
from ttrl_env.agents.preview.summary import summarise
from ttrl_env.agents.rollout.environments import make_train_env
from ttrl_env.agents.training.introduction import describe_policy, describe_rollout
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.errors import ConfigError
from ttrl_env.libero_version import describe, installed_mujoco
from ttrl_env.machine.whole_files import read_object, replacing, write_whole

REPORT_FILE = "preview.json"

_POLICY = "policy"
"""Name of the only policy in the log of episodes."""


def preview(
    config: PreviewConfig, display: Display | None = None, engine: EngineChoice | None = None
) -> dict[str, Any]:
    """Play a sample of a run's training states before it begins, and say what the run can learn from.

    Returns the report (:func:`ttrl_env.agents.preview.summary.summarise`). With ``config.output`` it is also
    written to that folder, as ``preview.json``, ``preview.md`` and ``preview.png``. Episodes are stored there
    after each rollout, so that the same command goes on after an interruption.

    ``engine`` replaces the simulation engine that ``config.env`` names.

    Raises:
        ConfigError: the configuration cannot work, it is for RoboTwin, or the folder holds something else.
        CheckpointError: the policy cannot be read.
    """
    if plays_robotwin(config.env):
        raise ConfigError(
            "env.suite: a preview's forecast is made of runs on LIBERO, got robotwin; `ttrl train "
            "iterations=1` measures the time of an iteration, and how often the policy succeeds"
        )
    use_usable_cores()
    display = display or Display()
    checkpoint = _checkpoint(config)
    _introduce(config, checkpoint, display)
    settings = _settings(config, checkpoint)
    with contextlib.ExitStack() as stack:
        log = None
        if config.output is not None:
            log = stack.enter_context(EpisodeLog(config.output, settings, "preview"))
        policy = make_policy(config, checkpoint)
        report = _play(config, policy, settings, log, display, engine)
        if log is not None:
            _write(report, log.folder)
        return report


def _introduce(config: PreviewConfig, checkpoint: Path | None, display: Display) -> None:
    """Say what is played, by which policy and where; warn of tasks that are new to it."""
    states, env = states_per_task(config), config.env
    episodes = states * len(env.task_ids) * env.n_samples
    lines = {
        "World": describe(installed_mujoco()),
        "Tasks": describe_tasks(env.suite, env.task_ids),
        "Policy": f"{describe_policy(config, checkpoint)}, on {choose_device(config.policy.device)}",
        "Rollout": describe_rollout(config),
        "Preview": f"{episodes} episodes from {states} training states of each task; nothing is trained",
    }
    for label, text in lines.items():
        display.say(f"{label + ':':<9} {text}")


def _play(
    config: PreviewConfig,
    policy: TokenPolicy,
    settings: dict[str, Any],
    log: EpisodeLog | None,
    display: Display,
    engine: EngineChoice | None,
) -> dict[str, Any]:
    planned, rows = plan(config), config.env.n_samples
    starts = [start for rollout in planned for start in rollout.starts]
    with contextlib.closing(make_train_env(config, planned[0].assignment, policy, engine)) as env:
        ladder = [float(each) for each in env.temperatures[:rows]]
        finished = [] if log is None else [e for each in {*ladder} for e in log.finished(_POLICY, each)]
        with display.bar("preview", len(starts) * rows, completed=len(finished)) as progress:
            episodes, seconds = play(
                env,
                policy,
                config,
                finished=finished,
                on_episode=None if log is None else partial(_add, log, ladder),
                progress=progress,
            )
        outcomes = gather(starts, episodes, env.temperatures[:rows], env.max_steps)
    if seconds is None and log is not None:
        seconds = _seconds_before(log.folder)
    return summarise(outcomes, config, kind=settings["kind"], settings=settings, seconds_per_episode=seconds)


def _add(log: EpisodeLog, ladder: Sequence[float], episode: Episode) -> None:
    log.add(_POLICY, ladder[episode.repeat], episode)


def _seconds_before(folder: Path) -> float | None:
    """Seconds an episode as measured by the call that finished this preview; ``None`` if none has."""
    file = folder / REPORT_FILE
    if not file.is_file():
        return None
    seconds: float | None = read_object(file, "remove it")["run"]["seconds_per_episode"]
    return seconds


def _write(report: dict[str, Any], folder: Path) -> None:
    """Write figure, Markdown and JSON, each atomically; the JSON last: it marks the end."""
    with replacing(folder / "preview.png", folder / ".preview.png") as figure:
        plot(report, figure)
    write_whole(folder / "preview.md", markdown(report))
    write_whole(folder / REPORT_FILE, json.dumps(report, indent=1) + "\n")


def _checkpoint(config: PreviewConfig) -> Path | None:
    """The checkpoint that the run would go on from."""
    return None if config.resume is None else checkpoint_to_resume(config)


def _settings(config: PreviewConfig, checkpoint: Path | None) -> dict[str, Any]:
    """All that determines the episodes; the kind of policy is part of it."""
    env, source = config.env, checkpoint or config.policy.path
    folder = None if source is None else find_policy(source).resolve()
    described = {"policy": None} if folder is None else policy_identity(folder)
    loading = {name: each for name, each in asdict(config.policy).items() if name not in ("path", "device")}
    return {
        "command": "preview",
        **described,
        "kind": TINY_VLA if folder is None else read_kind(folder),
        "suite": env.suite,
        "task_ids": list(env.task_ids),
        "states_per_task": states_per_task(config),
        "num_groups": env.num_groups,
        "n_samples": env.n_samples,
        "test_time_rl": config.test_time_rl,
        "base_temperature": config.base_temperature,
        "temperature_range": config.temperature_range,
        "seed": config.seed,
        "max_steps": env.max_steps or tasks.horizon(env.suite, env.task_ids),
        **world_settings(env),
        "loading": loading,
    }

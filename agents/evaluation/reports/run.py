"""Evaluates a checkpoint, and optionally a baseline, and writes a report that can be continued."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray
from torch import nn

from ttrl_env import tasks
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.schema import EvaluateConfig, LoadConfig
from ttrl_env.agents.config.worlds import engine_name
from ttrl_env.agents.distributed.devices import choose_device, use_usable_cores
from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.evaluate import Evaluation, count_episodes, evaluate
from ttrl_env.agents.evaluation.reports.episode_log import EpisodeLog
from ttrl_env.agents.evaluation.reports.evaluated_policy import EvaluatedPolicy
from ttrl_env.agents.evaluation.reports.figure import plot
from ttrl_env.agents.evaluation.reports.markdown import markdown
from ttrl_env.agents.evaluation.reports.statements import mode
from ttrl_env.agents.evaluation.reports.summary import summarise
from ttrl_env.agents.evaluation.reports.videos import write_videos
from ttrl_env.agents.evaluation.reports.world import describe, world_settings
from ttrl_env.agents.evaluation.videos import record_episodes
from ttrl_env.agents.policies import PolicyOptions, TokenPolicy, load_policy
from ttrl_env.agents.policies.building import check_image_size, load_options
from ttrl_env.agents.policies.cameras import PolicyCamera
from ttrl_env.agents.policies.finding import find_policy
from ttrl_env.agents.policies.known_tasks import describe_tasks, describe_training
from ttrl_env.agents.policies.loading import read_cameras
from ttrl_env.agents.policies.origin import tasks_of
from ttrl_env.agents.policies.provenance import cloning, provenance
from ttrl_env.agents.rollout.environments import make_evaluation_env, share_engine
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine
from ttrl_env.errors import ConfigError
from ttrl_env.machine.whole_files import replacing, write_whole
from ttrl_env.replica_env import ReplicaVectorEnv


def evaluate_checkpoints(
    config: EvaluateConfig, display: Display, engine: OwnEngine | EngineChoice | None = None
) -> dict[str, Any]:
    """Evaluate ``config.checkpoint``, and ``config.baseline`` first if there is one.

    Returns the report (:func:`ttrl_env.agents.evaluation.reports.summary.summarise`). With ``config.output``
    it is also written to that folder as JSON, Markdown and a figure, with videos. Episodes are stored there
    as they end, so that the same command continues after an interruption.

    ``engine`` replaces the simulation engine that ``config.env`` names.
    """
    use_usable_cores()
    folders = _policy_folders(config)
    protocol = _protocol(config)
    display.say(f"World: {describe(protocol)}")
    _introduce(config, folders, display)
    command = {**protocol, **{name: policy_identity(folder) for name, folder in folders.items()}}
    with contextlib.ExitStack() as stack:
        log = None if config.output is None else stack.enter_context(EpisodeLog(config.output, command))
        env = _environment(config, _cameras(folders.values(), load_options(config.policy)), engine)
        stage = _Stage(stack.enter_context(contextlib.closing(env)), config.policy)
        subjects = [
            EvaluatedPolicy(
                name=name,
                policy=str(folder),
                provenance=provenance(folder),
                cloning=cloning(folder),
                evaluations=[
                    _evaluate(stage, config, name, folder, temperature, log, display)
                    for temperature in config.eval.temperatures
                ],
            )
            for name, folder in folders.items()
        ]
        versions = getattr(env.engine, "versions", None)
        if log is None:
            return summarise(subjects, protocol, versions=versions)
        videos = _videos(stage, config, subjects, log.folder, display)
        report = summarise(subjects, protocol, videos, versions)
        _write(report, log.folder)
        return report


def _introduce(config: EvaluateConfig, folders: Mapping[str, Path], display: Display) -> None:
    """Say what is played, how much of it, by which policies and where; warn of tasks they do not know."""
    suite, task_ids = config.env.suite, config.env.task_ids
    display.say(f"Tasks: {describe_tasks(suite, task_ids)}, {config.eval.init_states} initial states")
    for name, folder in folders.items():
        asked = str(getattr(config, name))
        known = tasks_of(folder, config.policy.openvla.unnorm_key)
        display.say(f"{name.capitalize()}: {asked}, {describe_training(asked, known, suite, task_ids)}")
    temperatures = config.eval.temperatures
    played = " and ".join(
        f"{count_episodes(config.env, config.eval, each)} {mode(each)}" for each in temperatures
    )
    horizon = config.env.max_steps or tasks.horizon(suite, task_ids)
    display.say(
        f"Episodes: {played}{' for each policy' if len(folders) > 1 else ''}, up to {horizon} steps each, "
        f"{config.num_envs} at once; engine {engine_name(config.env)}, policy on "
        f"{choose_device(config.policy.device)}"
    )
    display.say("Time: shown with the progress, from the first episodes that end")


class _Stage:
    """The environment, and the one policy that is loaded at a time."""

    def __init__(self, env: ReplicaVectorEnv, loading: LoadConfig) -> None:
        self.env = env
        self._loading = loading
        self._folder: Path | None = None
        self._policy: TokenPolicy | None = None

    def policy(self, folder: Path) -> TokenPolicy:
        """Load the policy of a folder; frees the previous one first."""
        if self._policy is None or self._folder != folder:
            self._policy = None
            self._policy, self._folder = load_policy(folder, load_options(self._loading)), folder
            cast(nn.Module, self._policy).to(choose_device(self._loading.device))
        return self._policy

    def record(
        self, subject: EvaluatedPolicy, temperature: float, episode: Episode, seed: int
    ) -> NDArray[Any]:
        """Replay an episode and return its frames."""
        frames = record_episodes(
            self.env,
            [self.policy(Path(subject.policy))],
            episode.init_state_id,
            task_id=episode.task_id,
            repeat=episode.repeat,
            temperature=temperature,
            seed=seed,
        )
        return frames[0]


def _cameras(folders: Iterable[Path], options: PolicyOptions) -> tuple[PolicyCamera, ...]:
    """The cameras that at least one of the policies uses."""
    return tuple(dict.fromkeys(camera for folder in folders for camera in read_cameras(folder, options)))


def _environment(
    config: EvaluateConfig, cameras: tuple[PolicyCamera, ...], engine: OwnEngine | EngineChoice | None
) -> ReplicaVectorEnv:
    """Make the environment. It opens simulations at the first episode, so a finished report opens none."""
    rows = [config.env.task_ids[row % len(config.env.task_ids)] for row in range(config.num_envs)]
    return make_evaluation_env(config.env, rows, cameras, engine=engine)


def _evaluate(
    stage: _Stage,
    config: EvaluateConfig,
    name: str,
    folder: Path,
    temperature: float,
    log: EpisodeLog | None,
    display: Display,
) -> Evaluation:
    policy = stage.policy(folder)
    check_image_size(policy, config.env)
    finished = [] if log is None else log.finished(name, temperature)
    total = count_episodes(config.env, config.eval, temperature)
    with display.bar(f"{name}, T = {temperature:g}", total, completed=len(finished)) as progress:
        return evaluate(
            share_engine(stage.env, policy.chunk_steps),
            policy,
            config.env.task_ids,
            init_states=config.eval.init_states,
            episodes_per_task=config.eval.episodes_per_task,
            temperature=temperature,
            repeats=config.eval.repeats,
            seed=config.seed,
            finished=finished,
            on_episode=None if log is None else partial(log.add, name, temperature),
            progress=progress,
        )


def _videos(
    stage: _Stage, config: EvaluateConfig, subjects: list[EvaluatedPolicy], folder: Path, display: Display
) -> list[dict[str, Any]]:
    if config.videos == 0:
        return []
    record = partial(stage.record, seed=config.seed)
    with display.bar("videos", total=0) as progress:
        fps = stage.env.metadata["render_fps"]
        return write_videos(subjects, folder / "videos", config.videos, record, progress, fps)


def _write(report: dict[str, Any], folder: Path) -> None:
    """Write the report's figure, Markdown and JSON, each atomically; the JSON last: it marks the end."""
    with replacing(folder / "report.png", folder / ".report.png") as figure:
        plot(report, figure)
    write_whole(folder / "report.md", markdown(report))
    write_whole(folder / "report.json", json.dumps(report, indent=1) + "\n")


def _policy_folders(config: EvaluateConfig) -> dict[str, Path]:
    """Folders of the policies to evaluate, by name; the baseline comes first."""
    named = {"baseline": config.baseline, "checkpoint": config.checkpoint}
    folders = {
        name: find_policy(path, argument=name).resolve() for name, path in named.items() if path is not None
    }
    if len(folders) == 2 and folders["baseline"] == folders["checkpoint"]:
        raise ConfigError(
            f"baseline: expected another policy than checkpoint, both are {folders['baseline']}"
        )
    return folders


def _protocol(config: EvaluateConfig) -> dict[str, Any]:
    """All settings that determine the episodes, except the policies."""
    return {
        "suite": config.env.suite,
        "task_ids": list(config.env.task_ids),
        "init_states": config.eval.init_states,
        "episodes_per_task": config.eval.episodes_per_task,
        "temperatures": list(config.eval.temperatures),
        "repeats": config.eval.repeats,
        "seed": config.seed,
        "max_steps": config.env.max_steps or tasks.horizon(config.env.suite, config.env.task_ids),
        **world_settings(config.env),
        "chunk_steps": config.policy.chunk_steps,
        "decoding": config.policy.openvla.decoding,
        "unnorm_key": config.policy.openvla.unnorm_key,
        "dtype": config.policy.openvla.dtype,
    }


def policy_identity(folder: Path) -> dict[str, Any]:
    """Identifies a policy by its path and the time of its newest file, so that a rewritten one differs."""
    newest = max(file.stat().st_mtime for file in folder.iterdir())
    return {"policy": str(folder), "written": datetime.fromtimestamp(newest, timezone.utc).isoformat()}

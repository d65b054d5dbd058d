"""Making the environments that policies are trained and evaluated in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gymnasium.vector import AutoresetMode

from ttrl_env.agents.config.schema import EnvConfig, TrainConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.policies.cameras import PolicyCamera, libero_cameras, robotwin_cameras
from ttrl_env.agents.rollout.assignments import Assignment
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.vector_env import RoboTwinVectorEnv
from ttrl_env.vector_env import TTRLVectorEnv


def make_train_env(
    config: TrainConfig,
    first: Assignment,
    policy: TokenPolicy,
    engine: OwnEngine | EngineChoice | None = None,
    num_workers: int | None = None,
) -> ReplicaVectorEnv:
    """The environment to train ``policy`` in: groups of replicas, finished rows left alone.

    ``num_workers`` is this process's share of the machine's cores; actors on a cluster do not depend on it.
    """
    groups: dict[str, Any] = {
        "base_temperature": config.base_temperature,
        "temperature_range": config.temperature_range,
        "test_time_rl": config.test_time_rl,
        "test_time_rl_reward": config.test_time_rl_reward,
        "chunk_steps": policy.chunk_steps,
        "num_workers": config.env.num_workers or (None if config.env.engine == "ray" else num_workers),
    }
    return _make_env(config.env, first.task_ids, config.env.n_samples, policy.cameras, engine, **groups)


def make_evaluation_env(
    env: EnvConfig,
    task_ids: Sequence[int],
    cameras: Sequence[PolicyCamera],
    *,
    engine: OwnEngine | EngineChoice | None = None,
    chunk_steps: int = 1,
) -> ReplicaVectorEnv:
    """An environment to evaluate in: each row is a group of its own, with binary rewards.

    It opens simulations at the first reset, from any initial state.

    Args:
        env: the simulations as configured.
        task_ids: the task of each row; the episodes that are played decide on others.
        cameras: those that the policies need.
        engine: a caller's own.
        chunk_steps: actions executed by each step.
    """
    return _make_env(
        env,
        task_ids,
        1,
        cameras,
        engine,
        test_time_rl=False,
        chunk_steps=chunk_steps,
        init_states="all",
        num_workers=env.num_workers,
    )


def share_engine(env: ReplicaVectorEnv, chunk_steps: int | None = None) -> ReplicaVectorEnv:
    """An environment to evaluate in, on the simulations of ``env``."""

    def engine(config: Any) -> Any:
        return env.engine

    shared: dict[str, Any] = {
        "test_time_rl": False,
        "max_steps": env.max_steps,
        "chunk_steps": env.chunk_steps if chunk_steps is None else chunk_steps,
        "init_states": "all",
        "autoreset_mode": AutoresetMode.DISABLED,
        "engine": engine,
    }
    if isinstance(env, RoboTwinVectorEnv):
        return RoboTwinVectorEnv(env.task_ids.tolist(), 1, **shared, **_robotwin_settings(env.engine.config))
    assert isinstance(env, TTRLVectorEnv)
    config = env.engine.config
    seen: dict[str, Any] = {"image_size": config.image_size, "cameras": config.cameras}
    return TTRLVectorEnv(env.suite.name, env.task_ids.tolist(), 1, **shared, **seen)


def _make_env(
    env: EnvConfig,
    task_ids: Sequence[int],
    n_samples: int,
    cameras: Sequence[PolicyCamera],
    engine: OwnEngine | EngineChoice | None,
    **others: Any,
) -> ReplicaVectorEnv:
    """The environment that ``env`` describes."""
    common: dict[str, Any] = {
        "max_steps": env.max_steps,
        "autoreset_mode": AutoresetMode.DISABLED,
        **others,
    }
    if plays_robotwin(env):
        own: dict[str, Any] = {} if engine is None else {"engine": engine}
        return RoboTwinVectorEnv(
            task_ids, n_samples, cameras=robotwin_cameras(cameras), **asdict(env.robotwin), **own, **common
        )
    return TTRLVectorEnv(
        env.suite,
        task_ids,
        n_samples,
        image_size=env.image_size,
        cameras=libero_cameras(cameras),
        engine=engine or env.engine,
        ray=_ray_options(env, engine),
        fixture_seed=env.fixture_seed,
        **common,
    )


def _ray_options(env: EnvConfig, engine: OwnEngine | EngineChoice | None) -> RayOptions | None:
    """The settings of ``env.engine=ray``; ``None`` with another engine, or the caller's own."""
    return RayOptions(**asdict(env.ray)) if engine is None and env.engine == "ray" else None


def _robotwin_settings(config: RoboTwinConfig) -> dict[str, Any]:
    """What an environment on simulations of ``config`` is told of them."""
    names = ("task_config", "cameras", "image_height", "image_width", "assets", "python")
    return {name: getattr(config, name) for name in names}

"""Making the environments that policies are trained and evaluated in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from gymnasium.vector import AutoresetMode

from ttrl_env.agents.config.schema import EnvConfig, TrainConfig
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.policies.cameras import PolicyCamera, libero_cameras
from ttrl_env.agents.rollout.assignments import Assignment
from ttrl_env.engines.interface import EngineConfig, SimulationEngine
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.vector_env import TTRLVectorEnv


def make_train_env(
    config: TrainConfig,
    first: Assignment,
    policy: TokenPolicy,
    engine: EngineChoice | None = None,
    num_workers: int | None = None,
) -> TTRLVectorEnv:
    """The environment to train ``policy`` in: groups of replicas, finished rows left alone.

    ``num_workers`` is this process's share of the machine's cores; actors on a cluster do not depend on it.
    """
    env = config.env
    share = None if env.engine == "ray" else num_workers
    return TTRLVectorEnv(
        env.suite,
        first.task_ids,
        env.n_samples,
        base_temperature=config.base_temperature,
        temperature_range=config.temperature_range,
        test_time_rl=config.test_time_rl,
        test_time_rl_reward=config.test_time_rl_reward,
        max_steps=env.max_steps,
        chunk_steps=policy.chunk_steps,
        image_size=env.image_size,
        cameras=libero_cameras(policy.cameras),
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine or env.engine,
        num_workers=env.num_workers or share,
        ray=ray_options(env, engine),
        fixture_seed=env.fixture_seed,
    )


def make_evaluation_env(
    suite: str,
    task_ids: Sequence[int],
    *,
    engine: EngineChoice,
    image_size: int,
    cameras: Sequence[PolicyCamera],
    max_steps: int | None,
    chunk_steps: int = 1,
    num_workers: int | None = None,
    ray: RayOptions | None = None,
    fixture_seed: int = 0,
) -> TTRLVectorEnv:
    """An environment to evaluate in: each row is a group of its own, with binary rewards.

    It opens simulations at the first reset, from any initial state.
    """
    return TTRLVectorEnv(
        suite,
        task_ids,
        1,
        test_time_rl=False,
        max_steps=max_steps,
        chunk_steps=chunk_steps,
        image_size=image_size,
        cameras=libero_cameras(cameras),
        init_states="all",
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine,
        num_workers=num_workers,
        ray=ray,
        fixture_seed=fixture_seed,
    )


def ray_options(env: EnvConfig, engine: EngineChoice | None = None) -> RayOptions | None:
    """The settings of ``env.engine=ray``; ``None`` with another engine, or the caller's own."""
    return RayOptions(**asdict(env.ray)) if engine is None and env.engine == "ray" else None


def share_engine(env: TTRLVectorEnv, chunk_steps: int | None = None) -> TTRLVectorEnv:
    """An environment to evaluate in, on the simulations of ``env``."""

    def engine(config: EngineConfig) -> SimulationEngine:
        return env.engine

    return make_evaluation_env(
        env.suite.name,
        env.task_ids.tolist(),
        engine=engine,
        image_size=env.engine.config.image_size,
        cameras=env.engine.config.cameras,
        max_steps=env.max_steps,
        chunk_steps=env.chunk_steps if chunk_steps is None else chunk_steps,
    )

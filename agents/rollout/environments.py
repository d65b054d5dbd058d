"""Making the environments that policies are trained and evaluated in."""

from __future__ import annotations

from typing import cast

from gymnasium.vector import AutoresetMode

from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.rollout.assignments import Assignment
from ttrl_env.engines.interface import CameraName, EngineConfig, SimulationEngine
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.vector_env import TTRLVectorEnv


def make_train_env(
    config: TrainConfig,
    first: Assignment,
    policy: TokenPolicy,
    engine: EngineChoice | None = None,
    num_workers: int | None = None,
) -> TTRLVectorEnv:
    """The environment to train ``policy`` in: groups of replicas, finished rows left alone."""
    env = config.env
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
        cameras=policy.cameras,
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine or env.engine,
        num_workers=env.num_workers or num_workers,
        fixture_seed=env.fixture_seed,
    )


def share_engine(env: TTRLVectorEnv, chunk_steps: int | None = None) -> TTRLVectorEnv:
    """A view on the simulations of ``env`` in which every row is a group of its own, with binary rewards."""

    def engine(config: EngineConfig) -> SimulationEngine:
        return env.engine

    return TTRLVectorEnv(
        env.suite.name,
        env.task_ids.tolist(),
        1,
        test_time_rl=False,
        max_steps=env.max_steps,
        chunk_steps=env.chunk_steps if chunk_steps is None else chunk_steps,
        image_size=env.engine.config.image_size,
        cameras=cast("tuple[CameraName, ...]", env.engine.config.cameras),
        init_states="all",
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine,
    )

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.contract.counting_engine import counting
from tests.contract.vector_contract import play
from tests.ttrl_env.stove import STOVE
from ttrl_env.vector_env import TTRLVectorEnv
from ttrl_env.wrapper import TestTimeRL

MODES = list(AutoresetMode)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("chunk_steps", [1, 4])
def test_counting_engine_keeps_the_contract(mode: AutoresetMode, chunk_steps: int) -> None:
    engine = counting(success_at={0: 1, 2: 7, 3: 10}, failure_at={4: 5})
    envs = TTRLVectorEnv(
        "libero_spatial",
        (0, 1),
        3,
        max_steps=10,
        chunk_steps=chunk_steps,
        image_size=8,
        autoreset_mode=mode,
        engine=engine,
    )
    seen = play(envs, 60, max_steps=10, chunk_steps=chunk_steps)
    assert min(seen["success"], seen["horizon"], seen["failure"], seen["reset"]) >= 3
    assert (seen["frozen"] > 0) == (mode is AutoresetMode.DISABLED)
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_engines_in_ray_actors_keep_the_contract(mode: AutoresetMode, ray_counting_engine: Any) -> None:
    envs = TTRLVectorEnv(
        "libero_spatial",
        (0, 1),
        3,
        max_steps=10,
        chunk_steps=4,
        image_size=8,
        autoreset_mode=mode,
        engine=ray_counting_engine,
        num_workers=2,
    )
    seen = play(envs, 60, max_steps=10, chunk_steps=4)
    assert min(seen["success"], seen["horizon"], seen["failure"], seen["reset"]) >= 3
    assert (seen["frozen"] > 0) == (mode is AutoresetMode.DISABLED)
    envs.close()


class CountingEnv(gym.Env):
    """Succeeds at step ``success_at``, or ends without success at step 8."""

    observation_space = gym.spaces.Box(0, 8, (1,), np.int64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, success_at: int | None) -> None:
        self.success_at = success_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.array([0]), {"success": False}

    def step(self, action):
        self.count += 1
        success = self.count == self.success_at
        return np.array([self.count]), -1.0, success, self.count == 8 and not success, {"success": success}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_wrapper_keeps_the_contract(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([partial(CountingEnv, at) for at in (2, 5, None, 8)], autoreset_mode=mode)
    wrapped = TestTimeRL(envs, 2, max_steps=8)
    seen = play(wrapped, 40, max_steps=8, steps_finished_rows=False)
    assert min(seen["success"], seen["horizon"], seen["reset"]) >= 3


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_wrapper_over_ttrl_env_agrees_with_it(mode: AutoresetMode) -> None:
    def make() -> TTRLVectorEnv:
        engine = counting(success_at={0: 2, 1: 5, 3: 8})
        return TTRLVectorEnv(
            "libero_spatial", (0, 1), 2, max_steps=8, image_size=8, autoreset_mode=mode, engine=engine
        )

    plain, wrapped = make(), TestTimeRL(make(), 2, max_steps=8)
    plain.reset(seed=[3])
    wrapped.reset(seed=[3])
    for _ in range(30):
        actions = plain.action_space.sample()
        _, *expected, infos = plain.step(actions)
        _, *got, wrapped_infos = wrapped.step(actions)
        np.testing.assert_array_equal(got, expected)
        for key in ("success", "finish_step", "temperature", "group"):
            np.testing.assert_array_equal(wrapped_infos[key], infos[key])


@pytest.fixture(params=["native_stove_engine", pytest.param("stove_engine", marks=pytest.mark.thorough)])
def engine(request: pytest.FixtureRequest) -> Any:
    """The native engine, and unmodified LIBERO, whose episodes are the same (``test_native_engine.py``)."""
    return request.getfixturevalue(request.param)


@pytest.mark.libero
@pytest.mark.usefixtures("turning_stove")
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_libero_keeps_the_contract(mode: AutoresetMode, engine: Any) -> None:
    envs = TTRLVectorEnv(
        **STOVE, max_steps=7, chunk_steps=2, autoreset_mode=mode, engine=engine, init_states="all"
    )
    seen = play(envs, 14, max_steps=7, chunk_steps=2)
    assert min(seen["success"], seen["horizon"], seen["reset"]) >= 2
    assert (seen["frozen"] > 0) == (mode is AutoresetMode.DISABLED)
    envs.close()

"""Gymnasium's vector wrappers, and TestTimeRL, take TTRLVectorEnv for vectorised LiberoEnvs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector as wrappers

from tests.contract.counting_engine import counting
from tests.ttrl_env.same_returns import assert_same_returns
from ttrl_env.single_env import LiberoEnv
from ttrl_env.vector_env import TTRLVectorEnv
from ttrl_env.wrapper import TestTimeRL

pytestmark = pytest.mark.slow

SUCCESS_AT = {0: 3, 1: 5}
FAILURE_AT = {2: 4}
"""Row 3 goes to the horizon."""

Wrap = Callable[[VectorEnv], VectorEnv]


def pair(mode: AutoresetMode) -> tuple[TTRLVectorEnv, SyncVectorEnv]:
    """The same four episodes a time as one environment and as four."""
    settings: dict[str, Any] = {"suite": "libero_spatial", "max_steps": 10, "image_size": 8}

    def engine(row: int) -> Callable:
        return counting(*({0: at[row]} if row in at else None for at in (SUCCESS_AT, FAILURE_AT)))

    ours = TTRLVectorEnv(
        **settings, n_samples=1, num_groups=4, autoreset_mode=mode, engine=counting(SUCCESS_AT, FAILURE_AT)
    )
    singles = [partial(LiberoEnv, **settings, engine=engine(row)) for row in range(4)]
    return ours, SyncVectorEnv(singles, autoreset_mode=mode)


def play(envs: VectorEnv, num_steps: int, seed: Any = (3, 1, 4, 1)) -> list[Any]:
    """All that ``envs`` return over twice as many steps, with a reset between."""
    assert envs.action_space.shape is not None
    actions = np.linspace(0, 1, num_steps)[:, None, None] * np.ones(envs.action_space.shape, dtype=np.float32)
    returned = []
    for each in (seed, None):
        returned += [envs.reset(seed=each), *map(envs.step, actions)]
    return returned


def proprioception(envs: VectorEnv) -> VectorEnv:
    """Observations as the one Box that many wrappers ask for."""
    return wrappers.FlattenObservation(
        wrappers.FilterObservation(envs, ["robot0_eef_pos", "robot0_eef_quat"])
    )


ANY_MODE: Mapping[str, Wrap] = {
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "NormalizeReward": wrappers.NormalizeReward,
    "ClipReward": lambda envs: wrappers.ClipReward(envs, 0.0, 0.5),
    "RescaleAction": lambda envs: wrappers.RescaleAction(envs, np.full(7, -2.0), np.full(7, 2.0)),
    "ClipAction": wrappers.ClipAction,
    "DictInfoToList": wrappers.DictInfoToList,
}

OBSERVATIONS: Mapping[str, Wrap] = {
    "FilterObservation and FlattenObservation": proprioception,
    "NormalizeObservation": lambda envs: wrappers.NormalizeObservation(proprioception(envs)),
    "DtypeObservation": lambda envs: wrappers.DtypeObservation(proprioception(envs), np.float16),
}
"""Gymnasium wraps observations under NEXT_STEP (and DISABLED) only."""


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *((AutoresetMode.NEXT_STEP, name) for name in (*ANY_MODE, *OBSERVATIONS)),
        *((AutoresetMode.SAME_STEP, name) for name in ANY_MODE),
    ],
)
def test_a_wrapper_does_the_same_with_one_environment_and_with_many(mode: AutoresetMode, name: str) -> None:
    wrap = {**ANY_MODE, **OBSERVATIONS}[name]
    ours, singles = (wrap(envs) for envs in pair(mode))
    assert ours.observation_space == singles.observation_space
    assert ours.action_space == singles.action_space
    clock = ("group", "t")  # the group, and the seconds that an episode took
    for one, other in zip(play(ours, 25), play(singles, 25), strict=True):
        assert_same_returns(one, other, clock)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("NEXT_STEP", None), ("SAME_STEP", None), ("NEXT_STEP", "disabled"), ("DISABLED", "disabled")],
)
def test_test_time_rl_does_the_same_with_one_environment_and_with_many(mode: str, wanted: str | None) -> None:
    ours, singles = (
        TestTimeRL(envs, 2, max_steps=10, autoreset_mode=wanted) for envs in pair(AutoresetMode[mode])
    )
    outcomes = set()
    for one, other in zip(play(ours, 25, seed=6), play(singles, 25, seed=6), strict=True):
        assert_same_returns(one, other)
        outcomes |= set(one[-1].get("final_info", one[-1])["finish_step"].tolist())
    assert outcomes > {3, 5, 4, 10}  # successes, the failure and the horizon

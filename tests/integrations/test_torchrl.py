from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

from tests.contract.counting_engine import counting
from ttrl_env.registration import env_id

pytestmark = pytest.mark.integrations

SPATIAL = env_id("libero_spatial")
KEYWORDS: dict[str, Any] = {"max_steps": 5, "image_size": 8}


def finished(rollout: Any) -> Any:
    """The steps of a rollout that end an episode."""
    return rollout["next"][rollout["next", "done"].squeeze(-1)]


def test_a_single_environment_becomes_tensors_with_its_infos() -> None:
    from torchrl.envs import GymWrapper, check_env_specs

    env = GymWrapper(gym.make(SPATIAL, engine=counting(success_at={0: 3}), **KEYWORDS))
    env = env.auto_register_info_dict()
    check_env_specs(env)
    rollout = env.rollout(9)
    assert rollout["next", "is_success"].tolist() == [False, False, True]
    assert rollout["next", "reward"].flatten().tolist() == pytest.approx([0, 0, 1 / (1 + 3 / 5)])
    assert rollout["next", "terminated"].flatten().tolist() == [False, False, True]
    assert rollout["next", "agentview_image"].shape == (3, 8, 8, 3)


def test_rows_of_a_vector_environment_are_reset_one_by_one() -> None:
    """Row 0 succeeds, row 1 diverges and row 2 goes to the horizon."""
    from torchrl.envs import GymWrapper, check_env_specs

    engine = counting(success_at={0: 3}, failure_at={1: 2})
    envs = gym.make_vec(SPATIAL, 3, autoreset_mode="disabled", engine=engine, **KEYWORDS)
    env = GymWrapper(envs).auto_register_info_dict()
    check_env_specs(env)
    rollout = env.rollout(12, break_when_any_done=False)
    counts = rollout["next", "robot0_eef_pos"][..., 2]
    for row, length in enumerate((3, 2, 5)):
        assert counts[row].tolist() == [step % length + 1 for step in range(12)]
        assert finished(rollout[row])["is_success"].tolist() == [row == 0] * (12 // length)
        assert finished(rollout[row])["terminated"].flatten().tolist() == [row == 0] * (12 // length)


def test_the_documented_rollout_knows_its_success_rate(run_page: Callable) -> None:
    rollout = run_page("torchrl")["rollout"]
    assert [int(row["is_success"].sum()) for row in rollout["next"]] == [6, 0, 6, 0]

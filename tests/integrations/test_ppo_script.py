from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.contract.counting_engine import counting
from tests.integrations.ppo_script import train, vector_env, vectorised_singles
from ttrl_env.registration import env_id

pytestmark = pytest.mark.integrations


@pytest.mark.parametrize("make", [vectorised_singles, vector_env])
def test_the_loop_of_single_file_scripts_trains_on_both_vectorisations(make: Callable) -> None:
    engine = counting(success_at=dict.fromkeys(range(4), 3))
    envs = make(env_id("libero_spatial"), max_steps=5, image_size=8, engine=engine)
    result = train(envs, iterations=2, num_steps=10)
    # Three steps and one that resets: five episodes end within 20 steps of each of four rows.
    assert result.lengths == [3] * 20
    assert result.successes == [True] * 20
    np.testing.assert_allclose(result.returns, 1 / (1 + 3 / 5), rtol=1e-6)
    assert np.isfinite(result.losses).all()
    assert result.losses[0] != result.losses[1]


def test_the_documented_environment_has_the_statistics_that_scripts_log(run_page: Callable) -> None:
    envs = run_page("gymnasium.wrappers import vector")["envs"]
    for _ in range(3):
        *_, infos = envs.step(envs.action_space.sample())
    assert infos["_episode"].tolist() == infos["is_success"].tolist() == [True, False, True, False]
    assert infos["episode"]["l"].tolist() == [3, 0, 3, 0]

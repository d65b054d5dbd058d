from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.counting_engine import counting
from ttrl_env.sb3 import make_sb3_env

pytestmark = pytest.mark.integrations


@pytest.mark.parametrize("library", ["stable_baselines3", "sb3_contrib"])
def test_an_algorithm_trains_and_knows_its_success_rate(library: str, run_page: Callable) -> None:
    model = run_page(library)["model"]
    episodes = (
        model.num_timesteps // 4 // 3
    )  # of each row that succeeds, at step 3; the others take 220 steps
    assert list(model.ep_success_buffer) == [True] * min(2 * episodes, 100)


def test_trpo_too() -> None:
    from sb3_contrib import TRPO

    engine = counting(success_at={0: 3})
    env = make_sb3_env("libero_spatial", n_samples=2, max_steps=5, image_size=36, engine=engine)
    model = TRPO("MultiInputPolicy", env, n_steps=15, batch_size=10, device="cpu", seed=0)
    model.learn(30)
    assert sorted(model.ep_success_buffer) == [False] * 3 + [True] * 5

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from ttrl_env.errors import UnknownNameError
from ttrl_env.wrapper import TestTimeRL


class Toy(gym.Env):
    """Reports success from step ``success_at`` on; ends there, or at step 6 if it goes on regardless."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, success_at: int = 3, stops: bool = True, key: str = "success") -> None:
        self.success_at, self.stops, self.key = success_at, stops, key

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.np_random.random(1), {}

    def step(self, action):
        self.count += 1
        success = self.count >= self.success_at
        ended = self.count == 6 or (success and self.stops)
        info = {self.key: success}
        return self.np_random.random(1), 100.0, ended and self.stops, ended and not self.stops, info


def wrap(
    *,
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    n: int = 4,
    n_samples: int = 2,
    toy: dict | None = None,
    **kwargs: Any,
):
    envs = SyncVectorEnv([lambda: Toy(**(toy or {}))] * n, autoreset_mode=mode)
    return TestTimeRL(envs, n_samples, **{"max_steps": 6, **kwargs})


def rewards_of(envs: TestTimeRL, num_steps: int) -> np.ndarray:
    envs.reset(seed=0)
    return np.array([envs.step(np.zeros(envs.num_envs, dtype=int))[1] for _ in range(num_steps)])


def test_rewards_replace_the_environments_own() -> None:
    reward = 1 / (1 + 3 / 6)
    np.testing.assert_allclose(rewards_of(wrap(), 7)[:, 0], [0, 0, reward, 0, 0, 0, reward])
    np.testing.assert_allclose(rewards_of(wrap(test_time_rl=False), 3)[:, 0], [0, 0, 1])
    np.testing.assert_allclose(rewards_of(wrap(test_time_rl_reward="env_sparse"), 3)[:, 0], [0, 0, 1])


def test_an_environment_that_goes_on_after_success_is_rewarded_once() -> None:
    envs = wrap(toy={"stops": False}, mode=AutoresetMode.SAME_STEP)
    np.testing.assert_allclose(rewards_of(envs, 6)[:, 0], [0, 0, 1 / (1 + 3 / 6), 0, 0, 0])
    envs.reset(seed=0)
    for _ in range(6):
        *_, infos = envs.step(np.zeros(4, dtype=int))
    assert infos["final_info"]["success"].all()
    assert infos["final_info"]["finish_step"].tolist() == [3] * 4
    assert infos["finish_step"].tolist() == [0] * 4


def test_ladder_and_groups() -> None:
    envs = wrap(n=8, n_samples=4)
    np.testing.assert_allclose(envs.temperatures, [0.6, 0.7, 0.8, 0.9] * 2, rtol=1e-6)
    assert envs.groups.tolist() == [0] * 4 + [1] * 4
    np.testing.assert_allclose(wrap(test_time_rl=False).temperatures, [0.6] * 4, rtol=1e-6)


@pytest.mark.parametrize(
    "mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.name
)
def test_rows_of_a_group_start_alike_and_groups_differ_also_after_autoreset(mode: AutoresetMode) -> None:
    envs = wrap(mode=mode)
    observations, _ = envs.reset(seed=5)
    for _ in range(10):
        assert observations[0] == observations[1]
        assert observations[2] == observations[3]
        assert observations[0] != observations[2]
        observations, *_ = envs.step(np.zeros(4, dtype=int))


def test_success_key_can_be_chosen_and_a_wrong_one_is_refused() -> None:
    assert rewards_of(wrap(toy={"key": "is_success"}, success_key="is_success"), 3)[2].all()
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        envs = wrap(toy={"key": "is_success"}, mode=mode)
        with pytest.raises(UnknownNameError, match=r"success_key: no such name 'success'.*Known: is_success"):
            rewards_of(envs, 3)


def test_works_over_process_per_environment() -> None:
    envs = TestTimeRL(AsyncVectorEnv([Toy, Toy]), 2, max_steps=6)
    np.testing.assert_allclose(rewards_of(envs, 3)[:, 0], [0, 0, 1 / (1 + 3 / 6)])
    envs.close()


def test_horizon_defaults_to_that_of_the_spec() -> None:
    envs = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    assert TestTimeRL(envs, 2).max_steps == 500
    with pytest.raises(ValueError, match="names no max_episode_steps, so give max_steps"):
        wrap(max_steps=None)


def test_options_are_left_as_they_were() -> None:
    envs = wrap(mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False, True, False])}
    envs.step(np.zeros(4, dtype=int))
    _, infos = envs.reset(options=options)
    assert list(options) == ["reset_mask"]
    assert infos["finish_step"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("seed", [np.int64(3), np.int32(3), np.uint8(3)])
def test_numpys_integers_are_seeds_as_pythons_are(seed: np.integer) -> None:
    np.testing.assert_array_equal(wrap().reset(seed=seed)[0], wrap().reset(seed=3)[0])


def test_a_list_of_seeds_goes_to_the_rows_as_it_is() -> None:
    seeds = [np.int64(1), None, 2, 1]
    observations, _ = wrap().reset(seed=seeds)
    assert observations[0] == observations[3] != observations[2]


@pytest.mark.parametrize(
    ("seed", "options", "message"),
    [
        ("7", None, "seed: expected an integer of at least 0, got '7'"),
        (1.9, None, r"seed: expected an integer of at least 0, got 1\.9"),
        (-1, None, "seed: expected an integer of at least 0, got -1"),
        ([0, 0, 1, 1.5], None, r"seed: expected an integer of at least 0, got 1\.5"),
        ([0, 1], None, "must match num_envs=4 but got length=2"),
        (None, [1], r"options: expected a dictionary, got \[1\]"),
        (None, {"reset_mask": [0.5] * 4}, r"options\['reset_mask'\]: expected a bool array.*float64"),
        (None, {"reset_mask": np.ones(3, dtype=bool)}, r"options\['reset_mask'\].*shape \(4,\)"),
    ],
)
def test_a_refused_reset_changes_nothing(seed: Any, options: Any, message: str) -> None:
    envs = wrap(mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    envs.step(np.zeros(4, dtype=int))
    refusals = (TypeError, ValueError, AssertionError)  # Gymnasium before 1.4 asserts
    with pytest.raises(refusals, match=message):
        envs.reset(seed=seed, options=options)
    assert envs.step(np.zeros(4, dtype=int))[4]["finish_step"].tolist() == [2, 2, 2, 2]


def test_wrong_arguments_are_refused() -> None:
    for wrong in ("false", 1, None):
        with pytest.raises(TypeError, match="test_time_rl: expected True or False"):
            wrap(test_time_rl=wrong)
    with pytest.raises(ValueError, match="n_samples: num_envs must be a multiple of it"):
        wrap(n=4, n_samples=3)
    with pytest.raises(ValueError, match="n_samples: expected an integer of at least 1"):
        wrap(n_samples=0)
    with pytest.raises(ValueError, match="every temperature must be above 0"):
        wrap(base_temperature=0.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'efficiency'"):
        wrap(test_time_rl_reward="eficiency")
    envs = SyncVectorEnv([Toy])
    envs.metadata = {}
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\]"):
        TestTimeRL(envs, 1, max_steps=6)


def test_pytest_does_not_collect_the_wrapper() -> None:
    assert TestTimeRL.__test__ is False


class Failing(Toy):
    """Raises at its second step, as an interrupt or a broken simulator would."""

    error: type[BaseException] = KeyboardInterrupt

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        if self.count == 2:
            raise self.error
        return answer


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_after_a_step_that_raised_no_episode_goes_on(
    mode: AutoresetMode, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows before the one that raised have taken the step, and the records do not know."""
    monkeypatch.setattr(Failing, "error", error)
    envs = TestTimeRL(SyncVectorEnv([Toy, Toy, Failing, Toy], autoreset_mode=mode), 2, max_steps=6)
    envs.reset(seed=0)
    envs.step(np.zeros(4, dtype=int))
    with pytest.raises(error):
        envs.step(np.zeros(4, dtype=int))
    with pytest.raises(ResetNeeded, match=r"rows \[0, 1, 2, 3\] cannot go on"):
        envs.step(np.zeros(4, dtype=int))
    envs.reset(seed=0)
    assert envs.step(np.zeros(4, dtype=int))[4]["finish_step"].tolist() == [1, 1, 1, 1]

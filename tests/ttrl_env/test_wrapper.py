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
    envs = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", max_episode_steps=30)
    assert TestTimeRL(envs, 2).max_steps == 30
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
    observations, infos = wrap().reset(seed=[np.int64(1), 1, 7, 7])
    singles = SyncVectorEnv([Toy] * 4)
    np.testing.assert_array_equal(observations, singles.reset(seed=[1, 1, 7, 7])[0])
    assert infos["init_state_id"].tolist() == [1, 1, 7, 7]


def test_a_group_of_none_in_a_list_takes_its_next_seed() -> None:
    envs, twin = wrap(), wrap()
    for each in (envs, twin):
        each.reset(seed=5)
    observations, infos = envs.reset(seed=[None, None, 7, 7])
    expected, _ = twin.reset()
    assert observations[0] == observations[1] == expected[0]
    assert infos["init_state_id"].tolist()[2:] == [7, 7]


def test_a_list_of_seeds_decides_the_resets_that_follow_it() -> None:
    first, second, third = wrap(), wrap(), wrap()
    for envs, seed in ((first, 1), (second, 1), (third, 2)):
        envs.reset(seed=[seed, seed, 7, 7])
    again = [envs.reset()[1]["init_state_id"].tolist() for envs in (first, second, third)]
    assert again[0] == again[1] != again[2]


def test_seeds_of_rows_that_are_not_reset_are_ignored() -> None:
    envs = wrap(mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    mask = np.array([False, False, True, True])
    assert envs.reset(seed=[3, 4, 5, 5], options={"reset_mask": mask})[1]["init_state_id"].tolist() == [
        0,
        0,
        5,
        5,
    ]


@pytest.mark.parametrize(
    ("seed", "options", "message"),
    [
        ("7", None, "seed: expected an integer of at least 0, got '7'"),
        (1.9, None, r"seed: expected an integer of at least 0, got 1\.9"),
        (-1, None, "seed: expected an integer of at least 0, got -1"),
        ([0, 0, 1, 1.5], None, r"seed\[3\]: expected an integer of at least 0, got 1\.5"),
        ([0, 0, 1, 2], None, r"seed: rows \[2, 3\] are one group and start alike.*got \[1, 2\]"),
        ([0, None, 1, 1], None, r"seed: rows \[0, 1\] are one group and start alike.*got \[0, None\]"),
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


class Reach(gym.Env):
    """Moves along a line from a random start by what it is told; reaching 1 is success, 6 steps the end."""

    observation_space = gym.spaces.Dict({"place": gym.spaces.Box(-9, 9, (1,), np.float64)})
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.count = self.np_random.uniform(-0.5, 0.5), 0
        return {"place": np.array([self.place])}, {}

    def step(self, action):
        self.place, self.count = self.place + float(action[0]), self.count + 1
        reached = self.place >= 1
        info = {"success": reached}
        return {"place": np.array([self.place])}, -1.0, reached, self.count == 6 and not reached, info


def waiting(mode: AutoresetMode = AutoresetMode.NEXT_STEP, n: int = 4, **kwargs: Any) -> TestTimeRL:
    envs = SyncVectorEnv([Reach] * n, autoreset_mode=mode)
    return TestTimeRL(envs, 2, **{"max_steps": 6, "autoreset_mode": "disabled", **kwargs})


SPEEDS = np.array([[1.0], [0.5], [0.25], [0.0]])

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_finished_rows_wait_for_the_others(mode: AutoresetMode) -> None:
    envs = waiting(mode)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    observations, _ = envs.reset(seed=0)
    places = [observations["place"][:, 0]]
    earned, counts, ends = np.zeros(4), [], np.zeros(4)
    for _ in range(9):
        observations, rewards, terminations, truncations, infos = envs.step(SPEEDS)
        places.append(observations["place"][:, 0])
        earned += rewards
        counts.append(infos["finish_step"])
        ends = terminations.astype(int) - truncations
    assert ends.tolist() == [1, 1, 1, -1]
    steps = counts[-1]
    assert steps.tolist() == [np.argmax(np.array(places)[:, row] >= 1) for row in range(3)] + [6]
    np.testing.assert_allclose(earned, [*(1 / (1 + steps[:3] / 6)), 0])
    for row, last in enumerate(steps):  # what a policy would see after the end stays as it was
        assert {each[row] for each in places[last:]} == {places[last][row]}
    assert infos["success"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_rows_of_a_group_start_alike_at_every_reset_however_long_they_have_waited(mode) -> None:
    envs, starts = waiting(mode), []
    for _ in range(4):
        observations, infos = envs.reset()
        places, states = observations["place"][:, 0], infos["init_state_id"]
        assert places[0] == places[1] != places[2] == places[3]
        assert states[0] == states[1] != states[2] == states[3]
        starts.append(places[0])
        for _ in range(7):
            envs.step(SPEEDS)
    assert len(set(starts)) == 4
    again, infos = envs.reset(options={"init_state_ids": states[::2]})
    np.testing.assert_array_equal(again["place"][:, 0], places)
    np.testing.assert_array_equal(infos["init_state_id"], states)


def test_a_seed_decides_the_resets_that_follow_it() -> None:
    first, second = waiting(), waiting()
    for envs in (first, second):
        envs.reset(seed=7)
    np.testing.assert_array_equal(first.reset()[0]["place"], second.reset()[0]["place"])
    first.reset(seed=8)
    assert (first.reset()[0]["place"] != second.reset()[0]["place"]).all()


def test_a_chunk_stops_where_the_episode_ends() -> None:
    single, chunked = waiting(), waiting(chunk_steps=4)
    assert chunked.action_space.shape == (4, 4, 1)
    for envs in (single, chunked):
        envs.reset(seed=0)
    earned = np.zeros(4)
    for _ in range(8):
        observations, rewards, *flags, infos = single.step(SPEEDS)
        earned += rewards
    by_chunks = np.zeros(4)
    for _ in range(2):
        seen, rewards, *ends, reports = chunked.step(np.repeat(SPEEDS[:, None], 4, axis=1))
        by_chunks += rewards
    np.testing.assert_array_equal(earned, by_chunks)
    np.testing.assert_array_equal(observations["place"], seen["place"])
    np.testing.assert_array_equal(flags, ends)
    assert infos["finish_step"].tolist() == reports["finish_step"].tolist()


def test_success_and_the_given_horizon_end_episodes_that_would_go_on() -> None:
    envs = wrap(toy={"stops": False}, autoreset_mode="disabled", max_steps=3)
    envs.reset(seed=0)
    for _ in range(5):
        _, _, terminations, truncations, infos = envs.step(np.zeros(4, dtype=int))
    assert terminations.all()
    assert not truncations.any()
    assert infos["finish_step"].tolist() == [3] * 4
    envs = wrap(autoreset_mode="disabled", max_steps=2)
    envs.reset(seed=0)
    for _ in range(4):
        _, _, terminations, truncations, infos = envs.step(np.zeros(4, dtype=int))
    assert truncations.all()
    assert not terminations.any()
    assert infos["finish_step"].tolist() == [2] * 4


def test_only_the_rows_of_a_reset_mask_begin_again() -> None:
    envs = waiting()
    before, _ = envs.reset(seed=0)
    for _ in range(7):
        after, *_ = envs.step(SPEEDS)
    mask = np.array([True, True, False, False])
    again, infos = envs.reset(seed=0, options={"reset_mask": mask})
    np.testing.assert_array_equal(again["place"][:2], before["place"][:2])
    np.testing.assert_array_equal(again["place"][2:], after["place"][2:])
    assert infos["success"].tolist() == [False, False, True, False]


def test_an_episode_that_terminates_has_succeeded_where_no_key_says_so() -> None:
    np.testing.assert_allclose(rewards_of(wrap(success_key=None), 3)[2], 1 / (1 + 3 / 6))


def test_instructions_and_tasks_are_given_one_a_group() -> None:
    envs = waiting(instructions=["go left", "go right"], task_ids=[4, 5])
    assert envs.instructions == ["go left"] * 2 + ["go right"] * 2
    assert envs.reset(seed=0)[1]["task_id"].tolist() == [4, 4, 5, 5]
    assert waiting(instructions="go").instructions == ["go"] * 4
    assert waiting().instructions == [""] * 4


def test_arguments_of_rollouts_that_cannot_work_are_named() -> None:
    with pytest.raises(ValueError, match=r"instructions: expected one for each of 2 groups, got 3"):
        waiting(instructions=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"expected an environment of mode NEXT_STEP or DISABLED.*SAME_STEP"):
        waiting(AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="expected 'disabled' or the environment's own NEXT_STEP"):
        waiting(autoreset_mode="same_step")
    with pytest.raises(ValueError, match=r"chunk_steps: .*needs autoreset_mode='disabled', got NEXT_STEP"):
        waiting(autoreset_mode=None, chunk_steps=2)
    envs = waiting(chunk_steps=2)
    with pytest.raises(ValueError, match=r"seed: expected none beside options\['init_state_ids'\]"):
        envs.reset(seed=0, options={"init_state_ids": [1, 2]})
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: expected shape \(4, 2, ...\), got \(4, 1\)"):
        envs.step(SPEEDS)

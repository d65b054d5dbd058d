"""TTRLVectorEnv on the counting engine: everything but the simulation itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from tests.contract.counting_engine import counting
from ttrl_env import tasks
from ttrl_env.errors import UnknownNameError
from ttrl_env.single_env import LiberoEnv
from ttrl_env.vector_env import TTRLVectorEnv


def make(engine: Callable | None = None, **kwargs: Any) -> TTRLVectorEnv:
    defaults: dict[str, Any] = {"suite": "libero_spatial", "n_samples": 2, "max_steps": 10, "image_size": 8}
    return TTRLVectorEnv(**{**defaults, **kwargs}, engine=engine or counting())


def actions_for(envs: TTRLVectorEnv, value: float = 0.5) -> np.ndarray:
    return np.full(envs.action_space.shape, value, dtype=np.float32)


def run(envs: TTRLVectorEnv, num_steps: int) -> list[tuple]:
    return [envs.step(actions_for(envs)) for _ in range(num_steps)]


def test_rows_are_groups_of_replicas_with_a_ladder_each() -> None:
    envs = make(task_ids=(3, 7), n_samples=4)
    _, infos = envs.reset(seed=0)
    np.testing.assert_allclose(envs.temperatures, [0.6, 0.7, 0.8, 0.9] * 2, rtol=1e-6)
    assert envs.groups.tolist() == [0] * 4 + [1] * 4
    assert infos["task_id"].tolist() == [3] * 4 + [7] * 4
    assert envs.instructions[4] == tasks.get_task("libero_spatial", 7).instruction
    assert len(set(infos["init_state_id"][:4])) == 1
    assert len(set(infos["init_state_id"][4:])) == 1


def test_a_group_of_one_samples_at_the_base_temperature() -> None:
    np.testing.assert_allclose(make(n_samples=1).temperatures, [0.6], rtol=1e-6)


def test_ordinary_rl_has_one_temperature_and_binary_rewards() -> None:
    engine = counting(success_at={0: 2, 1: 5})
    envs = make(engine, test_time_rl=False, base_temperature=1.6, autoreset_mode="disabled")
    np.testing.assert_allclose(envs.temperatures, [1.6, 1.6], rtol=1e-6)
    envs.reset(seed=0)
    rewards = np.array([step[1] for step in run(envs, 5)])
    np.testing.assert_array_equal(rewards.sum(axis=0), [1.0, 1.0])


def test_reward_is_paid_once_at_success_and_sooner_is_more() -> None:
    envs = make(counting(success_at={0: 2, 1: 5}), autoreset_mode="disabled")
    envs.reset(seed=0)
    rewards = np.array([step[1] for step in run(envs, 12)])
    expected = np.zeros((12, 2))
    expected[1, 0], expected[4, 1] = 1 / (1 + 2 / 10), 1 / (1 + 5 / 10)
    np.testing.assert_allclose(rewards, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "keywords",
    [
        {"test_time_rl": False},
        {"test_time_rl_reward": "env_sparse"},
        {"test_time_rl_reward": "efficiency"},
    ],
)
def test_success_does_not_depend_on_the_reward(keywords: dict[str, Any]) -> None:
    envs = make(counting(success_at={0: 2, 1: 9}), autoreset_mode="disabled", **keywords)
    envs.reset(seed=0)
    steps = run(envs, 10)
    success = np.array([step[4]["success"] for step in steps])
    assert success[:, 0].tolist() == [False] + [True] * 9
    assert success[:, 1].tolist() == [False] * 8 + [True] * 2
    np.testing.assert_array_equal([step[2] for step in steps], success)


def test_success_inside_a_chunk_ends_it_at_the_exact_step() -> None:
    envs = make(counting(success_at={0: 11}), chunk_steps=8, max_steps=20, autoreset_mode="disabled")
    envs.reset(seed=0)
    (_, _, _, _, first), (observations, rewards, terminations, _, second) = run(envs, 2)
    assert first["finish_step"].tolist() == [8, 8]
    assert second["finish_step"].tolist() == [11, 16]
    assert observations["robot0_eef_pos"][:, 2].tolist() == [11, 16]
    assert terminations.tolist() == [True, False]
    assert rewards[0] == pytest.approx(1 / (1 + 11 / 20))


def test_horizon_inside_a_chunk_cuts_it() -> None:
    envs = make(chunk_steps=8, max_steps=10, autoreset_mode="disabled")
    envs.reset(seed=0)
    *_, (_, rewards, terminations, truncations, infos) = run(envs, 2)
    assert infos["finish_step"].tolist() == [10, 10]
    assert truncations.all()
    assert not terminations.any()
    assert not rewards.any()


def test_success_at_the_very_last_step_is_a_termination() -> None:
    envs = make(counting(success_at={0: 10}), autoreset_mode="disabled")
    envs.reset(seed=0)
    *_, (_, rewards, terminations, truncations, _) = run(envs, 10)
    assert terminations.tolist() == [True, False]
    assert truncations.tolist() == [False, True]
    assert rewards.tolist() == [0.5, 0.0]


def test_a_diverged_row_is_a_truncated_failure_and_leaves_its_siblings_alone() -> None:
    envs = make(counting(failure_at={0: 3}, success_at={0: 3, 1: 6}), autoreset_mode="disabled")
    envs.reset(seed=0)
    steps = run(envs, 6)
    _, rewards, terminations, truncations, infos = steps[2]
    assert truncations.tolist() == [True, False]
    assert not terminations.any()
    assert not rewards.any()
    assert infos["failure"].tolist() == ["diverged", None]
    assert not infos["success"].any()
    assert steps[-1][2].tolist() == [False, True]
    assert envs.reset()[1]["failure"].tolist() == [None, None]


def test_finished_rows_cost_nothing_without_autoreset() -> None:
    envs = make(counting(success_at={0: 2, 1: 4}), autoreset_mode="disabled")
    envs.reset(seed=0)
    envs.engine.calls.clear()
    run(envs, 6)
    assert envs.engine.calls == [("step", [0, 1])] * 2 + [("step", [1])] * 2


def test_actions_of_finished_rows_are_ignored_even_if_not_finite() -> None:
    envs = make(counting(success_at={0: 1}), autoreset_mode="disabled")
    envs.reset(seed=0)
    run(envs, 1)
    actions = actions_for(envs)
    actions[0] = np.nan
    envs.step(actions)
    actions[1, 3] = np.inf
    with pytest.raises(
        ValueError, match=r"actions: expected finite values, got NaN or infinity in rows \[1\]"
    ):
        envs.step(actions)


def test_the_kth_episodes_of_a_group_start_alike_even_when_rows_drift_apart() -> None:
    envs = make(counting(success_at={0: 2, 1: 3, 2: 7}), n_samples=3, autoreset_mode="same_step")
    _, infos = envs.reset(seed=0)
    started = [
        {int(k): int(state)} for k, state in zip(infos["episode_index"], infos["init_state_id"], strict=True)
    ]
    for *_, infos in run(envs, 30):
        for row in range(3):
            started[row].setdefault(int(infos["episode_index"][row]), int(infos["init_state_id"][row]))
    assert [len(episodes) for episodes in started] == [16, 11, 5]
    for k in range(5):
        assert started[0][k] == started[1][k] == started[2][k]
    assert len(set(started[0].values())) == 16  # no state twice before all had their turn


def test_a_full_reset_brings_drifted_rows_together_again() -> None:
    envs = make(counting(success_at={0: 2}), autoreset_mode="same_step")
    envs.reset(seed=0)
    run(envs, 9)
    _, infos = envs.reset()
    assert len(set(infos["init_state_id"])) == 1
    assert len(set(infos["episode_index"])) == 1


def test_seed_fixes_the_order_of_initial_states() -> None:
    def starts(seed: int | list[int]) -> list[list[int]]:
        envs = make(task_ids=(0, 1))
        first = envs.reset(seed=seed)[1]["init_state_id"].tolist()
        return [first, *(envs.reset()[1]["init_state_id"].tolist() for _ in range(5))]

    assert starts(5) == starts(5)
    assert starts(5) != starts(6)
    assert starts([5, 1]) != starts([5, 2])
    envs = make(task_ids=(0, 1))
    again = [envs.reset(seed=5)[1]["init_state_id"].tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_the_constructor_seed_counts_until_reset_is_given_one() -> None:
    first = make(seed=5).reset()[1]["init_state_id"].tolist()
    assert first == make().reset(seed=5)[1]["init_state_id"].tolist()


@pytest.mark.parametrize(
    ("split", "expected"), [("train", range(40)), ("held_out", range(40, 50)), ([9, 4], [4, 9])]
)
def test_every_initial_state_of_the_split_is_visited_once_a_round(split: Any, expected: Any) -> None:
    envs = make(n_samples=1, init_states=split)
    envs.reset(seed=0)
    ids = [int(envs.reset()[1]["init_state_id"][0]) for _ in range(2 * len(expected))]
    assert sorted(ids[-len(expected) - 1 : -1]) == sorted(expected)


def test_reset_options_choose_states_tasks_and_rows() -> None:
    envs = make(task_ids=(0, 1), autoreset_mode="disabled")
    observations, infos = envs.reset(seed=0, options={"init_state_ids": [41, 7], "task_ids": [2, 1]})
    assert infos["init_state_id"].tolist() == [41, 41, 7, 7]
    assert infos["task_id"].tolist() == [2, 2, 1, 1]
    assert observations["robot0_eef_pos"][:, :2].tolist() == [[2, 41], [2, 41], [1, 7], [1, 7]]
    run(envs, 3)
    mask = np.array([True, False, False, True])
    observations, infos = envs.reset(options={"reset_mask": mask})
    assert infos["finish_step"].tolist() == [0, 3, 3, 0]
    assert observations["robot0_eef_pos"][:, 2].tolist() == [0, 3, 3, 0]
    assert infos["task_id"].tolist() == [2, 2, 1, 1]


def test_rows_never_reset_take_no_part() -> None:
    envs = make(autoreset_mode="disabled")
    envs.reset(seed=0, options={"reset_mask": np.array([True, False])})
    envs.engine.calls.clear()
    *_, infos = envs.step(actions_for(envs))
    assert envs.engine.calls == [("step", [0])]
    assert infos["finish_step"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_state_ids": [0]}, r"options\['init_state_ids'\]: expected one for each of 2 groups, got 1"),
        ({"init_state_ids": [0, 50]}, r"initial states 0 to 49, got \[50\]"),
        ({"init_state_ids": [0, -1]}, r"options\['init_state_ids'\]: expected an integer of at least 0"),
        ({"task_ids": [0, 10]}, r"options\['task_ids'\]: libero_spatial has tasks 0 to 9, got 10"),
        ({"reset_mask": np.zeros(4, dtype=bool)}, r"options\['reset_mask'\].*at least one True"),
        ({"reset_mask": np.ones(3, dtype=bool)}, r"options\['reset_mask'\].*shape \(4,\)"),
        ({"reset_mask": np.ones(4)}, r"options\['reset_mask'\]: expected a bool array.*float64"),
        ({"init_state": [0, 0]}, "Did you mean 'init_state_ids'"),
        (
            {"task_ids": [3, 1], "reset_mask": np.array([True, False, True, True])},
            "group 0 changes its task, so reset all its rows",
        ),
    ],
)
def test_wrong_reset_options_are_refused(options: dict[str, Any], message: str) -> None:
    envs = make(task_ids=(0, 1))
    envs.reset(seed=0)
    envs.engine.calls.clear()
    with pytest.raises(ValueError, match=message):
        envs.reset(options=options)
    assert not envs.engine.calls


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"suite": "libero_spatail"}, UnknownNameError, "Did you mean 'libero_spatial'"),
        ({"task_ids": (0, 10)}, ValueError, "task_ids: libero_spatial has tasks 0 to 9, got 10"),
        ({"task_ids": ()}, ValueError, "task_ids: expected a non-empty sequence"),
        ({"task_ids": 3}, ValueError, "task_ids: expected a non-empty sequence of task ids, got 3"),
        ({"n_samples": 0}, ValueError, "n_samples: expected an integer of at least 1, got 0"),
        ({"n_samples": 2.5}, TypeError, "n_samples: expected an integer"),
        ({"base_temperature": 0.0}, ValueError, "every temperature must be above 0"),
        (
            {"base_temperature": 0.3, "temperature_range": -0.3},
            ValueError,
            "every temperature must be above 0",
        ),
        ({"max_steps": 0}, ValueError, "max_steps: expected an integer of at least 1, got 0"),
        ({"chunk_steps": 0}, ValueError, "chunk_steps: expected an integer of at least 1"),
        ({"cameras": ("agentveiw",)}, UnknownNameError, "cameras.*Did you mean 'agentview'"),
        ({"cameras": "agentview"}, ValueError, "cameras: expected a non-empty sequence"),
        ({"cameras": ()}, ValueError, "cameras: expected a non-empty sequence"),
        ({"image_size": 0}, ValueError, "image_size: expected an integer of at least 1"),
        ({"init_states": [50]}, ValueError, r"initial states 0 to 49, got \[50\]"),
        ({"init_states": "test"}, UnknownNameError, "init_states.*Known: train, held_out, all"),
        ({"init_states": []}, ValueError, "initial states 0 to 49, got none"),
        ({"test_time_rl_reward": "efficency"}, UnknownNameError, "Did you mean 'efficiency'"),
        ({"autoreset_mode": "never"}, UnknownNameError, "autoreset_mode"),
        ({"settle_steps": -1}, ValueError, "settle_steps: expected an integer of at least 0"),
        ({"num_workers": -1}, ValueError, "num_workers: expected an integer of at least 0"),
        ({"render_mode": "human"}, UnknownNameError, "render_mode.*rgb_array"),
        (
            {"num_groups": 3, "task_ids": (0, 1)},
            ValueError,
            "num_groups: expected a multiple of the 2 task_ids",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_engine_is_built(
    keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    built = []
    with pytest.raises(error, match=message):
        make(built.append, **keywords)
    assert not built


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no such name 'upstraem'.*Did you mean 'upstream'"):
        TTRLVectorEnv("libero_spatial", engine="upstraem")


@pytest.mark.parametrize("shape", [(7,), (2, 6), (3, 7), (2, 1, 7)])
def test_actions_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    envs = make()
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: expected shape \(2, 7\) \(\[num_envs, 7\]\)"):
        envs.step(np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 8), (2, 5, 7), (1, 8, 7)])
def test_chunks_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    envs = make(chunk_steps=8)
    envs.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"actions: expected shape \(2, 8, 7\) \(\[num_envs, chunk_steps, 7\]\)"
    ):
        envs.step(np.zeros(shape))


def test_actions_with_nan_are_refused_and_nothing_moves() -> None:
    envs = make()
    envs.reset(seed=0)
    envs.engine.calls.clear()
    actions = actions_for(envs)
    actions[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"got NaN or infinity in rows \[1\]"):
        envs.step(actions)
    assert not envs.engine.calls


def test_stepping_before_reset_is_refused() -> None:
    envs = make()
    with pytest.raises(ResetNeeded, match="call reset"):
        envs.step(actions_for(envs))


def test_returned_arrays_are_the_callers() -> None:
    envs = make()
    observations, infos = envs.reset(seed=0)
    kept = observations["agentview_image"].copy()
    for array in (*observations.values(), *infos.values()):
        array[:] = 1
    again, *_, infos = envs.step(actions_for(envs))
    assert (kept == 0).all()
    assert infos["finish_step"].tolist() == [1, 1]
    assert infos["group"].tolist() == [0, 0]
    assert (observations["agentview_image"] == 1).all()
    assert not np.shares_memory(again["agentview_image"], envs.engine.observations["agentview_image"])


def test_render_gives_upright_images_of_the_first_camera() -> None:
    envs = make(cameras=("robot0_eye_in_hand", "agentview"))
    envs.reset(seed=0)
    image = envs.engine.observations["robot0_eye_in_hand_image"]
    image[:] = np.arange(image[0].size).reshape(image[0].shape)
    np.testing.assert_array_equal(envs.render()[1], image[1][::-1])
    assert make(render_mode=None).render() is None


def test_close_frees_the_engine_once() -> None:
    envs = make()
    envs.close()
    envs.close()
    assert envs.engine.closed == 1


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2], ids=lambda mode: mode.name)
def test_vector_env_equals_gymnasiums_vectorised_single_envs(mode: AutoresetMode) -> None:
    """Observations, rewards, flags and infos, ``final_obs`` and ``final_info`` included."""
    ours = make(counting(success_at={0: 3, 1: 5}), n_samples=2, temperature_range=0.0, autoreset_mode=mode)
    singles = SyncVectorEnv(
        [
            lambda at=at: LiberoEnv(
                "libero_spatial", 0, max_steps=10, image_size=8, engine=counting(success_at={0: at})
            )
            for at in (3, 5)
        ],
        autoreset_mode=mode,
    )
    ours_reset, theirs_reset = ours.reset(seed=4), singles.reset(seed=[4, 4])
    assert_same_returns(ours_reset, theirs_reset)
    for step in range(25):
        actions = np.full((2, 7), step / 25, dtype=np.float32)
        assert_same_returns(ours.step(actions), singles.step(actions))


def assert_same_returns(ours: Any, theirs: Any) -> None:
    if isinstance(ours, tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same_returns(one, other)
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs)
        masked = [key for key in ours if f"_{key}" in ours]
        for key in ours:
            one, other = ours[key], theirs[key]
            if key in masked and not isinstance(one, dict):
                rows = ours[f"_{key}"]
                one, other = one[rows], other[rows]
            if key not in {"group", "_group"}:
                assert_same_returns(one, other)
    elif ours.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert_same_returns(one, other) if isinstance(one, dict) else np.testing.assert_equal(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2], ids=lambda mode: mode.name)
def test_gymnasiums_episode_statistics_are_right(mode: AutoresetMode) -> None:
    envs = RecordEpisodeStatistics(make(counting(success_at={0: 4}), autoreset_mode=mode))
    envs.reset(seed=0)
    for _ in range(11):
        envs.step(actions_for(envs.unwrapped))
    reward = 1 / (1 + 4 / 10)
    lengths, returns = list(envs.length_queue), list(envs.return_queue)
    assert sorted(lengths) == [4, 4, 10]
    np.testing.assert_allclose(sorted(returns), [0.0, reward, reward], rtol=1e-6)

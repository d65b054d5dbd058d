from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.agents.reach import ReachEngine, make_reach_env, reach_engine
from ttrl_env.agents.evaluation.episode_queue import Episode, EpisodeStart, sample_chunks
from ttrl_env.agents.evaluation.evaluate import evaluate
from ttrl_env.agents.evaluation.videos import record_episodes
from ttrl_env.agents.policies import PolicyInputs, TinyVLA
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.policies.token_grid import sample_grid
from ttrl_env.errors import TrainingDivergedError
from ttrl_env.kernels import SampledTokens
from ttrl_env.vector_env import TTRLVectorEnv


class Forward:
    """Moves the point at full speed, whatever the tokens."""

    chunk_steps = 8

    def __init__(self, policy: TinyVLA) -> None:
        self._policy = policy

    def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
        return self._policy.prepare(observations, instructions)

    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        return self._policy.sample(inputs, temperatures, seeds, step)

    def decode(self, tokens: Tensor) -> NDArray[Any]:
        actions = np.zeros((len(tokens), 8, 7))
        actions[..., 0] = 1.0
        return actions


def make_rows(rows: int, **kwargs: Any) -> TTRLVectorEnv:
    return make_reach_env(n_samples=1, num_groups=rows, init_states="all", test_time_rl=False, **kwargs)


@pytest.mark.parametrize("rows", [3, 4, 16])
def test_every_state_of_the_split_is_played_once_however_many_rows_there_are(tiny_policy, rows) -> None:
    env = make_rows(rows)
    seen = []
    result = evaluate(env, Forward(tiny_policy), [0], progress=lambda done, total: seen.append((done, total)))
    assert [episode.init_state_id for episode in result.episodes] == list(range(40, 50))
    assert {episode.finish_step for episode in result.episodes} == {4}  # four full steps of 0.25
    assert (result.success_rate, result.steps_to_success) == (1.0, 4.0)
    assert seen == [(done, 10) for done in range(11)]
    assert sum(reach_engine(env).stepped_rows) == 10


def test_sampled_episodes_do_not_depend_on_the_number_of_rows(tiny_policy) -> None:
    played = [
        evaluate(make_rows(rows), tiny_policy, [0, 1], temperature=1.0, repeats=2, seed=3)
        for rows in (1, 3, 40)
    ]
    assert len(played[0].episodes) == 40
    assert len({episode.finish_step for episode in played[0].episodes}) > 2
    assert played[0].episodes == played[1].episodes == played[2].episodes
    other = evaluate(make_rows(3), tiny_policy, [0, 1], temperature=1.0, repeats=2, seed=4)
    assert other.episodes != played[0].episodes


def test_rows_at_once_bounds_the_policys_batch_and_changes_nothing(tiny_policy) -> None:
    class Counting(Forward):
        def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
            batches.append(len(instructions))
            return super().prepare(observations, instructions)

        def decode(self, tokens: Tensor) -> NDArray[Any]:
            return self._policy.decode(tokens)

    batches: list[int] = []
    whole = evaluate(make_rows(7), tiny_policy, [0], temperature=1.0)
    bounded = evaluate(make_rows(7), Counting(tiny_policy), [0], temperature=1.0, rows_at_once=3)
    assert bounded.episodes == whole.episodes
    assert max(batches) == 3
    assert batches[:3] == [3, 3, 1]


def test_a_row_takes_the_next_episode_as_soon_as_its_own_ends(tiny_policy) -> None:
    class Slow(Forward):
        """Stands still in the episodes of task 1, which so last to the horizon."""

        instruction = ""
        _still: Sequence[bool] = (False,)  # its actions are looked at before it sees anything

        def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
            self._still = [instruction == self.instruction for instruction in instructions]
            return super().prepare(observations, instructions)

        def decode(self, tokens: Tensor) -> NDArray[Any]:
            actions = super().decode(tokens)
            actions[list(self._still)] = 0.0
            return actions

    env = make_rows(2)
    policy = Slow(tiny_policy)
    env.reset(options={"task_ids": [0, 1]})
    policy.instruction = env.instructions[1]
    result = evaluate(env, policy, [0, 1], episodes_per_task=4)
    assert [e.success for e in result.episodes] == [True] * 4 + [False] * 4
    assert sum(reach_engine(env).stepped_rows) == 4 * 1 + 4 * 4  # chunks of 8 steps, horizon 32
    assert len(reach_engine(env).stepped_rows) == 10  # 20 chunks on two rows that are never idle


def test_tasks_are_reported_apart(tiny_policy) -> None:
    result = evaluate(make_rows(2), tiny_policy, [2, 5], episodes_per_task=3, init_states="all")
    report = result.report()
    assert [(e.task_id, e.init_state_id) for e in result.episodes] == [
        (t, s) for t in (2, 5) for s in range(3)
    ]
    assert list(report["tasks"]) == [2, 5]
    assert report["tasks"][2]["num_episodes"] == 3
    assert report["includes_training_states"]


def test_repeats_draw_anew_and_a_greedy_policy_has_none(tiny_policy) -> None:
    result = evaluate(make_rows(4), tiny_policy, [0], episodes_per_task=2, repeats=10, temperature=1.0)
    assert [episode.init_state_id for episode in result.episodes] == [40, 41] * 10
    outcomes = {(episode.success, episode.finish_step) for episode in result.episodes}
    assert len(outcomes) > 2  # neither all alike nor alike for each state
    assert len(evaluate(make_rows(4), tiny_policy, [0], episodes_per_task=2, repeats=10).episodes) == 2


def test_finished_episodes_are_not_played_again(tiny_policy) -> None:
    whole = evaluate(make_rows(2), tiny_policy, [0], temperature=1.0)
    env = make_rows(2)
    played: list[Episode] = []
    resumed = evaluate(
        env, tiny_policy, [0], temperature=1.0, finished=whole.episodes[3:7], on_episode=played.append
    )
    assert resumed == whole
    assert sorted(episode.start for episode in played) == [
        EpisodeStart(task_id=0, init_state_id=state) for state in (40, 41, 42, 47, 48, 49)
    ]


def test_no_success_has_no_steps_to_success(tiny_policy) -> None:
    result = evaluate(make_rows(5, max_steps=1), Forward(tiny_policy), [0], episodes_per_task=5)
    assert (result.success_rate, result.steps_to_success) == (0.0, None)


def test_a_policy_without_numbers_ends_the_evaluation(tiny_policy) -> None:
    tiny_policy.head.weight.data.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match="NaN"):
        evaluate(make_rows(2), tiny_policy, [0])


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_an_environment_that_begins_the_next_episode_by_itself_is_refused(tiny_policy, mode) -> None:
    env = make_rows(2, autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"DISABLED.*got {mode.upper()}"):
        evaluate(env, tiny_policy, [0])
    with pytest.raises(ValueError, match=f"DISABLED.*got {mode.upper()}"):
        record_episodes(make_rows(1, chunk_steps=1, autoreset_mode=mode), [tiny_policy], init_state_id=0)
    assert not reach_engine(env).stepped_rows


def test_rows_that_cannot_play_episodes_of_their_own_are_refused(tiny_policy) -> None:
    with pytest.raises(ValueError, match=r"expected n_samples=1.*got 2"):
        evaluate(make_reach_env(n_samples=2), tiny_policy, [0])


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("repeats", 0, "at least 1, got 0"),
        ("episodes_per_task", -1, "at least 0, got -1"),
        ("temperature", -1.0, "at least 0"),
        ("temperature", 1e300, "that float32 can hold"),
        ("temperature", 1e-300, "that float32 can hold"),
        ("temperature", "0.5", "expected numbers"),
        ("rows_at_once", -1, "at least 0, got -1"),
        ("seed", "7", "expected an integer"),
        ("init_states", "heldout", "Did you mean 'held_out'"),
        ("task_ids", [], "at least one task"),
        ("task_ids", [0, 0], "each once"),
        ("task_ids", 0, r"write \[0\]"),
    ],
)
def test_arguments_that_cannot_work_are_named_before_anything_is_played(
    tiny_policy, argument, value, message
) -> None:
    env = make_rows(2)
    with pytest.raises((TypeError, ValueError), match=f"{argument}: .*{message}"):
        evaluate(env, tiny_policy, **{"task_ids": [0], "temperature": 1.0, argument: value})
    assert not reach_engine(env).stepped_rows


def test_instructions_are_those_of_the_episode_that_a_row_plays(tiny_policy) -> None:
    """An environment may have another instruction in every episode, and none before the first."""

    class Worded(TTRLVectorEnv):
        words: dict[int, str]

        @property
        def instructions(self) -> list[str]:
            return [self.words[row] for row in range(self.num_envs)]

        def reset(self, **kwargs: Any) -> Any:
            options = kwargs["options"]
            started = np.flatnonzero(options["reset_mask"]).tolist()
            self.words = getattr(self, "words", {}) | {
                row: f"state {options['init_state_ids'][row]}" for row in started
            }
            return super().reset(**kwargs)

    class Reading(Forward):
        def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
            read.update(instructions)
            return super().prepare(observations, instructions)

    read: set[str] = set()
    env = Worded(
        "libero_spatial",
        (0,),
        1,
        num_groups=3,
        engine=ReachEngine,
        init_states="all",
        test_time_rl=False,
        max_steps=32,
        chunk_steps=8,
        image_size=16,
        autoreset_mode="disabled",
    )
    env.words = {row: "of no episode" for row in range(3)}
    evaluate(env, Reading(tiny_policy), [0])
    assert read == {f"state {state}" for state in range(40, 50)}


def test_a_chunk_has_the_policys_own_action_dimensions(tiny_policy) -> None:
    class TwoArms(Forward):
        action_dim = 14

        def sample(
            self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
        ) -> SampledTokens:
            grid = torch.zeros(len(seeds), 8 * 14, 256)
            return sample_grid(grid, temperatures, seeds, step)

        def decode(self, tokens: Tensor) -> NDArray[Any]:
            return tokens.numpy().reshape(-1, 8, 14).astype(np.float64)

    observations = make_rows(3).reset()[0]
    generators = {row: np.random.default_rng(row) for row in (0, 2)}
    chunks = sample_chunks(
        Lockstep(TwoArms(tiny_policy)),
        observations,
        ["reach"] * 3,
        [[0, 2]],
        np.ones(3, dtype=np.float32),
        generators,
    )
    assert chunks.shape == (3, 8, 14)
    assert not chunks[1].any()
    assert (chunks[0] != chunks[2]).any()

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from tests.agents.reach import make_reach_env, make_tiny_policy, reach_engine
from ttrl_env.agents.evaluation.evaluate import evaluate
from ttrl_env.agents.evaluation.videos import record_episodes
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.kernels import token_logprobs


def test_finished_rows_leave_the_simulator_and_the_policy(reach_env, tiny_policy) -> None:
    seen = []
    prepare = tiny_policy.prepare

    def counting_prepare(observations, instructions):
        seen.append((len(instructions), *(len(array) for array in observations.values())))
        return prepare(observations, instructions)

    tiny_policy.prepare = counting_prepare
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    assert rollout.success.any()
    assert not rollout.success.all()
    chunks = -(-rollout.finish_steps // 8)
    expected = [int((chunks > k).sum()) for k in range(chunks.max())]
    assert reach_engine(reach_env).stepped_rows == expected
    assert seen == [(count, *[count] * (len(seen[0]) - 1)) for count in expected]
    assert len(rollout.tokens) == sum(expected)


def test_mask_covers_exactly_the_executed_steps(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    executed = torch.zeros(rollout.num_trajectories, dtype=torch.int64)
    executed.index_add_(0, rollout.trajectory, rollout.mask.sum(dim=1))
    assert executed.tolist() == (7 * rollout.finish_steps).tolist()
    partial = rollout.mask[rollout.mask.any(dim=1) & ~rollout.mask.all(dim=1)]
    assert len(partial)  # some row succeeded inside a chunk
    for row in partial:
        steps = row.view(8, 7)
        assert (steps == steps[:, :1]).all()  # whole steps
        assert steps[:, 0].tolist() == sorted(steps[:, 0].tolist(), reverse=True)  # a prefix


def test_logprobs_are_those_of_each_rows_own_temperature(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=0)
    assert np.allclose(rollout.temperatures.numpy(), np.linspace(0.6, 0.9, 8), atol=1e-6)
    with torch.no_grad():
        logits = tiny_policy(**rollout.inputs)
    temperatures = rollout.temperatures[rollout.trajectory][:, None, None]
    expected = torch.log_softmax(logits / temperatures, dim=-1)
    expected = expected.gather(-1, rollout.tokens[..., None])[..., 0]
    assert torch.allclose(rollout.logprobs, expected, atol=1e-5)
    single, _ = token_logprobs(
        logits.flatten(0, 1), rollout.tokens.flatten(), torch.full((rollout.tokens.numel(),), 0.6)
    )
    assert not torch.allclose(
        rollout.logprobs.flatten(), single, atol=1e-2
    )  # one temperature for all is wrong


def test_a_seed_replays_a_rollout(tiny_policy) -> None:
    first, again, other = (collect_rollout(make_reach_env(), tiny_policy, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens[:8], other.tokens[:8])


def test_greedy_rows_act_alike(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=0, temperatures=np.zeros(8, dtype=np.float32))
    assert (rollout.tokens[:8] == rollout.tokens[0]).all()


def test_success_is_the_same_whatever_the_reward() -> None:
    policy = make_tiny_policy()
    results = {}
    for reward in ("efficiency", "env_sparse"):
        env = make_reach_env(test_time_rl_reward=reward)
        results[reward] = collect_rollout(env, policy, seed=3)
    shaped, sparse = results["efficiency"], results["env_sparse"]
    assert shaped.success.tolist() == sparse.success.tolist()
    assert sparse.rewards.tolist() == sparse.success.astype(float).tolist()
    expected = np.where(shaped.success, 1 / (1 + shaped.finish_steps / 32), 0.0)
    assert np.allclose(shaped.rewards, expected)
    assert shaped.success.any()


def test_only_rows_of_the_reset_mask_are_played(tiny_policy) -> None:
    mask = np.arange(9) < 3
    envs = make_reach_env(n_samples=3, num_groups=3)
    rollout = collect_rollout(envs, tiny_policy, seed=0, options={"reset_mask": mask})
    assert set(rollout.trajectory.tolist()) == {0, 1, 2}
    assert (rollout.finish_steps[3:] == 0).all()


def test_rows_left_out_of_a_rollout_are_over_and_stay_as_they_are(tiny_policy) -> None:
    mask = np.arange(9) < 3
    envs = make_reach_env(n_samples=3, num_groups=3)
    whole = collect_rollout(envs, tiny_policy, seed=0)
    part = collect_rollout(envs, tiny_policy, seed=0, options={"reset_mask": mask})
    assert part.success[3:].tolist() == whole.success[3:].tolist()
    envs.reset(seed=0)
    envs.step(np.zeros(envs.action_space.shape))
    with pytest.raises(
        ValueError, match=r"reset_mask'\]: rows \[3, 4, 5, 6, 7, 8\] are left out in the midst"
    ):
        collect_rollout(envs, tiny_policy, seed=0, options={"reset_mask": mask})


def test_a_horizon_that_ends_within_a_chunk_executes_and_counts_a_part_of_it(tiny_policy) -> None:
    """LIBERO's 220 steps are 27 chunks of 8 and half of one; here 20 are two and a half."""
    rollout = collect_rollout(make_reach_env(max_steps=20), tiny_policy, seed=3)
    cut_off = np.flatnonzero(rollout.truncations)
    assert cut_off.size
    for row in cut_off:
        masks = rollout.mask[rollout.trajectory == row].view(-1, 8, 7)
        assert masks[:, :, 0].sum(dim=1).tolist() == [8, 8, 4]
        assert rollout.finish_steps[row] == 20
    assert (rollout.terminations == rollout.success).all()
    assert not (rollout.terminations & rollout.truncations).any()


def test_rewards_are_earned_in_the_chunk_that_reached_the_goal(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    for row in range(8):
        earned = rollout.chunk_rewards[rollout.trajectory == row].numpy()
        assert earned[-1] == rollout.rewards[row]
        assert not earned[:-1].any()


@pytest.mark.parametrize("rows_at_once", [1, 3, 8, 100])
def test_rows_sample_the_same_however_many_go_through_the_policy_at_once(tiny_policy, rows_at_once) -> None:
    together = collect_rollout(make_reach_env(), tiny_policy, seed=1)
    apart = collect_rollout(make_reach_env(), tiny_policy, seed=1, rows_at_once=rows_at_once)
    assert torch.equal(together.tokens, apart.tokens)
    assert torch.allclose(together.logprobs, apart.logprobs, atol=1e-5)
    assert torch.equal(together.inputs["pixels"], apart.inputs["pixels"])


def test_what_follows_the_horizon_is_kept_if_asked_for(tiny_policy) -> None:
    env = make_reach_env()
    rollout = collect_rollout(env, tiny_policy, seed=3, keep_final_inputs=True)
    ends = rollout.final_trajectory.tolist()
    assert sorted(ends) == np.flatnonzero(rollout.truncations).tolist()
    brightness = np.clip(127 + 100 * reach_engine(env).position[ends], 0, 255).astype(np.uint8)
    assert rollout.final_inputs["pixels"][:, 0, 0, 0].tolist() == brightness.tolist()
    assert not collect_rollout(env, tiny_policy, seed=3).final_inputs


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_an_environment_that_begins_the_next_episode_by_itself_is_refused(tiny_policy, mode) -> None:
    env = make_reach_env(autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"DISABLED.*got {mode.upper()}.*autoreset_mode='disabled'"):
        collect_rollout(env, tiny_policy, seed=3)
    assert not reach_engine(env).stepped_rows


def test_an_environment_without_instructions_is_refused_by_what_it_lacks(tiny_policy) -> None:
    mode = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}
    envs: Any = gymnasium.make_vec("CartPole-v1", 4, vectorization_mode="sync", vector_kwargs=mode)
    with pytest.raises(TypeError, match=r"TestTimeRL makes one.*SyncVectorEnv, which has no .*instructions"):
        collect_rollout(envs, tiny_policy, seed=1)


def test_an_environment_that_does_not_report_what_a_rollout_keeps_is_refused(
    tiny_policy, monkeypatch
) -> None:
    env = make_reach_env()
    reset = env.reset

    def silent_reset(**kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observations, infos = reset(**kwargs)
        return observations, {key: value for key, value in infos.items() if key != "success"}

    monkeypatch.setattr(env, "reset", silent_reset)
    with pytest.raises(ValueError, match=r"infos to hold success.*; success is missing"):
        collect_rollout(env, tiny_policy, seed=1)
    assert not reach_engine(env).stepped_rows


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("temperatures", 0.5, r"expected shape \(8,\)"),
        ("temperatures", np.full(8, 1e300), r"that float32 can hold, got 1e\+300"),
        ("temperatures", ["hot"] * 8, "expected numbers"),
        ("rows_at_once", -1, "at least 0, got -1"),
        ("seed", "7", "expected an integer of at least 0, got '7'"),
        ("seed", [3, -1], "at least 0, got -1"),
    ],
)
def test_arguments_that_cannot_work_are_named_before_anything_is_played(
    reach_env, tiny_policy, argument, value, message
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{argument}(\[1\])?: .*{message}"):
        collect_rollout(reach_env, tiny_policy, **{"seed": 1, argument: value})
    assert not reach_engine(reach_env).stepped_rows


def test_an_environment_of_other_chunks_than_the_policys_is_refused(tiny_policy) -> None:
    with pytest.raises(ValueError, match=r"expected chunk_steps=8.*got 1"):
        collect_rollout(make_reach_env(chunk_steps=1), tiny_policy, seed=1)


def test_a_policy_of_other_actions_than_the_environments_is_refused() -> None:
    env = make_reach_env()
    policy = TinyVLA(TinyVLAConfig(image_size=16, hidden_size=32, num_layers=1, num_heads=2, action_dim=14))
    with pytest.raises(ValueError, match=r"policy: expected actions of 7 numbers, .* got TinyVLA of 14"):
        collect_rollout(env, policy, seed=1)
    with pytest.raises(ValueError, match=r"policy: expected actions of 7 numbers"):
        evaluate(make_reach_env(n_samples=1), policy, [0])
    with pytest.raises(ValueError, match=r"policy: expected actions of 7 numbers"):
        record_episodes(make_reach_env(n_samples=1, chunk_steps=1), [policy], 0)
    assert not reach_engine(env).stepped_rows


def test_a_part_of_a_group_is_not_played(reach_env, tiny_policy) -> None:
    """Rows that are not played would count as failures beside those that are."""
    mask = reach_env.groups == 0
    mask[0] = False
    with pytest.raises(ValueError, match=r"options\['reset_mask'\]: expected whole groups, .* \[0\]"):
        collect_rollout(reach_env, tiny_policy, seed=0, options={"reset_mask": mask})

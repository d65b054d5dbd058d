"""Rollouts and updates on one of Gymnasium's environments: continuous actions, chunks, array observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.schema import GAEConfig, PPOConfig
from ttrl_env.agents.policies.action_tokenizer import NUM_ACTION_TOKENS, decode_tokens
from ttrl_env.agents.policies.protocol import PolicyInputs, TokenEvaluation
from ttrl_env.agents.policies.token_grid import grid_logprobs, sample_grid
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.kernels import SampledTokens
from ttrl_env.wrapper import TestTimeRL


class CarPolicy(torch.nn.Module):
    """Place and speed of the car in, five pushes out; it mostly pushes the way that the car goes."""

    chunk_steps, action_dim, num_features = 5, 1, 2

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 5 * NUM_ACTION_TOKENS)
        self.seen: list[str] = []
        with torch.no_grad():
            pushes = torch.from_numpy(decode_tokens(np.arange(NUM_ACTION_TOKENS))).repeat(5).float()
            self.head.weight.zero_()[:, 1] = 200 * pushes
            self.head.bias.zero_()

    def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
        self.seen += instructions
        return {"car": torch.from_numpy(observations)}

    def logits(self, inputs: PolicyInputs) -> Tensor:
        return self.head(inputs["car"]).view(-1, 5, NUM_ACTION_TOKENS)

    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        return sample_grid(self.logits(inputs), temperatures, seeds, step)

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        logprobs, entropies = grid_logprobs(self.logits(inputs), tokens, temperatures)
        return TokenEvaluation(logprobs=logprobs, entropies=entropies, features=inputs["car"])

    def decode(self, tokens: Tensor) -> NDArray[Any]:
        return decode_tokens(tokens.numpy()).reshape(-1, 5, 1)


def _cars(mode: AutoresetMode = AutoresetMode.NEXT_STEP, max_steps: int = 120) -> TestTimeRL:
    cars = gym.make_vec(
        "MountainCarContinuous-v0", 6, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    told = ["climb", "hurry"]
    return TestTimeRL(
        cars,
        3,
        instructions=told,
        chunk_steps=5,
        max_steps=max_steps,
        success_key=None,
        autoreset_mode="disabled",
    )


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_rollouts_and_updates_need_no_libero(mode: AutoresetMode) -> None:
    torch.manual_seed(0)
    envs, policy = _cars(mode), CarPolicy()
    gae = GAEConfig(bootstrap_truncated=True)
    agent = PPOAgent(policy, PPOConfig(learning_rate=1e-3, advantage="gae", gae=gae))
    rollout = collect_rollout(
        envs, policy, seed=0, options={"init_state_ids": [3, 4]}, keep_final_inputs=True
    )
    assert rollout.tokens.shape[1] == 5
    assert rollout.init_state_ids.tolist() == [3, 3, 3, 4, 4, 4]
    assert set(policy.seen[:6]) == {"climb", "hurry"}
    assert rollout.success.any()
    assert not rollout.success.all()
    assert (rollout.terminations == rollout.success).all()
    executed = torch.zeros(6, dtype=torch.int64).index_add_(0, rollout.trajectory, rollout.mask.sum(dim=1))
    assert executed.tolist() == rollout.finish_steps.tolist()
    expected = np.where(rollout.success, 1 / (1 + rollout.finish_steps / 120), 0)
    np.testing.assert_allclose(rollout.rewards, expected)
    assert sorted(rollout.final_trajectory.tolist()) == np.flatnonzero(rollout.truncations).tolist()
    report = agent.update(rollout)
    assert report.logprob_difference < 1e-5
    assert report.first is not None
    assert report.first.ratio_max == 1.0


def test_rows_of_a_group_see_the_same_first_observation() -> None:
    rollout = collect_rollout(_cars(max_steps=5), CarPolicy(), seed=0)
    first = rollout.inputs["car"]
    assert (first[:3] == first[0]).all()
    assert (first[3:] == first[3]).all()
    assert (first[0] != first[3]).any()


def test_logits_of_another_number_of_tokens_are_named() -> None:
    policy = CarPolicy()
    policy.action_dim = 7
    with pytest.raises(
        ValueError, match=r"seeds: .* shape \[6, 5, 256\], got \[6, 35\]; .*action_dim tokens"
    ):
        collect_rollout(_cars(), policy, seed=0)


def test_actions_of_another_shape_than_the_chunks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = CarPolicy()
    monkeypatch.setattr(policy, "decode", lambda tokens: decode_tokens(tokens.numpy())[:, :3, None])
    with pytest.raises(ValueError, match=r"decode\(\) to return .* here \[6, 5, \.\.\.\], got \[6, 3, 1\]"):
        collect_rollout(_cars(), policy, seed=0)

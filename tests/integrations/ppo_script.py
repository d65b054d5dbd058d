"""PPO as single-file scripts such as CleanRL's write it: one loop over a Gymnasium vector environment.

Two ways to make its environments: single ones, each in Gymnasium's wrappers, and this project's own vector
environment. The loop is the same. Actions are Gaussian, observations flat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import ClipAction, FlattenObservation, RecordEpisodeStatistics
from gymnasium.wrappers import vector as vector_wrappers
from torch import nn
from torch.distributions import Normal

NUM_ENVS, GAMMA, LAMBDA, CLIP = 4, 0.99, 0.95, 0.2


def vectorised_singles(env_id: str, **kwargs: Any) -> VectorEnv:
    """The scripts' ``make_env`` a row."""

    def make_env() -> gym.Env:
        return ClipAction(RecordEpisodeStatistics(FlattenObservation(gym.make(env_id, **kwargs))))

    return SyncVectorEnv([make_env] * NUM_ENVS, autoreset_mode=AutoresetMode.NEXT_STEP)


def vector_env(env_id: str, **kwargs: Any) -> VectorEnv:
    """The same in one line, for one simulation of many rows."""
    envs = gym.make_vec(env_id, NUM_ENVS, **kwargs)
    flat = vector_wrappers.FlattenObservation(vector_wrappers.RecordEpisodeStatistics(envs))
    return vector_wrappers.ClipAction(flat)


class Agent(nn.Module):
    def __init__(self, envs: VectorEnv) -> None:
        super().__init__()
        size, actions = (
            int(np.prod(space.shape or ()))
            for space in (envs.single_observation_space, envs.single_action_space)
        )
        self.mean = nn.Linear(size, actions)
        self.log_std = nn.Parameter(torch.zeros(actions))
        self.value = nn.Linear(size, 1)

    def actions(self, observations: torch.Tensor) -> Normal:
        return Normal(self.mean(observations), self.log_std.exp())


@dataclass
class Result:
    agent: Agent
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def train(envs: VectorEnv, iterations: int, num_steps: int) -> Result:
    """Play ``num_steps`` a row and update, ``iterations`` times."""
    torch.manual_seed(0)
    result = Result(Agent(envs))
    optimizer = torch.optim.Adam(result.agent.parameters(), lr=1e-3)
    observations, _ = envs.reset(seed=0)
    done = np.zeros(NUM_ENVS, dtype=bool)
    for _ in range(iterations):
        steps = []
        for _ in range(num_steps):
            seen = torch.as_tensor(observations, dtype=torch.float32)
            with torch.no_grad():
                policy = result.agent.actions(seen)
                action, value = policy.sample(), result.agent.value(seen).squeeze(-1)
            began = done  # this step resets these rows: it is no step of an episode
            observations, rewards, terminations, truncations, infos = envs.step(action.numpy())
            done = terminations | truncations
            log_prob = policy.log_prob(action).sum(-1)
            steps.append((seen, action, log_prob, value, rewards, done, ~began))
            _note(result, infos)
        with torch.no_grad():
            last = result.agent.value(torch.as_tensor(observations, dtype=torch.float32)).squeeze(-1)
        result.losses.append(_update(result.agent, optimizer, steps, last))
    envs.close()
    return result


def _note(result: Result, infos: dict[str, Any]) -> None:
    """What the scripts log of episodes that ended."""
    if "episode" not in infos:
        return
    for row in np.flatnonzero(infos["_episode"]):
        result.returns.append(float(infos["episode"]["r"][row]))
        result.lengths.append(int(infos["episode"]["l"][row]))
        result.successes.append(bool(infos["is_success"][row]))


def _update(agent: Agent, optimizer: torch.optim.Optimizer, steps: list[tuple], last: torch.Tensor) -> float:
    seen, action, log_prob, value, rewards, done, played = (
        torch.stack([torch.as_tensor(each) for each in column]) for column in zip(*steps, strict=True)
    )
    advantages = torch.zeros_like(value)
    following, after = torch.zeros(NUM_ENVS), last
    for step in reversed(range(len(steps))):
        alive = (~done[step]).float()
        delta = rewards[step].float() + GAMMA * after * alive - value[step]
        following = delta + GAMMA * LAMBDA * alive * following
        advantages[step], after = following, value[step]
    ratio = (agent.actions(seen).log_prob(action).sum(-1) - log_prob).exp()[played]
    gain = advantages[played]
    policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
    value_loss = (agent.value(seen).squeeze(-1) - (advantages + value))[played].square().mean()
    loss = policy_loss + 0.5 * value_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())

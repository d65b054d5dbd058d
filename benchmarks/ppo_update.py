"""Time of the policy update against a straightforward PPO loop: ``python -m benchmarks.ppo_update``.

All variants make the same update of the same TinyVLA on the same trajectories, which is checked before any
timing. They are then timed in turns. From top to bottom of the table:

- *padded, 32,064 logits*: every trajectory is padded to the horizon. Old log-probabilities are recomputed
  in a separate pass. Every log-probability is a log-softmax over the whole vocabulary of a language model, of
  which actions use 256 tokens. The other 31,808 have a bias of -1e9, so the update is the same.
- *padded*: the same with a head of 256 tokens.
- *executed chunks*: the same without padding.
- *ours*: ``PPOAgent.update``. It also takes the old log-probabilities of the first minibatch from its own
  forward pass, and computes log-probabilities with ``ttrl_env.kernels``.

Half of the trajectories succeed, after a fraction of the horizon that is uniform between 0.4 and 1. The
others run to the horizon. The earlier trajectories succeed, the more padding costs.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.report import machine, save
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.advantages import group_advantage
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.engines.interface import ACTION_DIM
from ttrl_env.temperatures import temperature_ladder

VOCABULARY = 32_064
WINDOW = slice(31_744, 32_000)
"""Size of OpenVLA's vocabulary, and the range of its action tokens."""

HORIZON = 220
"""Horizon of libero_spatial in policy steps: 27.5 chunks of 8."""

MICRO_BATCH = 16
"""Chunks in a forward and backward pass, as in SimpleVLA-RL."""


def main() -> None:
    """Check that the variants agree, time them in turns, and print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=16, help="groups of 8 (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="updates timed of each (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the rollout")
    parser.add_argument("--minibatches", type=int, default=1, help="optimiser steps a pass")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    policy = make_policy()
    rollout = make_rollout(policy, arguments.trajectories)
    config = PPOConfig(
        micro_batch_chunks=MICRO_BATCH,
        epochs=arguments.epochs,
        minibatch_trajectories=arguments.trajectories // arguments.minibatches,
        warmup_steps=0,
    )
    variants = make_variants(policy, rollout, config)
    check_agreement(policy, variants)
    times = time_in_turns(policy, variants, arguments.rounds)
    report(times, rollout, vars(arguments))


def make_policy() -> TinyVLA:
    """The default TinyVLA of a training run."""
    torch.manual_seed(0)
    return TinyVLA(TinyVLAConfig())


@torch.no_grad()
def make_rollout(policy: TinyVLA, num_trajectories: int) -> Rollout:
    """Trajectories on random images, with tokens sampled from the policy at a ladder's temperatures."""
    rng = np.random.default_rng(0)
    success = np.arange(num_trajectories) % 2 == 0
    shares = np.where(success, rng.uniform(0.4, 1.0, num_trajectories), 1.0)
    finish = np.ceil(shares * HORIZON).astype(np.int64)
    steps = policy.chunk_steps
    position = np.concatenate([np.arange(-(-each // steps)) for each in finish])
    trajectory = np.repeat(np.arange(num_trajectories), -(-finish // steps))
    count, tokens = len(trajectory), steps * ACTION_DIM
    size = policy.config.image_size
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8))
    words = torch.full((count, policy.config.max_words), 7)
    temperatures = torch.from_numpy(np.tile(temperature_ladder(8, 0.6, 0.3), num_trajectories // 8))
    inputs = {"pixels": pixels, "word_ids": words}
    seeds = torch.from_numpy(rng.integers(2**63, size=(count, tokens)))
    sampled = policy.sample(inputs, temperatures[trajectory], seeds)
    executed = finish[trajectory] - position * steps
    mask = torch.arange(tokens) // ACTION_DIM < torch.from_numpy(executed)[:, None]
    rewards = np.where(success, 1 / (1 + finish / HORIZON), 0.0)
    return Rollout(
        inputs=inputs,
        tokens=sampled.tokens,
        logprobs=sampled.logprobs,
        entropies=sampled.entropies,
        mask=mask,
        trajectory=torch.from_numpy(trajectory),
        chunk_rewards=torch.zeros(count, dtype=torch.float64),
        elapsed=torch.from_numpy(position * steps / HORIZON).float(),
        privileged=torch.empty(count, 0),
        max_steps=HORIZON,
        final_inputs={},
        final_trajectory=torch.empty(0, dtype=torch.int64),
        temperatures=temperatures,
        groups=np.arange(num_trajectories) // 8,
        rewards=rewards,
        success=success,
        terminations=success,
        truncations=~success,
        finish_steps=finish,
        task_ids=np.zeros(num_trajectories, dtype=np.int64),
        init_state_ids=np.zeros(num_trajectories, dtype=np.int64),
        draws=np.zeros(num_trajectories, dtype=np.int64),
        simulation_seconds=0.0,
        policy_seconds=0.0,
    )


def padded_to_horizon(rollout: Rollout, chunks: int) -> Rollout:
    """Pad every trajectory to ``chunks`` chunks: its last one is repeated and masked as not executed."""
    index, real = [], []
    for trajectory in range(rollout.num_trajectories):
        own = (rollout.trajectory == trajectory).nonzero()[:, 0]
        index.append(torch.cat([own, own[-1].repeat(chunks - len(own))]))
        real.append(torch.arange(chunks) < len(own))
    chosen, executed = torch.cat(index), torch.cat(real)
    names = ("tokens", "logprobs", "entropies", "trajectory", "chunk_rewards")
    return replace(
        rollout,
        inputs={key: tensor[chosen] for key, tensor in rollout.inputs.items()},
        mask=rollout.mask[chosen] & executed[:, None],
        **{name: getattr(rollout, name)[chosen] for name in names},
    )


def whole_vocabulary(policy: TinyVLA) -> nn.Linear:
    """A language model's head with the policy's action tokens; all other tokens have probability 0."""
    head = nn.Linear(policy.config.hidden_size, VOCABULARY)
    with torch.no_grad():
        head.bias.fill_(-1e9)
        head.weight[WINDOW], head.bias[WINDOW] = policy.head.weight, policy.head.bias
    return head


Variants = dict[str, Callable[[TinyVLA], nn.Linear]]
"""Functions by name. Each makes one update of the given policy and returns the trained head."""


def make_variants(policy: TinyVLA, rollout: Rollout, config: PPOConfig) -> Variants:
    """The variants in the table's order, slowest first."""
    padded = padded_to_horizon(rollout, -(-HORIZON // policy.chunk_steps))

    def loop(data: Rollout, wide: bool) -> Callable[[TinyVLA], nn.Linear]:
        def update(policy: TinyVLA) -> nn.Linear:
            head = whole_vocabulary(policy) if wide else policy.head
            StraightforwardLoop(policy, config, head).update(data)
            return head

        return update

    def ours(policy: TinyVLA) -> nn.Linear:
        PPOAgent(policy, config).update(rollout)
        return policy.head

    return {
        "padded, 32,064 logits": loop(padded, wide=True),
        "padded": loop(padded, wide=False),
        "executed chunks": loop(rollout, wide=False),
        "ours": ours,
    }


def check_agreement(policy: TinyVLA, variants: Variants) -> None:
    """Raise unless all variants lead to the same weights.

    Adam's first step depends on the sign of a gradient. Weights whose gradient is only rounding error may
    therefore differ by a step; all others agree far more closely.
    """
    results = {}
    for name, update in variants.items():
        updated = copy.deepcopy(policy)
        head = update(updated)
        window = WINDOW if head.out_features == VOCABULARY else slice(None)
        rest = [each.flatten() for key, each in updated.named_parameters() if not key.startswith("head.")]
        results[name] = torch.cat([*rest, head.weight[window].flatten(), head.bias[window]]).detach()
    before = torch.cat([each.detach().flatten() for each in policy.parameters()])
    step = float((results["ours"] - before).abs().max())
    for name, weights in results.items():
        error = (weights - results["ours"]).abs()
        if not (float(error.mean()) < 0.01 * step and step > 0):
            raise SystemExit(
                f"{name} makes another update: mean difference {error.mean():.2g}, step {step:.2g}"
            )


def time_in_turns(policy: TinyVLA, variants: Variants, rounds: int) -> dict[str, list[float]]:
    """Seconds of each update. Every round times each variant once, and rotates their order."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            updated = copy.deepcopy(policy)
            started = time.perf_counter()
            variants[name](updated)
            times[name].append(time.perf_counter() - started)
    return times


def report(times: dict[str, list[float]], rollout: Rollout, arguments: dict[str, int]) -> None:
    """Print and save medians, spreads, throughput, and the median of the rounds' ratios."""
    executed = int(rollout.mask.any(dim=1).sum())
    padded = rollout.num_trajectories * -(-HORIZON // 8)
    print(f"{machine()} torch {torch.__version__}")
    print(f"{arguments}; {executed} executed chunks of {padded} up to the horizon\n")
    print("| update | median s | fastest - slowest | executed chunks/s | ours is faster by |")
    print("|---|---|---|---|---|")
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratio = statistics.median(a / b for a, b in zip(seconds, times["ours"], strict=True))
        rows.append({"update": name, "median_seconds": median, "seconds": seconds, "ratio": ratio})
        print(
            f"| {name} | {median:.2f} | {min(seconds):.2f} - {max(seconds):.2f} | {executed / median:.0f} "
            f"| {ratio:.2f}x |"
        )
    content = {"torch": torch.__version__, **arguments, "executed_chunks": executed, "padded_chunks": padded}
    print(f"\n{save('ppo_update', {**content, 'rows': rows})}")


class StraightforwardLoop:
    """PPO as commonly written: a pass for the old log-probabilities, then one with gradients."""

    def __init__(self, policy: TinyVLA, config: PPOConfig, head: nn.Linear) -> None:
        self.policy, self.config, self.head = policy, config, head
        self.first_token = WINDOW.start if head.out_features == VOCABULARY else 0
        body = [each for key, each in policy.named_parameters() if not key.startswith("head.")]
        self.parameters = [*body, *head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0)

    def update(self, rollout: Rollout) -> None:
        """Make one update, with the loss of the default configuration."""
        advantages = torch.from_numpy(group_advantage(rollout.rewards, rollout.groups)).float()
        advantages = advantages[rollout.trajectory]
        tokens_of = torch.zeros(rollout.num_trajectories)
        tokens_of.index_add_(0, rollout.trajectory, rollout.mask.sum(dim=1, dtype=torch.float32))
        order = np.random.default_rng(0).permutation(rollout.num_trajectories)
        batches = torch.from_numpy(order).split(self.config.minibatch_trajectories)
        chunks = [torch.isin(rollout.trajectory, members).nonzero()[:, 0] for members in batches]
        everything = torch.arange(len(rollout.tokens)).split(MICRO_BATCH)
        with torch.no_grad():
            old = torch.cat([self.logprobs(rollout, part) for part in everything])
        for _ in range(self.config.epochs):
            for members, batch in zip(batches, chunks, strict=True):
                self.optimizer.zero_grad()
                for part in batch.split(MICRO_BATCH):
                    ratio = (self.logprobs(rollout, part) - old[part]).exp()
                    advantage = advantages[part][:, None]
                    clipped = ratio.clamp(1 - self.config.clip_low, 1 + self.config.clip_high)
                    gain = torch.minimum(ratio * advantage, clipped * advantage)
                    weights = rollout.mask[part] / tokens_of[rollout.trajectory[part]][:, None] / len(members)
                    (-(weights * gain).sum()).backward()
                nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
                self.optimizer.step()

    def logprobs(self, rollout: Rollout, chunks: Tensor) -> Tensor:
        """Log-probabilities ``[m, K]``, by a log-softmax over all logits."""
        hidden = self.policy.hidden_states(**{key: each[chunks] for key, each in rollout.inputs.items()})
        logits = self.head(hidden).float()
        tokens = rollout.tokens[chunks] + self.first_token
        temperatures = rollout.temperatures[rollout.trajectory[chunks]][:, None, None]
        return F.log_softmax(logits / temperatures, dim=-1).gather(-1, tokens[..., None])[..., 0]


if __name__ == "__main__":
    main()

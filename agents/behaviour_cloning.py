"""Behaviour cloning: teach a token policy to repeat demonstrated chunks of actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ttrl_env.agents.action_tokenizer import encode_actions
from ttrl_env.agents.demonstrations import Demonstrations
from ttrl_env.agents.policies import PolicyInputs, TokenPolicy


def clone_behaviour(
    policy: TokenPolicy,
    demonstrations: Demonstrations,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Minimise the cross-entropy of the demonstrated action tokens; returns the loss of each step, nats.

    Steps past an episode's end, where a chunk repeats the last action, count as demonstrated.

    Args:
        policy: trained in place.
        demonstrations: episodes of one task.
        steps: optimiser steps (AdamW, one-cycle learning rate).
        batch_size: chunks per step.
        learning_rate: the highest learning rate.
        seed: seed of the batches.
        progress: called with steps done and to do.
    """
    inputs, tokens = _training_pairs(policy, demonstrations)
    parameters = list(policy.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    losses = []
    for step in range(steps):
        batch = torch.from_numpy(rng.choice(len(tokens), size=min(batch_size, len(tokens)), replace=False))
        chosen = {key: tensor[batch] for key, tensor in inputs.items()}
        loss = imitation_loss(policy, chosen, tokens[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step + 1, steps)
    return losses


def imitation_loss(policy: TokenPolicy, inputs: PolicyInputs, tokens: Tensor) -> Tensor:
    """Mean negative log-probability, nats a token, of demonstrated ``tokens`` ``[rows, K]``."""
    return -policy.evaluate(inputs, tokens, torch.ones(len(tokens))).logprobs.mean()


def _training_pairs(policy: TokenPolicy, demonstrations: Demonstrations) -> tuple[PolicyInputs, Tensor]:
    """The policy's inputs of every demonstrated step and the tokens ``[M, chunk_steps * 7]`` that follow."""
    chunks = demonstrations.chunks(policy.chunk_steps)
    inputs = policy.prepare(chunks.observations, [demonstrations.instruction] * len(chunks.actions))
    tokens = torch.from_numpy(encode_actions(chunks.actions)).flatten(1)
    return inputs, tokens

"""Checks of :mod:`ttrl_env.agents.checkup.policy` that only an OpenVLA checkpoint needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ttrl_env.agents.checkup.subject import Check, CheckFailed, Subject
from ttrl_env.agents.policies import PolicyInputs
from ttrl_env.agents.policies.action_tokenizer import NUM_ACTION_TOKENS
from ttrl_env.agents.policies.cameras import World
from ttrl_env.agents.policies.openvla import OpenVLAPolicy
from ttrl_env.agents.policies.openvla.actions import choose_statistics
from ttrl_env.agents.policies.openvla.decoding import Parallel, causal_mask
from ttrl_env.errors import CheckpointError

_GRIPPERS: Mapping[World, tuple[int, ...]] = {"LIBERO": (6,), "RoboTwin": (6, 13)}
"""Which numbers of an action are grippers."""

_NOTICED = 1e-6
"""Smallest change of a hidden state that counts as a change, relative to the largest hidden state."""


@torch.no_grad()
def check_attention(subject: Subject) -> str:
    """Attention is bidirectional in parallel decoding, and causal otherwise.

    The check changes the last token of a sequence and compares the hidden state of the first.
    """
    policy = _openvla(subject)
    inputs = subject.inputs(["open the drawer"])
    sequence = policy.decoder.prefix(policy.visual_tokens(inputs), inputs)
    parallel = isinstance(policy.decoder, Parallel)
    if isinstance(policy.decoder, Parallel):
        sequence = policy.decoder.sequence(sequence)
    mask = sequence.valid[:, None, None, :] if parallel else causal_mask(sequence.valid)
    changed = sequence.embeddings.clone()
    changed[:, -1] += changed.abs().max()
    before, after = (
        policy.model.hidden_states(embeddings, mask, sequence.positions)[:, 0].float()
        for embeddings in (sequence.embeddings, changed)
    )
    noticed = float((before - after).abs().max()) > _NOTICED * float(before.abs().max())
    if parallel and not noticed:
        raise CheckFailed(
            "attention is causal although decoding is parallel: action tokens cannot see each other and "
            "success collapses. The installed transformers ignores the attention mask; use a tested version"
        )
    if noticed and not parallel:
        raise CheckFailed("attention is bidirectional although decoding is autoregressive")
    return "bidirectional, as parallel decoding needs" if parallel else "causal, as autoregression needs"


def check_statistics(subject: Subject) -> str:
    """Actions are un-normalised with the statistics of ``env.suite``, if the checkpoint has them."""
    policy, suite = _openvla(subject), subject.config.env.suite
    used = policy.action_space.unnorm_key
    try:
        own = choose_statistics(policy.config.statistics, suite)
    except CheckpointError:
        return f"{used} (there are none of {suite}; there are {', '.join(policy.config.statistics)})"
    if own != used:
        raise CheckFailed(
            f"actions are un-normalised as in {used}, but the checkpoint has statistics of env.suite="
            f"{suite}. Set policy.openvla.unnorm_key={own}, or env.suite to what you want to play"
        )
    return used


def check_gripper(subject: Subject) -> str:
    """Gripper actions run from 0 (closed) to 1 (open).

    LIBERO's become the robot's +1 (closed) to -1 (open), RoboTwin's stay as they are.
    """
    policy = _openvla(subject)
    statistics = policy.config.statistics[policy.action_space.unnorm_key]
    lows = statistics.low if statistics.minimum is None else statistics.minimum
    highs = statistics.high if statistics.maximum is None else statistics.maximum
    for gripper in _GRIPPERS[policy.world]:
        low, high = lows[gripper], highs[gripper]
        if not (-0.01 <= low < 0.5 < high <= 1.01):
            raise CheckFailed(
                f"gripper actions of {policy.action_space.unnorm_key} run from {low:g} to {high:g}; expected "
                f"0 (closed) to 1 (open). With other signs the gripper does the opposite of what was learnt"
            )
    if policy.world == "RoboTwin":
        return "0 (closed) to 1 (open) in both arms, as RoboTwin takes it"
    opened, closed = policy.codec.postprocess([[0.0] * 6 + [1.0], [0.0] * 6 + [0.0]])[:, -1]
    if statistics.mask[-1]:
        opened, closed = policy.codec.postprocess([[0.0] * 6 + [1.0], [0.0] * 6 + [-1.0]])[:, -1]
    if (opened, closed) != (-1.0, 1.0):
        raise CheckFailed(f"open becomes {opened:g} and closed {closed:g}; the robot expects -1 and +1")
    return "1 (open) becomes the robot's -1, 0 (closed) its +1"


def check_tokens(subject: Subject) -> str:
    """Action tokens are the last ids of the tokenizer's vocabulary, before padding."""
    policy = _openvla(subject)
    low, high = policy.config.window
    size = policy.tokenizer.vocab_size
    if high != size:
        raise CheckFailed(
            f"action tokens are taken to be ids {low} to {high - 1}, but the tokenizer's vocabulary ends at "
            f"{size - 1}: every action would be off by {abs(high - size)} bins. Check pad_to_multiple_of and "
            f"text_config.vocab_size in config.json, and that tokenizer.json is the checkpoint's own"
        )
    tokens = torch.arange(1, NUM_ACTION_TOKENS).repeat_interleave(subject.num_tokens)
    tokens = tokens.view(-1, subject.num_tokens)
    again = policy.encode(policy.decode(tokens)).view(-1, policy.action_dim)
    arms = [joint for joint in range(policy.action_dim) if joint not in _GRIPPERS[policy.world]]
    if not np.array_equal(again[:, arms], tokens.view(-1, policy.action_dim)[:, arms]):
        raise CheckFailed("decoding action tokens and encoding them again does not give the same ids")
    return f"ids {low} to {high - 1}, the last of the tokenizer's {size}"


@torch.no_grad()
def check_senses(subject: Subject) -> str:
    """Each of several images changes action probabilities, and so does the robot's state."""
    policy = _openvla(subject)
    if len(policy.cameras) == 1 and policy.state is None:
        return f"one image, of {policy.cameras[0]}, and no state"
    inputs = subject.inputs(["open the drawer"])
    before = subject.logprobs(inputs)
    for index, camera in enumerate(policy.cameras):
        changed = inputs["pixels"].clone()
        changed[:, 3 * index : 3 * index + 3] = 255 - changed[:, 3 * index : 3 * index + 3]
        _require_change(subject, before, {**inputs, "pixels": changed}, f"the image of {camera}")
    if policy.state is None:
        return f"images of {', '.join(policy.cameras)}"
    moved = {**inputs, "proprio": 1.0 - inputs["proprio"]}
    _require_change(subject, before, moved, "the robot's state")
    return f"images of {', '.join(policy.cameras)}, and the robot's state of {len(policy.state.low)} numbers"


def _require_change(subject: Subject, before: Tensor, inputs: PolicyInputs, what: str) -> None:
    if float((subject.logprobs(inputs) - before).abs().max()) < _NOTICED:
        raise CheckFailed(f"{what} changes no action probability: weights that see it are probably zero")


CHECKS: dict[str, Check] = {
    "attention": check_attention,
    "action statistics": check_statistics,
    "gripper": check_gripper,
    "tokens": check_tokens,
    "senses": check_senses,
}


def _openvla(subject: Subject) -> OpenVLAPolicy:
    assert isinstance(subject.policy, OpenVLAPolicy)
    return subject.policy

"""The arms of the experiment: each part of test-time RL on or off, other ladders, and other advantages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of adapting a policy; all arms play the same number of episodes."""

    name: str
    title: str
    """Title in tables and figures."""
    overrides: tuple[str, ...]
    """Overrides of the training configuration; they take precedence over the family's."""
    n_samples: int = 8
    """Rows of a group. The family's rows of an update, divided by these, are the groups of an update."""


MAIN_ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="binary", title="binary reward, one temperature", overrides=("test_time_rl=false",)),
        Arm(
            name="ladder",
            title="ladder alone",
            overrides=("test_time_rl=true", "test_time_rl_reward=env_sparse"),
        ),
        Arm(
            name="efficiency",
            title="efficiency reward alone",
            overrides=("test_time_rl=true", "temperature_range=0"),
        ),
        Arm(name="ttrl", title="test-time RL: ladder and efficiency", overrides=("test_time_rl=true",)),
    )
}
"""The arms that run by default. Each is compared with the policy before adaptation, which needs no arm."""

VARIATIONS = {
    arm.name: arm
    for arm in (
        Arm(
            name="narrow",
            title="test-time RL, ladder from 0.6 to 0.7",
            overrides=("test_time_rl=true", "temperature_range=0.1"),
        ),
        Arm(
            name="cool",
            title="test-time RL, ladder from 0.45 to 0.75",
            overrides=("test_time_rl=true", "base_temperature=0.45"),
        ),
        Arm(
            name="wide",
            title="test-time RL, ladder from 0.6 to 1.2",
            overrides=("test_time_rl=true", "temperature_range=0.6"),
        ),
        Arm(
            name="fours",
            title="test-time RL, eight groups of four",
            overrides=("test_time_rl=true",),
            n_samples=4,
        ),
    )
}
"""Test-time RL with another ladder or group size; run only on request (``--arms``)."""

CRITICS = {
    arm.name: arm
    for arm in (
        Arm(
            name="critic",
            title="test-time RL with a critic, groups of four",
            overrides=("test_time_rl=true", "ppo.advantage=critic", "ppo.loss_reduction=token-mean"),
            n_samples=4,
        ),
    )
}
"""Test-time RL whose advantages are relative to a critic, so that groups may be smaller and more."""

ARMS = MAIN_ARMS | VARIATIONS | CRITICS
"""All arms by name."""

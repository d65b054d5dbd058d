"""The arms of the experiment: training with each part of test-time RL on or off, and with other ladders."""

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
            overrides=("env.num_groups=8", "env.n_samples=4", "test_time_rl=true"),
        ),
    )
}
"""Test-time RL with another ladder or group size; run only on request (``--arms``)."""

ARMS = MAIN_ARMS | VARIATIONS
"""All arms by name."""

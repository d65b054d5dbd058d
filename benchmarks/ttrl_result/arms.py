"""What is compared: the same training with each part of test-time RL switched on or off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of adapting a policy; all arms play the same number of episodes."""

    name: str
    title: str
    """As it stands in tables and pictures."""
    overrides: tuple[str, ...]
    """What it changes of the training configuration."""


ARMS = {
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
"""Every arm by name. No adaptation is no arm: each run is compared with the policy it started from."""

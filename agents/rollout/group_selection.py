"""Which groups an update learns from, drawing further ones until there are enough of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.config.schema import RolloutConfig
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.rollout.types import Rollout, groups_with_spread, join_rollouts, select_groups


@dataclass(frozen=True, kw_only=True)
class GroupSelection:
    """The groups of one iteration."""

    kept: Rollout
    """What the policy is updated on: the groups that this process has played, of all processes' groups."""
    played: Rollout
    """Every group that was played by any process, without the policy's inputs: what statistics are about."""
    num_kept: int
    """Groups that are kept, by all processes."""
    draws: int
    """Rollouts it took."""
    filtered: int
    """Groups left out for their success rate."""
    without_spread: int
    """Groups left out because all their rewards were equal (only looked at when redrawing)."""
    wanted: int
    """Groups that were asked for."""

    @property
    def num_played(self) -> int:
        """Groups that were played."""
        return len(np.unique(self.played.groups))

    @property
    def shortfall(self) -> str | None:
        """A sentence for the user where fewer groups are kept than were asked for, else ``None``."""
        if self.num_kept >= self.wanted:
            return None
        consequence = "the update learns from these alone" if self.num_kept else "the policy is left as it is"
        return (
            f"kept {self.num_kept} of {self.wanted} groups after {self.draws} "
            f"{'draw' if self.draws == 1 else 'draws'} ({self.num_played} played, {self.filtered} outside "
            f"the success-rate bounds, {self.without_spread} without reward spread); {consequence}"
        )


def draw_groups(
    play: Callable[[int], Rollout],
    config: RolloutConfig,
    wanted: int,
    *,
    needs_spread: bool,
    world: World = ALONE,
) -> GroupSelection:
    """Play rollouts until ``wanted`` groups are kept, once or up to ``config.max_draws`` times.

    Groups are kept in the order they were played; those beyond the wanted number are left out, so that
    every full batch has the same size. Filters look at success, never at the reward.

    Args:
        play: plays the rollout of a draw, counted from 0.
        config: filter, bounds, redrawing.
        wanted: groups of a full batch.
        needs_spread: whether a group without reward spread is of no use (group advantages). It is
            left out here only when redrawing; otherwise the update does that itself.
        world: the processes that play at the same time, each its part of the groups; ``wanted`` and
            the order are about the groups of all.
    """
    kept: list[Rollout] = []
    played: list[Rollout] = []
    found = filtered = without_spread = 0
    while not played or (config.redraw and found < wanted and len(played) < config.max_draws):
        draw = _candidates(play(len(played)), config, needs_spread=config.redraw and needs_spread)
        everyones = world.gather(replace(draw, rollout=draw.rollout.without_inputs()))
        numbers = [len(each.groups) for each in everyones]
        room = wanted - found - sum(numbers[: world.rank])
        kept.append(_only(draw.rollout, draw.groups[: max(room, 0)]))
        found = min(wanted, found + sum(numbers))
        played.append(_played_at_once([each.rollout for each in everyones]))
        filtered += sum(each.filtered for each in everyones)
        without_spread += sum(each.without_spread for each in everyones)
    return GroupSelection(
        kept=join_rollouts(kept),
        played=join_rollouts(played),
        num_kept=found,
        draws=len(played),
        filtered=filtered,
        without_spread=without_spread,
        wanted=wanted,
    )


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What one process has played, and which of its groups may be learnt from."""

    rollout: Rollout
    groups: NDArray[np.int64]
    filtered: int
    without_spread: int


def _candidates(rollout: Rollout, config: RolloutConfig, *, needs_spread: bool) -> _Draw:
    """The groups within the success-rate bounds, and, if asked for, with reward spread."""
    played = np.unique(rollout.groups)
    within = _within_bounds(rollout, config) if config.filter_accuracy else played
    groups = within
    if needs_spread:
        groups = np.intersect1d(within, groups_with_spread(rollout.rewards, rollout.groups))
    return _Draw(
        rollout=rollout,
        groups=groups,
        filtered=len(played) - len(within),
        without_spread=len(within) - len(groups),
    )


def _only(rollout: Rollout, groups: NDArray[np.int64]) -> Rollout:
    """The trajectories of ``groups``; all of them are not copied."""
    return rollout if len(groups) == len(np.unique(rollout.groups)) else select_groups(rollout, groups)


def _played_at_once(rollouts: list[Rollout]) -> Rollout:
    """What processes played beside each other; its times are those of the one that took longest."""
    return replace(
        join_rollouts(rollouts),
        simulation_seconds=max(each.simulation_seconds for each in rollouts),
        policy_seconds=max(each.policy_seconds for each in rollouts),
    )


def _within_bounds(rollout: Rollout, config: RolloutConfig) -> NDArray[np.int64]:
    """Groups whose success rate is within the bounds, both inclusive (SimpleVLA-RL's accuracy filter)."""
    rates = {group: rollout.success[rollout.groups == group].mean() for group in np.unique(rollout.groups)}
    low, high = config.accuracy_lower_bound, config.accuracy_upper_bound
    return np.array([group for group, rate in rates.items() if low <= rate <= high], dtype=np.int64)

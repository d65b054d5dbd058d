"""The preview as a dictionary, the content of ``preview.json`` (``docs/guide.md`` explains it)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.config.choices import GroupEstimator
from ttrl_env.agents.evaluation.intervals import success_interval
from ttrl_env.agents.preview.config import PreviewConfig
from ttrl_env.agents.preview.forecast import TARGET, check, forecast, start_of, unlike
from ttrl_env.agents.preview.measured_runs import MeasuredRun, read_measured_runs
from ttrl_env.agents.preview.outcomes import Outcomes
from ttrl_env.agents.preview.statements import advice, statements
from ttrl_env.libero_version import stamp
from ttrl_env.rewards import check_reward
from ttrl_env.tasks import get_task

SCHEMA = "ttrl-env/preview/1"
"""Version of the format; it changes when a key changes its meaning."""


def summarise(
    outcomes: Outcomes,
    config: PreviewConfig,
    *,
    kind: str,
    settings: dict[str, Any],
    seconds_per_episode: float | None,
) -> dict[str, Any]:
    """The preview of a run.

    Args:
        outcomes: what was played.
        config: the run.
        kind: kind of the policy, as in its ``config.json``.
        settings: all that determines the episodes.
        seconds_per_episode: as measured; ``None`` if nothing was played this time.
    """
    rates = np.unique(outcomes.temperatures)
    summary = {
        "schema": SCHEMA,
        "versions": installed_versions(),
        "world": stamp(),
        "settings": settings,
        **totals(outcomes),
        "num_diverged": int(outcomes.diverged.sum()),
        "tasks": [_task(outcomes.of_task(task), config.env.suite, task) for task in config.env.task_ids],
        "temperatures": [
            {
                "temperature": float(rate),
                **totals(outcomes.at(np.flatnonzero(outcomes.temperatures == rate).tolist())),
            }
            for rate in rates
        ],
        "groups": _groups(outcomes),
        "teaching": _teaching(outcomes, config),
        "forecast": _forecast(outcomes, config, kind),
        "run": {
            "episodes_per_update": config.env.num_groups * config.env.n_samples,
            "iterations": config.iterations,
            "seconds_per_episode": seconds_per_episode,
        },
    }
    return {**summary, "statements": statements(summary), "advice": advice(summary)}


def totals(outcomes: Outcomes) -> dict[str, Any]:
    """Episodes, successes, their rate with its interval (groups are clusters), and mean steps to success."""
    successes, (groups, rows) = int(outcomes.success.sum()), outcomes.success.shape
    steps = outcomes.steps[outcomes.success]
    return {
        "num_episodes": outcomes.success.size,
        "num_successes": successes,
        "success_rate": successes / outcomes.success.size,
        "success_rate_interval_95": list(
            success_interval(outcomes.success.ravel().tolist(), np.repeat(np.arange(groups), rows).tolist())
        ),
        "steps_to_success": float(steps.mean()) if steps.size else None,
    }


def _task(outcomes: Outcomes, suite: str, task_id: int) -> dict[str, Any]:
    instruction = get_task(suite, task_id).instruction
    return {"task_id": task_id, "instruction": instruction, **totals(outcomes), **_kinds(outcomes)}


def _kinds(outcomes: Outcomes) -> dict[str, int]:
    """States by what happened from them."""
    return {
        "mixed": int(outcomes.mixed.sum()),
        "always_fail": int((~outcomes.success.any(1)).sum()),
        "always_succeed": int(outcomes.success.all(1).sum()),
    }


def _groups(outcomes: Outcomes) -> list[dict[str, Any]]:
    return [
        {
            "task_id": int(outcomes.task_ids[group]),
            "init_state_id": int(outcomes.init_state_ids[group]),
            "success": outcomes.success[group].tolist(),
            "steps": outcomes.steps[group].tolist(),
        }
        for group in range(len(outcomes.task_ids))
    ]


def _teaching(outcomes: Outcomes, config: PreviewConfig) -> dict[str, Any]:
    """From which groups an update would learn."""
    reward = check_reward(config.test_time_rl_reward, test_time_rl=config.test_time_rl)
    spread = {
        "env_sparse": int(outcomes.with_spread("env_sparse").sum()),
        "efficiency": int(outcomes.with_spread("efficiency").sum()),
    }
    compares = config.ppo.advantage in get_args(GroupEstimator)
    learnt_from = (
        outcomes.with_spread(reward) if compares else np.ones(len(outcomes.task_ids), dtype=np.bool_)
    )
    if config.rollout.filter_accuracy:
        rates, bounds = outcomes.success.mean(1), config.rollout
        learnt_from &= (bounds.accuracy_lower_bound <= rates) & (rates <= bounds.accuracy_upper_bound)
    return {
        "num_groups": len(outcomes.task_ids),
        **_kinds(outcomes),
        "with_spread": spread,
        "reward": reward,
        "advantage": config.ppo.advantage,
        "compares_group": compares,
        "groups_per_update": config.env.num_groups,
        "groups_learnt_from_per_update": float(learnt_from.mean()) * config.env.num_groups,
    }


def _forecast(outcomes: Outcomes, config: PreviewConfig, kind: str) -> dict[str, Any]:
    """Episodes until success in nine of ten, or why there is no number, and what it rests on."""
    runs = read_measured_runs()
    num_tasks, rows = len(config.env.task_ids), outcomes.success.shape[1]
    start = start_of(outcomes.success.sum(1), rows)
    succeeds = bool(outcomes.success.any())
    reason = unlike(start, kind, num_tasks, runs) if succeeds and start.rate < TARGET else None
    episodes = None
    if succeeds and start.rate < TARGET and reason is None:
        episodes = asdict(forecast(start, runs, num_tasks))
    return {
        "target": TARGET,
        "episodes": episodes,
        "outside_what_was_measured": reason,
        "differences": _differences(config, runs),
        "check": asdict(check(runs)),
    }


def _differences(config: PreviewConfig, runs: tuple[MeasuredRun, ...]) -> list[str]:
    """Settings of the run that no measured run had; of numbers, those outside of their range."""
    choices = {
        "ppo.advantage": (config.ppo.advantage, {run.advantage for run in runs}),
        "rollout.states": (config.rollout.states, {"in_turn"}),  # the script takes no others
    }
    found = [
        f"{name}={own}, measured {' and '.join(sorted(measured))}"
        for name, (own, measured) in choices.items()
        if own not in measured
    ]
    numbers: dict[str, tuple[float, list[float]]] = {
        "env.num_groups * env.n_samples": (
            config.env.num_groups * config.env.n_samples,
            [run.rollout_episodes for run in runs],
        ),
        "ppo.epochs": (config.ppo.epochs, [run.epochs for run in runs]),
        "ppo.learning_rate": (config.ppo.learning_rate, [run.learning_rate for run in runs]),
    }
    for name, (own, measured) in numbers.items():
        low, high = min(measured), max(measured)
        if not low <= own <= high:
            found.append(f"{name}={own:g}, measured {f'{low:g}' if low == high else f'{low:g} to {high:g}'}")
    return found

"""What a run says of itself before it builds anything."""

from __future__ import annotations

from pathlib import Path

from ttrl_env import tasks
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.config.worlds import engine_name
from ttrl_env.agents.evaluation.evaluate import count_episodes
from ttrl_env.agents.policies.finding import find_policy
from ttrl_env.agents.policies.known_tasks import describe_tasks, describe_training
from ttrl_env.agents.policies.origin import tasks_of
from ttrl_env.temperatures import group_temperatures


def introduce(config: TrainConfig, checkpoint: Path | None, device: str, display: Display) -> None:
    """Say what is played, by which policy, how much of it and where; warn of tasks unknown to the policy.

    Args:
        config: the run's configuration.
        checkpoint: the checkpoint from which it goes on, if there is one.
        device: where the policy is.
        display: where to say it.

    Raises:
        CheckpointError: there is no policy ``config.policy.path``.
    """
    env, rows = config.env, config.env.num_groups * config.env.n_samples
    lines = {
        "Tasks": describe_tasks(env.suite, env.task_ids),
        "Policy": describe_policy(config, checkpoint),
        "Rollout": describe_rollout(config),
        "Training": f"{config.iterations} iterations of {rows} episodes on {device}, in {config.output_dir}",
        "Evaluation": _evaluations(config),
        "Time": "said after the first iteration, which measures it",
    }
    for label, text in lines.items():
        display.say(f"{label + ':':<11} {text}")


def describe_rollout(config: TrainConfig) -> str:
    """The rows of a rollout, their temperatures, horizon and engine."""
    env = config.env
    temperatures = group_temperatures(
        env.n_samples, config.base_temperature, config.temperature_range, test_time_rl=config.test_time_rl
    )
    low, high = min(temperatures), max(temperatures)
    at = f"temperature {low:g}" if low == high else f"temperatures {low:g} to {high:g}"
    horizon = env.max_steps or tasks.horizon(env.suite, env.task_ids)
    states = "" if config.rollout.states == "in_turn" else ", from states whose outcomes are mixed"
    if config.rollout.ladder_shift:
        at += f" (shifted by up to {config.rollout.ladder_shift:g})"
    return (
        f"{env.num_groups} x {env.n_samples} rows at {at}, up to {horizon} steps each, engine "
        f"{engine_name(env)}{states}"
    )


def _evaluations(config: TrainConfig) -> str:
    settings = config.eval
    count = count_episodes(config.env, settings, settings.temperature)
    between = 0 < settings.every < config.iterations
    when = f", after every {settings.every} iterations," if between else ""
    return f"{count} {settings.init_states} episodes before{when} and after training"


def describe_policy(config: TrainConfig, checkpoint: Path | None) -> str:
    """The policy a run starts from, and what it was trained on; warns of tasks that are new to it."""
    path = config.policy.path
    if checkpoint is not None:
        return f"of {checkpoint}"
    if path is None:
        return "a new TinyVLA, which knows nothing yet: expect no success before thousands of episodes"
    known = tasks_of(find_policy(path, described=True), config.policy.openvla.unnorm_key)
    return f"{path}, {describe_training(path, known, config.env.suite, config.env.task_ids)}"

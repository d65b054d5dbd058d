"""``ttrl eval``: how often a checkpoint succeeds, alone or against a baseline, as a table and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.consoles import make_console
from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.config.schema import EvaluateConfig
from ttrl_env.errors import ConfigError

SCHEMA = EvaluateConfig


def run(arguments: Sequence[str]) -> int:
    """Evaluate as configured by ``key=value`` arguments."""
    config = read_arguments("eval", arguments, SCHEMA, _load)
    if config is None:
        return 0
    report = _evaluate(config)
    console = make_console(soft_wrap=True)
    for evaluation in report["evaluations"]:
        console.print(_table(evaluation))
    for statement in report["statements"]:
        console.print(f"- {statement}", markup=False)
    if config.output is not None:
        console.print(f"Report: {Path(config.output) / 'report.md'}", markup=False)
    return 0


def _load(overrides: Sequence[str]) -> EvaluateConfig:
    """With the tasks that the checkpoint was trained on, and the policy's options of its run."""
    from ttrl_env.agents.commands.policy_tasks import own_tasks, settings_of_run
    from ttrl_env.agents.config.composing import compose_config
    from ttrl_env.agents.config.loading import load_config, read_settings

    settings = read_settings(EvaluateConfig, overrides)
    config = compose_config(EvaluateConfig, settings)
    if not config.checkpoint:
        raise ConfigError("checkpoint: name what to evaluate, e.g. `ttrl eval runs/ttrl`")
    given = {key for key, _ in settings}
    values = settings_of_run(config.checkpoint) or own_tasks(
        config.checkpoint, "checkpoint", config.env, config.policy, given
    )
    return load_config(EvaluateConfig, overrides, values)


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    with ending_at_once():
        from ttrl_env.agents.commands.terminal import make_display
        from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints

    display = make_display()
    try:
        return evaluate_checkpoints(config, display)
    except KeyboardInterrupt:
        if config.output is not None:
            display.say(f"Finished episodes are kept in {config.output}: the same command goes on with them")
        raise


def _table(evaluation: dict[str, Any]) -> Table:
    from ttrl_env.agents.evaluation.reports.statements import mode

    title = f"{evaluation['checkpoint']}, {mode(evaluation['temperature'])}"
    table = Table("task", "instruction", "episodes", "success", "95 % interval", "steps", title=title)
    for task in evaluation["tasks"]:
        _row(table, str(task["task_id"]), task["instruction"], task)
    table.add_section()
    _row(table, "all", "", evaluation)
    return table


def _row(table: Table, name: str, instruction: str, totals: dict[str, Any]) -> None:
    low, high = totals["success_rate_interval_95"]
    steps = totals["steps_to_success"]
    table.add_row(
        name,
        instruction,
        str(totals["num_episodes"]),
        f"{totals['success_rate']:.0%}",
        f"{low:.0%} - {high:.0%}",
        "-" if steps is None else f"{steps:.0f}",
    )

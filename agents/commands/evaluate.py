"""``ttrl eval``: the success rate of a checkpoint, with confidence intervals, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.table import Table

from ttrl_env.agents.checkpoints import find_policy, read_state
from ttrl_env.agents.commands.keys import print_config, print_keys
from ttrl_env.agents.config_loading import load_config
from ttrl_env.agents.configs import EnvConfig, EvaluateConfig
from ttrl_env.agents.evaluation import Evaluation
from ttrl_env.agents.progress import Display
from ttrl_env.errors import ConfigError
from ttrl_env.simulation import EngineName
from ttrl_env.tasks import get_task


def run(arguments: Sequence[str]) -> int:
    """Evaluate as configured by ``key=value`` arguments."""
    if {"-h", "--help"} & set(arguments):
        print_keys("ttrl eval checkpoint=PATH [--cfg] [key=value ...]", EvaluateConfig)
        return 0
    overrides = [argument for argument in arguments if argument != "--cfg"]
    config = load_config(EvaluateConfig, overrides)
    if config.checkpoint is None:
        raise ConfigError("checkpoint: name what to evaluate, e.g. `ttrl eval checkpoint=runs/ttrl`")
    config = load_config(EvaluateConfig, [*_trained_on(config.checkpoint), *overrides])
    if len(overrides) < len(arguments):
        print_config(config)
        return 0
    result = _evaluate(config)
    report = {"checkpoint": config.checkpoint, **result.report()}
    Display().console.print(_table(result))
    if config.output is not None:
        Path(config.output).parent.mkdir(parents=True, exist_ok=True)
        Path(config.output).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"Report: {config.output}")
    return 0


def _evaluate(config: EvaluateConfig) -> Evaluation:
    import transformers
    from torch import nn

    from ttrl_env.agents.policies import load_policy
    from ttrl_env.agents.train import choose_device, run_evaluation
    from ttrl_env.vector_env import TTRLVectorEnv

    transformers.logging.disable_progress_bar()  # the terminal shows the evaluation's own
    assert config.checkpoint is not None
    policy = load_policy(find_policy(config.checkpoint))
    nn.Module.to(policy, choose_device(config.device))
    env = TTRLVectorEnv(
        config.env.suite,
        [config.env.task_ids[row % len(config.env.task_ids)] for row in range(config.num_envs)],
        1,
        test_time_rl=False,
        max_steps=config.env.max_steps,
        chunk_steps=policy.chunk_steps,
        image_size=config.env.image_size,
        init_states="all",
        autoreset_mode="disabled",
        engine=cast(EngineName, config.env.engine),
        num_workers=config.env.num_workers,
        fixture_seed=config.env.fixture_seed,
    )
    try:
        with Display().bar("episodes", total=0) as progress:
            return run_evaluation(env, policy, config.env.task_ids, config.eval, config.seed, progress)
    finally:
        env.close()


def _trained_on(checkpoint: str) -> list[str]:
    """Overrides that set ``env`` to what a run was trained on; none for a bare policy folder."""
    folder = find_policy(checkpoint).parent
    if not (folder / "state.json").is_file():
        return []
    env = read_state(folder).config["env"]
    keys = [field.name for field in dataclasses.fields(EnvConfig) if field.name != "num_workers"]
    return [f"env.{key}={'null' if env[key] is None else env[key]}" for key in keys]


def _table(result: Evaluation) -> Table:
    protocol = f"{result.suite}, {result.init_states} states, horizon {result.max_steps}"
    if result.init_states != "held_out":
        protocol += " (training draws from some of these states)"
    table = Table("task", "instruction", "episodes", "success", "95 % interval", "steps", title=protocol)
    for task_id in sorted({episode.task_id for episode in result.episodes}):
        _row(table, str(task_id), get_task(result.suite, task_id).instruction, result.of_task(task_id))
    table.add_section()
    _row(table, "all", "", result)
    return table


def _row(table: Table, name: str, instruction: str, result: Evaluation) -> None:
    low, high = result.interval
    steps = result.steps_to_success
    table.add_row(
        name,
        instruction,
        str(len(result.episodes)),
        f"{result.success_rate:.0%}",
        f"{low:.0%} - {high:.0%}",
        "-" if steps is None else f"{steps:.0f}",
    )

"""``ttrl pretrain``: a TinyVLA by behaviour cloning of demonstrations in HDF5 files and LeRobotDatasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.pretraining.config import PretrainConfig, load_pretrain_config

SCHEMA = PretrainConfig


def run(arguments: Sequence[str]) -> int:
    """Pretrain as configured by ``key=value`` arguments."""
    config = read_arguments("pretrain", arguments, SCHEMA, load_pretrain_config)
    if config is None:
        return 0
    with ending_at_once():
        from ttrl_env.agents.commands.terminal import make_display
        from ttrl_env.agents.pretraining.pretrain import POLICY, pretrain

    display = make_display()
    with display.bar("behaviour cloning", config.steps) as progress:
        state = pretrain(config, say=display.say, progress=progress)
    early = ", stopped early" if state.stopped_early else ""
    display.say(f"Policy: {Path(config.output_dir) / POLICY} ({state.step} steps{early})")
    return 0

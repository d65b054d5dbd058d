"""``ttrl demo``: the ten-minute demonstration, a policy that learns a changed LIBERO task by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.demo.config import DemoConfig


def run(arguments: Sequence[str]) -> int:
    """Run the demonstration as configured by ``key=value`` arguments."""
    config = read_arguments(arguments, DemoConfig, _load, usage="ttrl demo [--cfg] [key=value ...]")
    if config is None:
        return 0
    import transformers

    from ttrl_env.agents.common.progress import Display
    from ttrl_env.agents.demo import run as demo

    transformers.logging.disable_progress_bar()  # the terminal shows the demo's own
    display = Display()
    try:
        demo.run_demo(config, display)
    except KeyboardInterrupt:
        display.say(f"Run it again to go on from {config.output_dir}")
        raise
    return 0


def _load(overrides: Sequence[str]) -> DemoConfig:
    from ttrl_env.agents.config.loading import load_settings

    config = load_settings(DemoConfig, overrides)
    return replace(config, output_dir=os.path.expanduser(config.output_dir))

"""``ttrl demo``: the ten-minute demonstration, a policy that learns a changed LIBERO task by itself."""

from __future__ import annotations

from collections.abc import Sequence

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.demo.config import DemoConfig

SCHEMA = DemoConfig


def run(arguments: Sequence[str]) -> int:
    """Run the demonstration as configured by ``key=value`` arguments."""
    config = read_arguments("demo", arguments, SCHEMA)
    if config is None:
        return 0
    with ending_at_once():
        from ttrl_env.agents.commands.terminal import make_display
        from ttrl_env.agents.demo import run as demo

    display = make_display()
    try:
        demo.run_demo(config, display)
    except KeyboardInterrupt:
        display.say(f"Run it again to go on from {config.output_dir}")
        raise
    return 0

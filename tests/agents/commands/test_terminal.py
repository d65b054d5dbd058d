from __future__ import annotations

from transformers import logging

from ttrl_env.agents.commands.terminal import make_display


def test_no_bar_of_transformers_runs_beside_the_commands_own() -> None:
    logging.enable_progress_bar()
    make_display()
    assert not logging.is_progress_bar_enabled()

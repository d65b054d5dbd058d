"""The terminal during a command that loads a policy."""

from __future__ import annotations

from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.common.progress import Display


def make_display() -> Display:
    """A display whose progress is the only one on the terminal."""
    silence_transformers()
    return Display()


def silence_transformers() -> None:
    """Switch the progress bars off that ``transformers`` draws while it reads and writes weights."""
    with ending_at_once():
        import transformers

    transformers.logging.disable_progress_bar()

"""Who watches over a training run: hears of its checkpoints, and may ask it to end early."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.agents.common.interrupts import StopRequest

STOPPING = "Stopping after this iteration, with a checkpoint. Ctrl-C again stops at once, without it."
"""The answer to the first Ctrl-C."""


class Supervisor:
    """The user at the terminal, who stops a run by a signal and needs no news of it.

    Launchers that start and restart processes have their own. Every process of a run calls each method at the
    same point.
    """

    def stop_request(self, answer: str) -> StopRequest:
        """A context in which the run may be asked to end; ``answer`` is for the terminal."""
        return StopRequest(answer)

    def began(self) -> None:
        """Hear that ``output_dir`` holds checkpoints of this run's course alone from here on."""

    def saved(self, checkpoint: Path) -> None:
        """Hear that a checkpoint is complete."""

"""What a checkpoint says about the initial states that its training drew from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.agents.checkpoints import find_policy, read_state


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The reinforcement learning behind a checkpoint; nothing is known of its pre-training."""

    suite: str
    task_ids: tuple[int, ...]
    iteration: int
    """Updates done; after none, no state has been trained on."""
    started_from: str | None
    """The policy that training started from; ``None``: a new one."""

    def drew_from(self, suite: str, task_id: int, init_state_id: int) -> bool:
        """Whether training draws from this initial state."""
        if self.iteration == 0 or suite != self.suite or task_id not in self.task_ids:
            return False
        return init_state_id in tasks.init_state_ids(suite, task_id, "train")


def provenance(checkpoint: str | Path) -> Provenance | None:
    """What a run or training checkpoint was trained on; ``None`` for a bare policy folder."""
    folder = find_policy(checkpoint).parent
    if not (folder / "state.json").is_file():
        return None
    state = read_state(folder)
    env = state.config["env"]
    return Provenance(
        suite=env["suite"],
        task_ids=tuple(env["task_ids"]),
        iteration=state.iteration,
        started_from=state.config["policy"]["path"],
    )

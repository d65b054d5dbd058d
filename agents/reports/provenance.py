"""What a checkpoint says about the initial states that its training drew from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.agents.checkpoints import TrainingState, read_state
from ttrl_env.agents.run_folder import is_checkpoint


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


def training_state(policy: Path) -> TrainingState | None:
    """The state of the training checkpoint that a policy folder belongs to, if it does."""
    folder = policy.parent
    return read_state(folder) if is_checkpoint(folder) else None


def provenance(policy: Path) -> Provenance | None:
    """What the policy in a folder was trained on; ``None`` if it belongs to no training checkpoint."""
    state = training_state(policy)
    if state is None:
        return None
    env = state.config["env"]
    return Provenance(
        suite=env["suite"],
        task_ids=tuple(env["task_ids"]),
        iteration=state.iteration,
        started_from=state.config["policy"]["path"],
    )

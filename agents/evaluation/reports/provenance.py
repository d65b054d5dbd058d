"""What a checkpoint says about the initial states that its training drew from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttrl_env import tasks
from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.common.run_folder import is_checkpoint
from ttrl_env.agents.common.training_state import TrainingState, read_state
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The reinforcement learning behind a checkpoint."""

    suite: str
    task_ids: tuple[int, ...]
    iteration: int
    """Updates done; after none, no state has been trained on."""
    started_from: str | None
    """The policy that training started from; ``None``: a new one."""

    def knows(self, suite: str) -> bool:
        """Whether a suite's states can be told apart into those trained on and others."""
        return suite == self.suite

    def drew_from(self, suite: str, task_id: int, init_state_id: int) -> bool:
        """Whether training draws from this initial state."""
        if self.iteration == 0 or suite != self.suite or task_id not in self.task_ids:
            return False
        return init_state_id in tasks.init_state_ids(suite, task_id, "train")


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """A task's demonstrations that a policy was cloned from."""

    suite: str | None
    """LIBERO's name; ``None``: the file did not say."""
    task: str | None
    """LIBERO's name."""
    num_episodes: int
    init_state_ids: tuple[int, ...] | None
    """The initial states that episodes start from or near; ``None``: not known."""
    mujoco: str | None = None
    """The version of MuJoCo they were played with; ``None``: the file did not say."""


@dataclass(frozen=True, kw_only=True)
class Cloning:
    """The behaviour cloning behind a checkpoint."""

    tasks: tuple[Demonstrated, ...]

    @property
    def suites(self) -> list[str]:
        """Names of the suites, those that are known."""
        return sorted({each.suite for each in self.tasks if each.suite is not None})

    @property
    def num_episodes(self) -> int:
        """Demonstrations of all tasks."""
        return sum(each.num_episodes for each in self.tasks)

    @property
    def is_complete(self) -> bool:
        """Whether it is known of every demonstration where it started."""
        return all(None not in (each.suite, each.task, each.init_state_ids) for each in self.tasks)

    def knows(self, suite: str) -> bool:
        """Whether a suite's states can be told apart into those demonstrated and others."""
        return self.is_complete and suite in self.suites

    def drew_from(self, suite: str, task_id: int, init_state_id: int) -> bool:
        """Whether a demonstration starts from or near this initial state."""
        wanted = (suite, tasks.get_task(suite, task_id).name)
        return any(
            (each.suite, each.task) == wanted and init_state_id in (each.init_state_ids or ())
            for each in self.tasks
        )


def cloning(policy: Path) -> Cloning | None:
    """What the policy in a folder was cloned from; ``None`` if its configuration does not say.

    Raises:
        CheckpointError: its configuration says it in another way than ours does.
    """
    if not (policy / "config.json").is_file():
        return None
    entries = read_own_json(policy, "config.json").get("demonstrations")
    if not entries:
        return None
    try:
        return Cloning(tasks=tuple(_demonstrated(**entry) for entry in entries))
    except TypeError as error:
        raise CheckpointError(
            f"policy.path: {policy / 'config.json'}: demonstrations: expected what ttrl pretrain writes, got "
            f"{entries!r:.80} ({error})"
        ) from error


def _demonstrated(*, init_state_ids: list[int] | None, **rest: Any) -> Demonstrated:
    """An entry as JSON has it."""
    return Demonstrated(init_state_ids=None if init_state_ids is None else tuple(init_state_ids), **rest)


def training_state(policy: Path) -> TrainingState | None:
    """The state of the training checkpoint that a policy folder belongs to, if it does."""
    folder = policy.parent
    return read_state(folder) if is_checkpoint(folder) else None


def provenance(policy: Path) -> Provenance | None:
    """What the policy in a folder was trained on; ``None`` if it belongs to no training checkpoint."""
    state = training_state(policy)
    if state is None:
        return None
    config = saved_config(policy.parent)
    return Provenance(
        suite=config.env.suite,
        task_ids=config.env.task_ids,
        iteration=state.iteration,
        started_from=config.policy.path,
    )

"""Reads from a checkpoint which initial states its training used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.common.run_folder import is_checkpoint
from ttrl_env.agents.common.training_state import TrainingState, read_state
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The reinforcement learning that produced a checkpoint."""

    suite: str
    task_ids: tuple[int, ...]
    iteration: int
    """Number of updates made; 0: no state has been trained on."""
    started_from: str | None
    """The policy that training started from; ``None``: a newly initialised one."""

    def knows(self, suite: str) -> bool:
        """Whether it is known which of a suite's states were trained on."""
        return suite == self.suite

    def drew_from(self, suite: str, task_id: int, init_state_id: int) -> bool:
        """Whether training uses this initial state."""
        if self.iteration == 0 or suite != self.suite or task_id not in self.task_ids:
            return False
        return init_state_id in tasks.init_state_ids(suite, task_id, "train")


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """The demonstrations of one task that a policy was cloned from."""

    suite: str | None
    """LIBERO's name of the suite; ``None``: unknown."""
    task: str | None
    """LIBERO's name of the task; ``None``: unknown."""
    num_episodes: int
    init_state_ids: tuple[int, ...] | None
    """The initial states that episodes start from or near; ``None``: unknown."""
    mujoco: str | None = None
    """The version of MuJoCo that recorded them; ``None``: unknown."""


@dataclass(frozen=True, kw_only=True)
class Cloning:
    """The behaviour cloning that produced a checkpoint."""

    tasks: tuple[Demonstrated, ...]

    @property
    def suites(self) -> list[str]:
        """Names of the known suites, sorted."""
        return sorted({each.suite for each in self.tasks if each.suite is not None})

    @property
    def num_episodes(self) -> int:
        """Number of demonstrations of all tasks."""
        return sum(each.num_episodes for each in self.tasks)

    @property
    def is_complete(self) -> bool:
        """Whether the suite, task and initial states of all demonstrations are known."""
        return all(None not in (each.suite, each.task, each.init_state_ids) for each in self.tasks)

    def knows(self, suite: str) -> bool:
        """Whether it is known which of a suite's states were demonstrated."""
        return self.is_complete and suite in self.suites

    def drew_from(self, suite: str, task_id: int, init_state_id: int) -> bool:
        """Whether a demonstration starts from or near this initial state."""
        wanted = (suite, tasks.get_task(suite, task_id).name)
        return any(
            (each.suite, each.task) == wanted and init_state_id in (each.init_state_ids or ())
            for each in self.tasks
        )


def cloning(policy: Path) -> Cloning | None:
    """The demonstrations of the policy in a folder; ``None`` if its configuration lists none.

    Raises:
        CheckpointError: the list in its configuration is not in the format of ``ttrl pretrain``.
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


def _demonstrated(
    *, init_state_ids: list[int] | None, num_episodes: int, **names: str | None
) -> Demonstrated:
    """Make an entry from its JSON values; raises ``TypeError`` if one is of another kind."""
    if type(num_episodes) is not int or not all(isinstance(name, str | None) for name in names.values()):
        raise TypeError("expected an integer num_episodes, and text or null for names")
    states = None if init_state_ids is None else tuple(init_state_ids)
    return Demonstrated(init_state_ids=states, num_episodes=num_episodes, **names)


def training_state(policy: Path) -> TrainingState | None:
    """The state of the training checkpoint that a policy folder belongs to; ``None`` if there is none."""
    folder = policy.parent
    return read_state(folder) if is_checkpoint(folder) else None


def provenance(policy: Path) -> Provenance | None:
    """The training that produced a policy folder; ``None`` if it belongs to no training checkpoint."""
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

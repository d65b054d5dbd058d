"""A few demonstrations of a task in memory, played through the environment by its scripted expert.

While recording, Gaussian noise is added to the actions that are executed, and the stored labels are
what the expert wanted before the noise (DART: Laskey et al., 2017). The images then cover the places
a cloned policy slips to, with the way back as their label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.agents.demonstrations.episodes import Demonstration, Demonstrations
from ttrl_env.agents.demonstrations.playing import MOTION_DIM
from ttrl_env.agents.experts import Expert, make_expert
from ttrl_env.checks import check_positive_int
from ttrl_env.engines import EngineChoice
from ttrl_env.init_state_stream import InitStateStream
from ttrl_env.simulation import ACTION_DIM, CameraName
from ttrl_env.vector_env import TTRLVectorEnv

MAX_ATTEMPTS_PER_EPISODE = 3
"""Recording gives up after this many attempts for each episode asked for."""


def record_demonstrations(
    suite: str,
    task_id: int,
    *,
    num_episodes: int,
    image_size: int = 128,
    cameras: Sequence[CameraName] = ("agentview",),
    noise: float = 0.1,
    seed: int = 0,
    max_steps: int = 150,
    num_workers: int = 2,
    engine: EngineChoice = "native",
    expert: Expert | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Demonstrations:
    """Play a task's expert from the train states until ``num_episodes`` episodes have succeeded.

    Which episodes come back depends on the arguments up to ``max_steps``, not on ``num_workers``:
    attempt ``k`` has its initial state and its noise from ``(seed, k)``.

    Args:
        suite: a LIBERO or LIBERO-PRO suite.
        task_id: the task; it needs an expert (:func:`ttrl_env.agents.experts.make_expert`).
        num_episodes: successful episodes to record.
        image_size: height and width of images in pixels.
        cameras: as in :class:`~ttrl_env.vector_env.TTRLVectorEnv`.
        noise: standard deviation of what is added to the executed translation and rotation actions, in
            their unit. The labels of a chunk's later steps react to noise that its observation cannot
            foresee, so more noise means less certain labels.
        seed: seed of the noise and of the order of initial states.
        max_steps: an episode that takes longer is dropped.
        num_workers: processes, each playing one episode at a time; 0 plays in this one.
        engine: as in :class:`~ttrl_env.vector_env.TTRLVectorEnv`.
        expert: an expert instead of the registered one.
        progress: called with the episodes recorded and wanted whenever one has been added.

    Raises:
        UnknownNameError: the task has no expert.
        RuntimeError: the expert failed too often.
    """
    task = tasks.get_task(suite, task_id)
    check_positive_int("num_episodes", num_episodes)
    if not 0.0 <= noise < np.inf:
        raise ValueError(f"noise: expected a finite standard deviation of at least 0, got {noise!r}")
    expert = make_expert(task) if expert is None else expert
    num_rows = min(num_episodes, max(check_positive_int("num_workers", num_workers, minimum=0), 1))
    env = TTRLVectorEnv(
        suite,
        (task_id,),
        n_samples=1,
        num_groups=num_rows,  # a group a row: each starts from a state of its own
        max_steps=max_steps,
        image_size=image_size,
        cameras=cameras,
        autoreset_mode="disabled",
        engine=engine,
        num_workers=num_workers,
    )
    with closing(env):
        recorder = _Recorder(env, expert, noise, InitStateStream(suite, task_id, "train", [seed]), seed)
        episodes = recorder.record(num_episodes, progress)
    return Demonstrations(task=task, episodes=episodes, attempts=recorder.attempts, noise=noise, seed=seed)


@dataclass
class _Attempt:
    """An episode being played."""

    number: int
    init_state_id: int
    rng: np.random.Generator
    observations: list[dict[str, NDArray]] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)

    def demonstration(self) -> Demonstration:
        """The episode, which has just succeeded."""
        keys = self.observations[0]
        return Demonstration(
            observations={key: np.stack([each[key] for each in self.observations]) for key in keys},
            actions=np.stack(self.actions),
            success=True,
            init_state_id=self.init_state_id,
        )


class _Recorder:
    """Keeps every row playing attempts until enough have succeeded."""

    def __init__(
        self, env: TTRLVectorEnv, expert: Expert, noise: float, init_states: InitStateStream, seed: int
    ) -> None:
        self.attempts = 0
        self._env = env
        self._expert = expert
        self._noise = noise
        self._init_states = init_states
        self._seed = seed
        self._running: dict[int, _Attempt] = {}
        self._recorded: dict[int, Demonstration] = {}

    def record(
        self, num_episodes: int, progress: Callable[[int, int], None] | None
    ) -> tuple[Demonstration, ...]:
        """Successful episodes in the order of their attempts."""
        observations: dict[str, NDArray] = {}
        while len(self._recorded) < num_episodes:
            # Never more attempts under way than successes missing: then the episodes recorded are the
            # first to succeed by attempt, not by time, however many rows there are.
            started = self._start(num_episodes - len(self._recorded) - len(self._running))
            observations = self._reset(started) if started else observations
            before = len(self._recorded)
            observations = self._step(observations)
            if progress is not None and len(self._recorded) > before:
                progress(len(self._recorded), num_episodes)
            self._give_up_if_hopeless(num_episodes)
        return tuple(self._recorded[number] for number in sorted(self._recorded))

    def _start(self, most: int) -> list[int]:
        """Give up to ``most`` idle rows their next attempts; returns these rows."""
        idle = [row for row in range(self._env.num_envs) if row not in self._running][:most]
        for row in idle:
            rng = np.random.default_rng([self._seed, self.attempts])
            self._running[row] = _Attempt(self.attempts, self._init_states[self.attempts], rng)
            self.attempts += 1
        return idle

    def _reset(self, rows: list[int]) -> dict[str, NDArray]:
        """Begin the episodes of ``rows``; the other rows' states in the options are not looked at."""
        mask = np.zeros(self._env.num_envs, dtype=np.bool_)
        mask[rows] = True
        states = [self._running[row].init_state_id if mask[row] else 0 for row in range(self._env.num_envs)]
        return self._env.reset(options={"init_state_ids": states, "reset_mask": mask})[0]

    def _step(self, observations: dict[str, NDArray]) -> dict[str, NDArray]:
        """Play one step in every row that is under way and take stock of those it ended."""
        executed = np.zeros((self._env.num_envs, ACTION_DIM))
        for row, attempt in self._running.items():
            observation = {key: array[row].copy() for key, array in observations.items()}
            label = self._expert.act(observation, self._env.engine.state(row))
            attempt.observations.append(observation)
            attempt.actions.append(np.asarray(label, dtype=np.float32))
            executed[row] = label
            executed[row, :MOTION_DIM] += self._noise * attempt.rng.standard_normal(MOTION_DIM)
        observations, _, terminations, truncations, _ = self._env.step(np.clip(executed, -1.0, 1.0))
        ended = [row for row in self._running if terminations[row] or truncations[row]]
        for row in ended:
            attempt = self._running.pop(row)
            if terminations[row]:
                self._recorded[attempt.number] = attempt.demonstration()
        return observations

    def _give_up_if_hopeless(self, num_episodes: int) -> None:
        finished = self.attempts - len(self._running)
        if len(self._recorded) < num_episodes and finished >= MAX_ATTEMPTS_PER_EPISODE * num_episodes:
            raise RuntimeError(
                f"the expert solved {len(self._recorded)} of {finished} attempts, each within max_steps="
                f"{self._env.max_steps}, and {num_episodes} episodes were asked for. Lower noise, which is "
                f"{self._noise:g}, or raise max_steps."
            )

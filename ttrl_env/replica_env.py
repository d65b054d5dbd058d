"""What the environments of every benchmark have in common: replicas, episodes, rewards, autoreset.

:class:`ReplicaVectorEnv` knows of no simulator. A subclass makes an engine and says what its observations
and actions are: :class:`ttrl_env.vector_env.TTRLVectorEnv` those of LIBERO,
:class:`ttrl_env.robotwin.vector_env.RoboTwinVectorEnv` those of RoboTwin.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ttrl_env import tasks
from ttrl_env.autoreset import named_mode
from ttrl_env.checks import (
    Seed,
    check_bool,
    check_choice,
    check_open,
    check_options,
    check_positive_int,
    check_real_array,
    check_reset_mask,
    check_seed,
)
from ttrl_env.engines.interface import ReplicaEngine
from ttrl_env.episodes import Episodes, require_known
from ttrl_env.groups import Groups, entropy, group_tasks
from ttrl_env.rewards import RewardName, check_reward, episode_reward
from ttrl_env.seeds import check_given_seeds, seeds_of_groups
from ttrl_env.tasks import Split, Suite
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE, group_temperatures


class ReplicaVectorEnv(VectorEnv):
    """Tasks, each replicated ``n_samples`` times from one initial state.

    A *group* is one task and one initial state. Its ``n_samples`` rows are consecutive, start from a
    bitwise identical simulation state and carry the temperatures of
    :func:`ttrl_env.temperatures.temperature_ladder`. A group's successive episodes go through the initial
    states of the split, in an order that depends on the seed and the group.

    Rewards (``test_time_rl=True``): ``1 / (1 + finish_step / max_steps)`` on the step that terminates
    by success, otherwise 0. With ``test_time_rl=False`` or ``test_time_rl_reward="env_sparse"`` they are
    the task's own 1 and 0. ``terminations`` means success. ``truncations`` means the horizon or a diverged
    simulation; then ``infos["failure"]`` says why. Read success from ``infos["success"]``, not from the
    reward.

    ``infos`` holds arrays ``[num_envs]``, valid in every row at every step: ``success`` and ``is_success``
    (the same, by the name that Stable-Baselines3 and LeRobot read; bool), ``finish_step``, ``group``,
    ``task_id``, ``init_state_id``, ``episode_index`` (int64) and ``temperature`` (float32).
    ``finish_step`` counts executed policy steps, without settling, exactly even within a chunk.
    ``episode_index`` counts a row's episodes since seeding, from 0. ``failure`` is there if a row's
    simulation has diverged: it says why in the rows of the mask ``_failure``, and is ``None`` elsewhere.

    Every autoreset mode of Gymnasium works. With ``DISABLED`` a finished row costs nothing: further
    actions for it are ignored, its flags stay set and its reward is 0 until it is reset.

    A subclass calls ``__init__``, which checks the arguments that all environments have, and then
    ``_set_up`` with its engine, once its own arguments are checked too.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own declaration
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    engine: ReplicaEngine
    """The simulations of all rows."""
    temperatures: NDArray[np.float32]
    """``[num_envs]`` at which each row's actions are to be sampled."""
    groups: NDArray[np.int64]
    """``[num_envs]`` the group of each row."""
    action_low: NDArray[np.float32]
    """``[action_dim]`` the smallest value of each number of an action."""
    action_high: NDArray[np.float32]
    """``[action_dim]`` the largest."""

    def __init__(
        self,
        suite: Suite,
        task_ids: Sequence[int],
        n_samples: int,
        *,
        control_freq_hz: float,
        num_groups: int | None = None,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        chunk_steps: int = 1,
        init_states: Split | Sequence[int] = "train",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        seed: Seed | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Check the arguments that every benchmark's environment has.

        Args:
            suite: the suite.
            task_ids: tasks within the suite; groups take them in turn.
            n_samples: replicas of each group (``N``), 4 to 8 in test-time RL.
            control_freq_hz: policy steps in a simulated second.
            num_groups: number of groups, a multiple of ``len(task_ids)``; default one for each task.
            base_temperature: temperature of a group's first row.
            temperature_range: temperature difference between a group's last row and its first.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: horizon in policy steps; default the longest of the tasks' own.
            chunk_steps: actions executed open loop by each ``step``.
            init_states: ``"train"``, ``"held_out"``, ``"all"`` or explicit ids.
            autoreset_mode: what happens to a finished row; see :class:`gymnasium.vector.AutoresetMode`.
            seed: seed of the order of initial states, as in ``reset(seed=...)``.
            render_mode: ``"rgb_array"`` or ``None``.
        """
        self.suite = suite
        self.n_samples = check_positive_int("n_samples", n_samples)
        self._tasks_in_turn, self.num_groups = group_tasks(suite.name, task_ids, num_groups)
        self.num_envs = self.num_groups * self.n_samples
        self.test_time_rl = check_bool("test_time_rl", test_time_rl)
        self._reward = check_reward(test_time_rl_reward, test_time_rl=self.test_time_rl)
        self.max_steps = check_positive_int(
            "max_steps", tasks.horizon(suite.name, self._tasks_in_turn) if max_steps is None else max_steps
        )
        self.chunk_steps = check_positive_int("chunk_steps", chunk_steps)
        self.autoreset_mode = named_mode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "autoreset_mode": self.autoreset_mode,
            "render_fps": control_freq_hz / self.chunk_steps,  # one frame a step; may be fractional
        }
        self.render_mode = (
            None if render_mode is None else check_choice("render_mode", render_mode, ("rgb_array",))
        )
        self._init_states = init_states
        self._seed = seed
        self._ladder = group_temperatures(
            n_samples, base_temperature, temperature_range, test_time_rl=self.test_time_rl
        )

    def _set_up(
        self,
        make_engine: Callable[[], ReplicaEngine],
        observations: Iterable[tuple[str, tuple[int, ...], DTypeLike]],
        action_low: ArrayLike,
        action_high: ArrayLike,
    ) -> None:
        """Make what is as large as the number of rows, then the engine.

        Args:
            make_engine: makes the engine of ``num_envs`` rows.
            observations: key, shape (with the axis of the rows) and dtype of each of its arrays.
            action_low: ``[action_dim]`` the smallest value of each number of an action.
            action_high: ``[action_dim]`` the largest.
        """
        self.temperatures = np.tile(self._ladder, self.num_groups)
        self.groups = np.repeat(np.arange(self.num_groups), self.n_samples)
        self.action_low = np.array(action_low, dtype=np.float32)
        self.action_high = np.array(action_high, dtype=np.float32)
        self._set_spaces(observations)
        seed = secrets.randbits(128) if self._seed is None else check_seed("seed", self._seed)
        self._groups = Groups(
            self.suite.name,
            self._tasks_in_turn * (self.num_groups // len(self._tasks_in_turn)),
            self._init_states,
            entropy(seed, self.num_groups),
        )
        self._episodes = Episodes(self.num_envs)
        self.engine = make_engine()

    @property
    def action_dim(self) -> int:
        """Numbers of one action."""
        return len(self.action_low)

    @property
    def instructions(self) -> list[str]:
        """The natural-language instruction of every row."""
        return [tasks.get_task(self.suite.name, int(task)).instruction for task in self.task_ids]

    @property
    def task_ids(self) -> NDArray[np.int64]:
        """The task every row plays, ``[num_envs]``."""
        return self._groups.task_ids[self.groups]

    def reset(
        self, *, seed: Seed | Sequence[Seed | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start new episodes. A call that raises for its arguments changes nothing.

        Args:
            seed: restarts the groups' orders of initial states. An integer seeds each group differently.
                A list has one seed for each row, as in Gymnasium, or one for each group: that row or group
                then starts as a single environment reset with this seed. Rows of one group need the same
                seed. ``None`` in it leaves the group's order as it is.
            options: any of ``"task_ids"`` (one a group, for this and later episodes), ``"init_state_ids"``
                (one a group, for this episode) and ``"reset_mask"`` (bool ``[num_envs]``: reset only these
                rows; the others keep their episodes, which go on with the actions of later steps).
        """
        check_open("reset", self.closed)
        chosen = check_options("options", options, ("task_ids", "init_state_ids", "reset_mask"))
        mask = check_reset_mask(chosen.get("reset_mask"), self.num_envs)
        groups = self._groups
        if chosen.get("task_ids") is not None:
            whole = np.logical_and.reduceat(mask, range(0, self.num_envs, self.n_samples))
            groups = groups.assigned(chosen["task_ids"], whole)
        previous = self._episodes.index.copy()
        if mask.all():  # rows of a group that autoreset has set apart meet again
            previous = previous.reshape(self.num_groups, self.n_samples).max(axis=1)[self.groups]
        if seed is not None:
            seed = self._seeds(seed, mask)
            groups = groups.seeded(seed)
            seeded = np.array([isinstance(seed, int) or seed[group] is not None for group in self.groups])
            previous[mask & seeded] = -1
        rows = np.flatnonzero(mask)
        self._begin_episodes(rows, groups, previous[rows] + 1, chosen.get("init_state_ids"))
        super().reset(seed=seed if isinstance(seed, int) else None)
        return self._observations(), self._infos()

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        dict[str, NDArray[Any]], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Execute one action, or one open-loop chunk of actions, in every row.

        Args:
            actions: ``[num_envs, action_dim]``, or ``[num_envs, chunk_steps, action_dim]`` when
                ``chunk_steps > 1``; the class says what their numbers mean.

        Returns:
            observations, rewards ``[num_envs]`` float64, terminations, truncations, infos.
        """
        check_open("step", self.closed)
        episodes = self._episodes
        if (episodes.index < 0).all():
            raise ResetNeeded("step: call reset() before the first step")
        require_known(episodes.lost)
        finished = episodes.finished
        chunks = self._chunks(actions, ~finished)
        self._advance(np.flatnonzero(~finished), chunks)
        newly = episodes.finished & ~finished
        rewards = np.where(
            newly, episode_reward(self._reward, episodes.success, episodes.finish_step, self.max_steps), 0.0
        )
        terminations, truncations = episodes.terminated.copy(), episodes.truncated.copy()
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and finished.any():
            terminations[finished] = truncations[finished] = False
            self._begin_next_episodes(np.flatnonzero(finished))
        ended = self._final(newly) if self.autoreset_mode is AutoresetMode.SAME_STEP and newly.any() else {}
        if ended:
            self._begin_next_episodes(np.flatnonzero(newly))
        return self._observations(), rewards, terminations, truncations, {**self._infos(), **ended}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Upright images of the first camera, one a row, as of the last observation."""
        check_open("render", self.closed)
        if self.render_mode is None:
            return None
        cameras = (each for each in self.engine.observations.values() if each.dtype == np.uint8)
        return tuple(self._upright(image).copy() for image in next(cameras))

    def close_extras(self, **kwargs: Any) -> None:
        """Free the engine's processes, threads and GL contexts."""
        if hasattr(self, "engine"):
            self.engine.close()

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image of the engine ``[H, W, 3]``, upper row first."""
        return image

    def _engine_infos(self) -> dict[str, NDArray[Any]]:
        """Further entries of ``infos``, each an array ``[num_envs]`` of its own."""
        return {}

    def _set_spaces(self, observations: Iterable[tuple[str, tuple[int, ...], DTypeLike]]) -> None:
        single: dict[str, spaces.Space[Any]] = {}
        for key, shape, dtype in observations:
            if np.dtype(dtype) == np.uint8:
                single[key] = spaces.Box(0, 255, shape[1:], np.uint8)
            else:
                single[key] = spaces.Box(-np.inf, np.inf, shape[1:], np.float32)
        shape = (self.action_dim,) if self.chunk_steps == 1 else (self.chunk_steps, self.action_dim)
        low, high = (np.broadcast_to(bound, shape) for bound in (self.action_low, self.action_high))
        self.single_observation_space = spaces.Dict(single)
        self.single_action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def _seeds(self, seed: Any, reset: NDArray[np.bool_]) -> int | list[int | None]:
        """Check a reset's seed and return it as one for all groups, or as a list of one for each."""
        seeds = check_given_seeds("seed", seed)
        if len(seeds) == 1 and seeds[0] is not None:
            return seeds[0]
        if len(seeds) == self.num_envs:
            return seeds_of_groups(seeds, self.groups, reset)
        if len(seeds) != self.num_groups:
            raise ValueError(
                f"seed: expected an integer, or one for each of {self.num_envs} rows or {self.num_groups} "
                f"groups, got {len(seeds)}: {seed!r}"
            )
        return seeds

    def _begin_next_episodes(self, rows: NDArray[np.int64]) -> None:
        """Reset rows that are over, as autoreset does."""
        with self._episodes.lost_unless_done(rows):
            self._begin_episodes(rows, self._groups, self._episodes.index[rows] + 1)

    def _begin_episodes(
        self,
        rows: NDArray[np.int64],
        groups: Groups,
        episode: NDArray[np.int64],
        init_state_ids: Sequence[int] | None = None,
    ) -> None:
        """Start episodes in ``rows``, at the next initial states of ``groups`` or at ``init_state_ids``.

        ``groups`` are stored once the engine's reset has succeeded. If it raises, nothing changes.
        """
        group_of_row = self.groups[rows]
        states = groups.init_states(group_of_row, episode, init_state_ids)
        with self._episodes.lost_unless_done(rows, refused=Exception):
            self.engine.reset(rows.tolist(), groups.task_ids[group_of_row].tolist(), states)
        self._groups = groups
        self._episodes.begin(rows, episode, states)

    def _chunks(self, actions: ArrayLike, active: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Check ``actions`` and return them as float64 ``[num_envs, chunk_steps, action_dim]``."""
        chunks = check_real_array("actions", actions)
        if chunks.shape != self.action_space.shape:
            steps = "" if self.chunk_steps == 1 else "chunk_steps, "
            raise ValueError(
                f"actions: expected shape {self.action_space.shape} "
                f"([num_envs, {steps}{self.action_dim}]), got {chunks.shape}"
            )
        chunks = chunks.reshape(self.num_envs, self.chunk_steps, self.action_dim)
        wrong = np.flatnonzero(active & ~np.isfinite(chunks).all(axis=(1, 2)))
        if wrong.size:
            raise ValueError(f"actions: expected finite values, got NaN or infinity in rows {wrong.tolist()}")
        return chunks

    def _advance(self, rows: NDArray[np.int64], chunks: NDArray[np.float64]) -> None:
        if rows.size:
            remaining = self.max_steps - self._episodes.finish_step[rows]
            with self._episodes.lost_unless_done(rows):
                result = self.engine.step(rows.tolist(), chunks[rows], remaining.tolist())
                self._episodes.advance(rows, result, self.max_steps)

    def _observations(self) -> dict[str, NDArray[Any]]:
        """Copies of the engine's arrays, in the dtypes of the observation space."""
        return {
            key: array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)
            for key, array in self.engine.observations.items()
        }

    def _infos(self, rows: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Every row's info with Gymnasium's ``_key`` masks, set for ``rows`` (default all)."""
        values = {
            **self._episodes.infos(),
            "temperature": self.temperatures.copy(),
            "group": self.groups.copy(),
            "task_id": self.task_ids,
            **self._engine_infos(),
        }
        mask = np.ones(self.num_envs, dtype=np.bool_) if rows is None else rows
        masks = {f"_{key}": mask.copy() for key in values}
        return {**values, **masks, **self._episodes.failure_infos(mask)}

    def _final(self, rows: NDArray[np.bool_]) -> dict[str, Any]:
        """``final_obs`` and ``final_info`` of rows about to be reset, in Gymnasium's form."""
        observations = self._observations()
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(rows):
            final_obs[row] = {key: array[row].copy() for key, array in observations.items()}
        final_info = self._infos(rows)
        return {
            "final_obs": final_obs,
            "_final_obs": rows,
            "final_info": final_info,
            "_final_info": rows.copy(),
        }

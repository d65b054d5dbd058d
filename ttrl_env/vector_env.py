"""The test-time-RL environment: LIBERO tasks times replicas as one Gymnasium vector environment.

The observation of every row, in full::

    agentview_image             uint8   [num_envs, image_size, image_size, 3]  RGB, upside down (see below)
    robot0_eye_in_hand_image    uint8   [num_envs, image_size, image_size, 3]  if that camera is asked for
    robot0_eef_pos              float32 [num_envs, 3]  end effector, metres, world frame
    robot0_eef_quat             float32 [num_envs, 4]  end effector, xyzw
    robot0_gripper_qpos         float32 [num_envs, 2]  finger joints, metres

and with ``robot_state=True``::

    robot0_eef_mat              float32 [num_envs, 3, 3]  its rotation, when its controller last ran
    robot0_gripper_qvel         float32 [num_envs, 2]  velocities of the finger joints, m/s
    robot0_joint_pos            float32 [num_envs, 7]  the arm's joints, radians
    robot0_joint_vel            float32 [num_envs, 7]  their velocities, rad/s

Names and image orientation are LIBERO's: the first image row is the bottom of the scene, as in OpenGL.
``render()`` returns upright images. A policy trained on LIBERO data pre-processes these raw arrays itself
(OpenVLA rotates them by 180 degrees).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from ttrl_env import libero_tasks, tasks
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
    check_sequence,
)
from ttrl_env.engines.footprint import require_room
from ttrl_env.engines.interface import (
    ACTION_DIM,
    CONTROL_FREQ_HZ,
    CameraName,
    EngineConfig,
    RestartsSimulations,
    SimulationEngine,
)
from ttrl_env.engines.make_engine import EngineChoice, make_engine
from ttrl_env.engines.observations import layout
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.episodes import Episodes, require_known
from ttrl_env.groups import Groups, entropy, group_tasks
from ttrl_env.privileged_state import privileged_state
from ttrl_env.rewards import RewardName, check_reward, episode_reward
from ttrl_env.seeds import check_given_seeds, seeds_of_groups
from ttrl_env.suites import get_libero_suite
from ttrl_env.tasks import Split
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE, group_temperatures


class TTRLVectorEnv(VectorEnv):
    """LIBERO tasks, each replicated ``n_samples`` times from one initial state.

    A *group* is one task and one initial state. Its ``n_samples`` rows are consecutive, start from a
    bitwise identical simulation state and carry the temperatures of
    :func:`ttrl_env.temperatures.temperature_ladder`. A group's successive episodes go through the initial
    states of the split, in an order that depends on the seed and the group.

    Rewards (``test_time_rl=True``): ``1 / (1 + finish_step / max_steps)`` on the step that terminates
    by success, otherwise 0. With ``test_time_rl=False`` or ``test_time_rl_reward="env_sparse"`` they are
    LIBERO's own 1 and 0. ``terminations`` means success. ``truncations`` means the horizon or a diverged
    simulation; then ``infos["failure"]`` says why. Read success from ``infos["success"]``, not from the
    reward.

    ``infos`` holds arrays ``[num_envs]``, valid in every row at every step: ``success`` and ``is_success``
    (the same, by the name that Stable-Baselines3 and LeRobot read; bool), ``finish_step``, ``group``,
    ``task_id``, ``init_state_id``, ``episode_index`` (int64) and ``temperature`` (float32).
    ``finish_step`` counts executed policy steps, without settling, exactly even within a chunk.
    ``episode_index`` counts a row's episodes since seeding, from 0. ``failure`` is there if a row's
    simulation has diverged: it says why in the rows of the mask ``_failure``, and is ``None`` elsewhere.
    With ``engine="ray"`` there is ``restarts`` (int64): how often a row's simulation died with its actor
    during the episode, and was brought back.

    Every autoreset mode of Gymnasium works. With ``DISABLED`` a finished row costs nothing: further
    actions for it are ignored, its flags stay set and its reward is 0 until it is reset.

    Example:
        >>> import gymnasium as gym, ttrl_env  # doctest: +SKIP
        >>> envs = gym.make_vec("ttrl_env/LiberoSpatial-v0", num_envs=8, task_ids=(0, 1), n_samples=4)
        >>> observations, infos = envs.reset(seed=0)
        >>> envs.temperatures[:4]
        array([0.6, 0.7, 0.8, 0.9], dtype=float32)
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own declaration
        "render_modes": ["rgb_array"],
        "render_fps": CONTROL_FREQ_HZ,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        suite: str,
        task_ids: Sequence[int] = (0,),
        n_samples: int = 4,
        *,
        num_groups: int | None = None,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        chunk_steps: int = 1,
        image_size: int = 256,
        cameras: Sequence[CameraName] = ("agentview",),
        robot_state: bool = False,
        init_states: Split | Sequence[int] = "train",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        engine: EngineChoice = "native",
        num_workers: int | None = None,
        ray: RayOptions | None = None,
        settle_steps: int = 10,
        fixture_seed: int = 0,
        seed: Seed | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Build the environment; simulations are built by the first ``reset``.

        Args:
            suite: a LIBERO or LIBERO-PRO suite, e.g. ``"libero_spatial"``.
            task_ids: tasks within the suite; groups take them in turn.
            n_samples: replicas of each group (``N``), 4 to 8 in test-time RL.
            num_groups: number of groups, a multiple of ``len(task_ids)``; default one for each task.
            base_temperature: temperature of a group's first row.
            temperature_range: temperature difference between a group's last row and its first.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: horizon in policy steps (20 Hz); default the suite's.
            chunk_steps: actions executed open loop by each ``step``.
            image_size: height and width of images in pixels.
            cameras: ``"agentview"`` and/or ``"robot0_eye_in_hand"``.
            robot_state: return the arm's joints, velocities and the end effector's rotation matrix too.
            init_states: ``"train"`` (the first 40), ``"held_out"`` (the last 10), ``"all"`` (the
                published 50-state protocol) or explicit ids.
            autoreset_mode: what happens to a finished row; see :class:`gymnasium.vector.AutoresetMode`.
            engine: ``"native"`` (compiled replicas in threads; equal to LIBERO bit for bit),
                ``"upstream"`` (unmodified LIBERO environments in processes, the reference), ``"ray"``
                (native engines in Ray actors, on any node of a cluster), or a callable that makes a
                :class:`~ttrl_env.engines.interface.SimulationEngine`.
            num_workers: threads (native), worker processes (upstream) or actors (ray); default one a core
                (ray: one for each free CPU of the cluster, at most one a group).
            ray: settings of ``engine="ray"``.
            settle_steps: steps without motion before the first observation; no step count includes them.
            fixture_seed: seed that places the fixtures; 0 is the published protocol.
            seed: seed of the order of initial states, as in ``reset(seed=...)``.
            render_mode: ``"rgb_array"`` or ``None``.
        """
        self.suite = get_libero_suite(suite)
        suite = self.suite.name
        self.n_samples = check_positive_int("n_samples", n_samples)
        tasks_in_turn, self.num_groups = group_tasks(suite, task_ids, num_groups)
        self.num_envs = self.num_groups * self.n_samples
        self.test_time_rl = check_bool("test_time_rl", test_time_rl)
        self._reward = check_reward(test_time_rl_reward, test_time_rl=self.test_time_rl)
        self.max_steps = check_positive_int(
            "max_steps", self.suite.horizon if max_steps is None else max_steps
        )
        self.chunk_steps = check_positive_int("chunk_steps", chunk_steps)
        self.autoreset_mode = named_mode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "autoreset_mode": self.autoreset_mode,
            "render_fps": CONTROL_FREQ_HZ / self.chunk_steps,  # one frame a step; may be fractional
        }
        self.render_mode = (
            None if render_mode is None else check_choice("render_mode", render_mode, ("rgb_array",))
        )
        config = EngineConfig(
            suite=suite,
            num_rows=self.num_envs,
            cameras=_cameras(cameras),
            image_size=check_positive_int("image_size", image_size),
            robot_state=check_bool("robot_state", robot_state),
            settle_steps=check_positive_int("settle_steps", settle_steps, minimum=0),
            fixture_seed=check_positive_int("fixture_seed", fixture_seed, minimum=0, maximum=2**32 - 1),
            num_workers=None
            if num_workers is None
            else check_positive_int("num_workers", num_workers, minimum=0),
            group_size=self.n_samples,
            ray=_ray_options(ray, engine),
        )
        require_room(config, self.chunk_steps, engine)
        ladder = group_temperatures(
            n_samples, base_temperature, temperature_range, test_time_rl=self.test_time_rl
        )
        self.temperatures: NDArray[np.float32] = np.tile(ladder, self.num_groups)
        self.groups: NDArray[np.int64] = np.repeat(np.arange(self.num_groups), self.n_samples)
        self._set_spaces(config)
        groups = tasks_in_turn * (self.num_groups // len(tasks_in_turn))
        seed = secrets.randbits(128) if seed is None else check_seed("seed", seed)
        self._groups = Groups(suite, groups, init_states, entropy(seed, self.num_groups))
        self._episodes = Episodes(self.num_envs)
        self.engine: SimulationEngine = make_engine(engine, config)

    @property
    def instructions(self) -> list[str]:
        """The natural-language instruction of every row."""
        return [tasks.get_task(self.suite.name, int(task)).instruction for task in self.task_ids]

    @property
    def task_ids(self) -> NDArray[np.int64]:
        """The task every row plays, ``[num_envs]``."""
        return self._groups.task_ids[self.groups]

    @property
    def privileged_state(self) -> NDArray[np.float32]:
        """``[num_envs, 56]`` float32 for a critic in training: what the simulator knows of each row's goal.

        The values are in :mod:`ttrl_env.privileged_state`, as of the last reset or step.
        """
        check_open("privileged_state", self.closed)
        seen = self.engine.observations
        return np.stack(
            [
                privileged_state(
                    libero_tasks.get_task(self.suite.name, int(task)),
                    self.engine.state(row),
                    seen["robot0_eef_pos"][row],
                    seen["robot0_gripper_qpos"][row],
                )
                for row, task in enumerate(self.task_ids)
            ]
        )

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
            actions: ``[num_envs, 7]``, or ``[num_envs, chunk_steps, 7]`` when ``chunk_steps > 1``;
                end-effector position and rotation deltas and the gripper (-1 opens, 1 closes). Values
                beyond [-1, 1] are clipped by LIBERO's controller.

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
        images = self.engine.observations[f"{self.engine.config.cameras[0]}_image"]
        return tuple(image[::-1].copy() for image in images)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the engine's processes, threads and GL contexts."""
        if hasattr(self, "engine"):
            self.engine.close()

    def _set_spaces(self, config: EngineConfig) -> None:
        single: dict[str, spaces.Space[Any]] = {}
        for key, shape, dtype in layout(config):
            if dtype is np.uint8:
                single[key] = spaces.Box(0, 255, shape[1:], np.uint8)
            else:
                single[key] = spaces.Box(-np.inf, np.inf, shape[1:], np.float32)
        shape = (ACTION_DIM,) if self.chunk_steps == 1 else (self.chunk_steps, ACTION_DIM)
        self.single_observation_space = spaces.Dict(single)
        self.single_action_space = spaces.Box(-1.0, 1.0, shape, np.float32)
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
        """Check ``actions`` and return them as float64 ``[num_envs, chunk_steps, 7]``."""
        chunks = check_real_array("actions", actions)
        if chunks.shape != self.action_space.shape:
            layout_ = "[num_envs, 7]" if self.chunk_steps == 1 else "[num_envs, chunk_steps, 7]"
            raise ValueError(
                f"actions: expected shape {self.action_space.shape} ({layout_}), got {chunks.shape}"
            )
        chunks = chunks.reshape(self.num_envs, self.chunk_steps, ACTION_DIM)
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
        }
        if isinstance(self.engine, RestartsSimulations):
            values["restarts"] = self.engine.restarts.copy()
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


def _ray_options(ray: RayOptions | None, engine: EngineChoice) -> RayOptions:
    if ray is None:
        return RayOptions()
    if not isinstance(ray, RayOptions):
        raise TypeError(f"ray: expected a ttrl_env.engines.ray_options.RayOptions, got {ray!r}")
    if isinstance(engine, str) and engine != "ray":
        raise ValueError(f"ray: settings of engine='ray' have no effect on engine={engine!r}; leave one out")
    return ray


def _cameras(cameras: Sequence[CameraName]) -> tuple[CameraName, ...]:
    names = check_sequence("cameras", cameras, "camera names")
    chosen = tuple(check_choice("cameras", camera, get_args(CameraName)) for camera in names)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"cameras: expected each camera once, got {cameras!r}")
    return chosen

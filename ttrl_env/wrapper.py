"""Test-time RL over any Gymnasium vector environment whose infos report success."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ttrl_env.autoreset import DisabledAutoreset, declared_mode, named_mode
from ttrl_env.checks import (
    Seed,
    check_bool,
    check_open,
    check_positive_int,
    check_reset_mask,
    check_seed,
    check_sequence,
    is_sequence,
)
from ttrl_env.episodes import require_known, success_infos
from ttrl_env.errors import unknown_name
from ttrl_env.rewards import RewardName, check_reward, episode_reward
from ttrl_env.seeds import check_given_seeds, seeds_of_groups
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE, group_temperatures


class TestTimeRL(VectorWrapper):
    """Adds the groups, temperatures and efficiency rewards of :class:`ttrl_env.vector_env.TTRLVectorEnv`.

    Consecutive rows form groups of ``n_samples``; row ``i`` of a group carries temperature ``T_i`` of
    the ladder. A reset seeds all rows of a group alike, so that they start alike: ``reset(seed=s)`` seeds
    group ``g`` with ``s + g``, and resets without a seed take the groups' next ones. The wrapped
    environment's rewards are replaced: the step at which an episode first reports success earns
    ``1 / (1 + finish_step / max_steps)`` (or 1, see ``test_time_rl``), all others 0.

    ``infos`` gain ``success`` and ``is_success`` (True from the first success to the episode's end),
    ``finish_step`` (steps so far, frozen at success), ``temperature``, ``group``, ``task_id`` and
    ``init_state_id``. The last is the
    episode's seed, or -1 if autoreset began the episode or the seed exceeds int64. With SAME_STEP autoreset
    the finished episode's values are in ``infos["final_info"]``.

    With ``autoreset_mode="disabled"``, success or ``max_steps`` ends an episode, finished rows wait for the
    others, and a step may execute a chunk of actions. :func:`ttrl_env.agents.collect_rollout` needs this
    mode. Otherwise terminations, truncations, observations and the autoreset mode are those of the wrapped
    environment.

    Example:
        >>> import gymnasium as gym  # doctest: +SKIP
        >>> envs = gym.make_vec("FetchReach-v4", num_envs=8)
        >>> envs = TestTimeRL(envs, n_samples=4, max_steps=50, success_key="is_success")
    """

    __test__ = False  # keeps pytest from collecting it: the name begins with Test

    def __init__(
        self,
        env: VectorEnv,
        n_samples: int,
        *,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        success_key: str | None = "success",
        autoreset_mode: AutoresetMode | str | None = None,
        chunk_steps: int = 1,
        instructions: str | Sequence[str] = "",
        task_ids: Sequence[int] | None = None,
    ) -> None:
        """Wrap ``env``, whose ``num_envs`` must be a multiple of ``n_samples``.

        Args:
            env: a vector environment that declares its autoreset mode in ``metadata``.
            n_samples: rows of each group.
            base_temperature: temperature of a group's first row.
            temperature_range: temperature difference between a group's last row and its first.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: the horizon by which the reward divides ``finish_step``; default the
                ``max_episode_steps`` of the environment's spec.
            success_key: the boolean entry of ``infos`` that reports success. ``None``: termination means
                success.
            autoreset_mode: ``"disabled"`` makes finished rows of an environment of mode NEXT_STEP wait; the
                only other choice is the environment's own mode, the default.
            chunk_steps: actions executed open loop by each ``step``; above 1 only with DISABLED.
            instructions: the policy's instructions, one text for all groups or one for each.
            task_ids: a number for the task of each group, reported in ``infos``; default 0.
        """
        super().__init__(_with_mode(env, autoreset_mode))
        self.n_samples = check_positive_int("n_samples", n_samples)
        self.test_time_rl = check_bool("test_time_rl", test_time_rl)
        if env.num_envs % n_samples:
            raise ValueError(
                f"n_samples: num_envs must be a multiple of it (groups are whole), got "
                f"n_samples={n_samples} with num_envs={env.num_envs}"
            )
        self.num_groups = env.num_envs // n_samples
        ladder = group_temperatures(
            n_samples, base_temperature, temperature_range, test_time_rl=self.test_time_rl
        )
        self.temperatures: NDArray[np.float32] = np.tile(ladder, self.num_groups)
        self.groups: NDArray[np.int64] = np.repeat(np.arange(self.num_groups), n_samples)
        self._reward = check_reward(test_time_rl_reward, test_time_rl=self.test_time_rl)
        self.max_steps = check_positive_int("max_steps", _horizon(env) if max_steps is None else max_steps)
        self.autoreset_mode = declared_mode(self.env)
        self._set_chunks(chunk_steps)
        texts = [instructions] * self.num_groups if isinstance(instructions, str) else instructions
        self.instructions: list[str] = self._one_a_row("instructions", texts, "texts")
        tasks = [0] * self.num_groups if task_ids is None else task_ids
        self._task_ids = np.array(self._one_a_row("task_ids", tasks, "integers"), dtype=np.int64)
        self._entropy = [secrets.randbits(64)]
        self._num_resets = 0
        self._init_state_ids = np.full(env.num_envs, -1)
        self._success_key = success_key
        self._success = np.zeros(env.num_envs, dtype=np.bool_)
        self._finish_step = np.zeros(env.num_envs, dtype=np.int64)
        self._over = np.zeros(env.num_envs, dtype=np.bool_)  # ended at an earlier step, not yet reset
        self._lost = np.zeros(env.num_envs, dtype=np.bool_)  # simulation may be ahead of the records

    def reset(
        self, *, seed: Seed | Sequence[Seed | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        If the wrapped environment raises, the records of running episodes stay unchanged. If the call is
        interrupted, its rows must be reset again.

        Args:
            seed: an integer ``s`` seeds group ``g`` with ``s + g``. A list has one seed for each row, the
                same in all rows of a group; groups of ``None`` take their next seed. Both decide the seeds
                of later resets without one, a list only if it has no ``None``.
            options: passed on, except for ``"init_state_ids"``: one seed for each group, instead of ``seed``.
        """
        check_open("reset", self.closed)
        if not isinstance(options, Mapping | None):
            raise TypeError(f"options: expected a dictionary, got {options!r}")
        options = None if options is None else dict(options)  # Gymnasium's environments remove keys from it
        mask = check_reset_mask((options or {}).get("reset_mask"), self.num_envs)
        seeds = self._seeds(seed, None if options is None else options.pop("init_state_ids", None), mask)
        try:
            observations, infos = self.env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        except BaseException as error:
            if not isinstance(error, Exception):
                self._lost |= mask
            raise
        self._begin(mask)
        if len(seeds) == self.num_envs:  # else what the wrapped environment takes as seeds is no row's
            self._init_state_ids[mask] = np.array([_as_int64(each) for each in seeds])[mask]
        given = [each for each in check_given_seeds("seed", seed) if each is not None]
        if len(given) == (len(seeds) if is_sequence(seed) else 1):
            self._entropy, self._num_resets = given, 0
        self._num_resets += 1
        return observations, {**infos, **self._infos()}

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the wrapped environment, once or through a chunk; rewards are float64 ``[num_envs]``.

        Args:
            actions: the wrapped environment's, or ``[num_envs, chunk_steps, ...]`` if ``chunk_steps > 1``.

        Raises:
            ResetNeeded: an earlier call raised, so the state of its rows is unknown.
        """
        check_open("step", self.closed)
        if self.chunk_steps == 1:
            return self._step(actions)
        chunks = np.asarray(actions)
        if chunks.shape[:2] != (self.num_envs, self.chunk_steps):
            raise ValueError(
                f"actions: expected shape ({self.num_envs}, {self.chunk_steps}, ...), got {chunks.shape}"
            )
        earned = np.zeros(self.num_envs)
        for step in range(self.chunk_steps):
            observations, rewards, terminations, truncations, infos = self._step(chunks[:, step])
            earned += rewards
            if (terminations | truncations).all():
                break
        return observations, earned, terminations, truncations, infos

    def render(self) -> tuple[Any, ...] | None:
        """Frames of the wrapped environment."""
        check_open("render", self.closed)
        return self.env.render()

    def _step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        observations, terminations, truncations, infos = self._simulate(actions)
        running = ~(self._over | self._success)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin(self._over.copy())  # this step reset them
        self._finish_step[running] += 1
        done = np.logical_or(terminations, truncations)
        if isinstance(self.env, DisabledAutoreset):
            done |= self._finish_step >= self.max_steps
        achieved = running & self._reported_success(infos, terminations, done & ~self._over)
        self._success |= achieved
        rewards = np.where(
            achieved, episode_reward(self._reward, achieved, self._finish_step, self.max_steps), 0.0
        )
        infos = dict(infos)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if done.any():
                infos["final_info"] = {**infos["final_info"], **self._infos(done)}
            self._begin(done)
        else:
            if isinstance(self.env, DisabledAutoreset):
                cut_off = done & ~(terminations | truncations | achieved | self._over)
                terminations, truncations = self.env.end(terminated=achieved, truncated=cut_off)
            self._over |= np.logical_or(terminations, truncations)
        infos.update(self._infos())
        return observations, rewards, terminations, truncations, infos

    def _simulate(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the wrapped environment; returns its results without the rewards."""
        require_known(self._lost)
        try:
            observations, _, terminations, truncations, infos = self.env.step(actions)
        except BaseException:
            self._lost[:] = True
            raise
        return observations, terminations, truncations, infos

    def _set_chunks(self, chunk_steps: int) -> None:
        """Set the action spaces: the wrapped environment's, or chunks of its actions."""
        self.chunk_steps = check_positive_int("chunk_steps", chunk_steps)
        if chunk_steps == 1:
            return
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"chunk_steps: a chunk must not run from an episode into the next, so {chunk_steps} needs "
                f"autoreset_mode='disabled', got {self.autoreset_mode.name}"
            )
        single = self.env.single_action_space
        if not isinstance(single, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            raise ValueError(f"chunk_steps: expected 1, because actions are not arrays ({single})")
        self.single_action_space = batch_space(single, chunk_steps)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def _one_a_row(self, argument: str, values: Sequence[Any], of: str) -> list[Any]:
        """Repeat ``values``, one for each group, for the group's rows."""
        members = check_sequence(argument, values, f"{of}, one a group")
        if len(members) != self.num_groups:
            raise ValueError(
                f"{argument}: expected one for each of {self.num_groups} groups, got {len(members)}"
            )
        return [members[group] for group in self.groups.tolist()]

    def _seeds(self, seed: Any, init_state_ids: Any, reset: NDArray[np.bool_]) -> list[int | None]:
        """Seeds for the rows of the wrapped environment, which checks a list's length itself."""
        if init_state_ids is not None:
            if seed is not None:
                raise ValueError("seed: expected none beside options['init_state_ids'], which are seeds")
            given = self._one_a_row("options['init_state_ids']", init_state_ids, "integers")
            return [check_seed("options['init_state_ids']", each) for each in given]
        given = check_given_seeds("seed", seed)
        if not is_sequence(seed):
            first = given[0]
            given = [None if first is None else first + group for group in self.groups.tolist()]
        if len(given) != self.num_envs:
            return given
        seeds_of_groups(given, self.groups, reset)  # raises where rows of a group would start apart
        rng = np.random.default_rng([*self._entropy, self._num_resets])
        following = rng.integers(2**31, size=self.num_groups)[self.groups].tolist()
        return [following[row] if each is None else each for row, each in enumerate(given)]

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        self._success[rows] = False
        self._finish_step[rows] = 0
        self._init_state_ids[rows] = -1
        self._over[rows] = self._lost[rows] = False

    def _reported_success(
        self, infos: dict[str, Any], terminations: NDArray[np.bool_], ended: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """``[num_envs]`` success reported for this step, which is the last of rows that have ``ended``."""
        if self._success_key is None:
            return terminations
        success = _reported(infos, self._success_key, self.num_envs)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            final_info = infos.get("final_info", {})
            self._require_key(final_info)
            return np.where(ended, _reported(final_info, self._success_key, self.num_envs), success)
        if ended.any():
            self._require_key(infos)
        return success

    def _require_key(self, infos: dict[str, Any]) -> None:
        """Raise if ``infos`` lack the success key: the episode would silently count as a failure."""
        if self._success_key not in infos:
            reported = [key for key in infos if not key.startswith("_")]
            raise unknown_name(
                "success_key", self._success_key, reported, "It must be in infos when an episode ends."
            )

    def _infos(self, rows: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        values = {
            **success_infos(self._success),
            "finish_step": self._finish_step.copy(),
            "temperature": self.temperatures.copy(),
            "group": self.groups.copy(),
            "task_id": self._task_ids.copy(),
            "init_state_id": self._init_state_ids.copy(),
        }
        mask = np.ones(self.num_envs, dtype=np.bool_) if rows is None else rows
        return {**values, **{f"_{key}": mask.copy() for key in values}}


def _reported(infos: dict[str, Any], key: str, num_envs: int) -> NDArray[np.bool_]:
    """An info as booleans, False where Gymnasium's mask says the row did not report it."""
    if key not in infos:
        return np.zeros(num_envs, dtype=np.bool_)
    mask = np.asarray(infos.get(f"_{key}", np.ones(num_envs, dtype=np.bool_)))
    return np.asarray(infos[key]).astype(np.bool_) & mask


def _horizon(env: VectorEnv) -> int:
    horizon = None
    if env.spec is not None:  # make_vec leaves the limit that its caller gave in kwargs, beside the id's own
        horizon = env.spec.kwargs.get("max_episode_steps", env.spec.max_episode_steps)
    if horizon is None:
        raise ValueError("max_steps: the environment's spec names no max_episode_steps, so give max_steps")
    return horizon


def _with_mode(env: VectorEnv, wanted: AutoresetMode | str | None) -> VectorEnv:
    """``env``, wrapped in :class:`DisabledAutoreset` if the wanted mode, or else its own, is DISABLED."""
    mode = declared_mode(env)
    target = mode if wanted is None else named_mode(wanted)
    if target is AutoresetMode.DISABLED:
        return DisabledAutoreset(env)
    if target is not mode:
        raise ValueError(
            f"autoreset_mode: expected 'disabled' or the environment's own {mode.name}, got {target.name}; "
            f"make the environment with that mode"
        )
    return env


def _as_int64(seed: int | None) -> int:
    """A seed as the id of an initial state; -1 for ``None`` and for seeds beyond int64."""
    return -1 if seed is None or seed >= 2**63 else seed

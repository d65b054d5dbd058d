"""One contract for every test-time-RL vector environment, in each autoreset mode.

``play`` drives an environment with random actions and checks every field of every step against what
the contract says follows from the step before. It returns how often each kind of event was seen, so
that a caller can insist that the events it means to test did happen.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.rewards import efficiency_reward
from ttrl_env.wrapper import TestTimeRL


def play(
    envs: ReplicaVectorEnv | TestTimeRL,
    num_steps: int,
    *,
    max_steps: int,
    chunk_steps: int = 1,
    seed: int = 0,
    steps_finished_rows: bool = True,
) -> Counter:
    """Check ``num_steps`` steps of ``envs``; count what was seen.

    ``success``, ``horizon``, ``failure``: ends of episodes; ``reset``: their beginnings; ``frozen``:
    steps of rows that had ended. Without ``steps_finished_rows`` the latter are reset before the next
    step, as Gymnasium's own vector environments demand when autoreset is disabled.
    """
    return _Player(envs, max_steps, chunk_steps, 2 if steps_finished_rows else 1).play(num_steps, seed)


class _Player:
    def __init__(
        self, envs: ReplicaVectorEnv | TestTimeRL, max_steps: int, chunk_steps: int, reset_every: int
    ) -> None:
        self.reset_every = reset_every
        self.envs = envs
        self.mode = envs.metadata["autoreset_mode"]
        assert isinstance(self.mode, AutoresetMode)
        self.max_steps = max_steps
        self.chunk_steps = chunk_steps
        self.seen: Counter = Counter()

    def play(self, num_steps: int, seed: int) -> Counter:
        self.envs.action_space.seed(seed)
        observations, infos = self.envs.reset(seed=seed)
        self.check_returned(observations, infos)
        assert not infos["success"].any()
        assert not infos["finish_step"].any()
        self.finish_step = np.zeros(self.envs.num_envs, dtype=np.int64)
        self.over = np.zeros(self.envs.num_envs, dtype=np.bool_)
        self.observations = observations
        for step in range(num_steps):
            self.check_step(self.envs.step(self.envs.action_space.sample()))
            if self.mode is AutoresetMode.DISABLED and self.over.any() and step % self.reset_every == 0:
                self.check_partial_reset()
        return self.seen

    def check_step(self, returned: tuple) -> None:
        observations, rewards, terminations, truncations, infos = returned
        n = self.envs.num_envs
        self.check_returned(observations, infos)
        assert (rewards.shape, rewards.dtype) == ((n,), np.float64)
        assert (terminations.shape, terminations.dtype) == ((n,), np.bool_)
        assert (truncations.shape, truncations.dtype) == ((n,), np.bool_)
        assert not (terminations & truncations).any()
        for row in range(n):
            if self.over[row] and self.mode is AutoresetMode.NEXT_STEP:
                self.check_reset_row(row, infos)
                assert (rewards[row], terminations[row], truncations[row]) == (0.0, False, False)
            elif self.over[row]:
                self.check_frozen_row(row, observations, infos)
                assert rewards[row] == 0.0
                assert terminations[row] or truncations[row]
            else:
                self.check_acting_row(row, rewards, terminations, truncations, infos)
        self.over = (terminations | truncations) & (self.mode is not AutoresetMode.SAME_STEP)
        self.finish_step = infos["finish_step"].copy()
        self.observations = observations

    def check_acting_row(
        self, row: int, rewards: NDArray, terminations: NDArray, truncations: NDArray, infos: dict[str, Any]
    ) -> None:
        ended = bool(terminations[row] or truncations[row])
        outcome = infos
        if self.mode is AutoresetMode.SAME_STEP:
            assert bool(infos.get("_final_obs", np.zeros(self.envs.num_envs))[row]) == ended
            if ended:
                outcome = infos["final_info"]
                assert outcome["_success"][row]
                assert outcome["_is_success"][row]
                assert outcome["_finish_step"][row]
                final_obs = infos["final_obs"][row]
                assert self.envs.single_observation_space.contains(final_obs)
                self.check_reset_row(row, infos)
        finish_step, success = outcome["finish_step"][row], outcome["success"][row]
        executed = finish_step - self.finish_step[row]
        failure = outcome["failure"][row] if "failure" in outcome else None
        assert 1 <= executed <= self.chunk_steps
        assert finish_step <= self.max_steps
        if not ended:
            assert executed == self.chunk_steps
        assert terminations[row] == success
        assert truncations[row] == (not success and (finish_step == self.max_steps or failure is not None))
        assert outcome["is_success"][row] == success
        assert rewards[row] == (efficiency_reward(True, finish_step, self.max_steps) if success else 0.0)
        self.seen["success"] += bool(success)
        self.seen["horizon"] += bool(truncations[row] and failure is None)
        self.seen["failure"] += failure is not None

    def check_reset_row(self, row: int, infos: dict[str, Any]) -> None:
        assert infos["finish_step"][row] == 0
        assert not infos["success"][row]
        self.seen["reset"] += 1

    def check_frozen_row(self, row: int, observations: Any, infos: dict[str, Any]) -> None:
        """A finished row without autoreset: nothing about it moves."""
        assert infos["finish_step"][row] == self.finish_step[row]
        self.check_same_observation(row, observations)
        self.seen["frozen"] += 1

    def check_partial_reset(self) -> None:
        observations, infos = self.envs.reset(options={"reset_mask": self.over.copy()})
        self.check_returned(observations, infos)
        for row in range(self.envs.num_envs):
            if self.over[row]:
                self.check_reset_row(row, infos)
            else:
                assert infos["finish_step"][row] == self.finish_step[row]
                self.check_same_observation(row, observations)
        self.finish_step = infos["finish_step"].copy()
        self.over[:] = False
        self.observations = observations

    def check_same_observation(self, row: int, observations: Any) -> None:
        now, before = (
            each if isinstance(each, dict) else {"": each} for each in (observations, self.observations)
        )
        for key, array in now.items():
            np.testing.assert_array_equal(array[row], before[key][row])

    def check_returned(self, observations: Any, infos: dict[str, Any]) -> None:
        n = self.envs.num_envs
        assert self.envs.observation_space.contains(observations)
        for key in ("success", "is_success", "finish_step", "temperature", "group"):
            assert infos[key].shape == (n,)
            assert infos[f"_{key}"].all()
        np.testing.assert_array_equal(infos["temperature"], self.envs.temperatures)
        np.testing.assert_array_equal(infos["group"], self.envs.groups)

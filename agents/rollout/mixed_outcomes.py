"""Groups are dealt where outcomes are mixed: states that a policy solves now and then teach most.

The outcomes of a state that is solved with probability ``p`` have the variance ``p (1 - p)``. Advantages
within a group live on it, and it vanishes where all rows fail or all succeed. Sampling levels by it is known
as learnability (Rutherford et al. 2024, arXiv 2408.15099), and by other scores as prioritised level replay
(Jiang et al. 2021, arXiv 2010.03934).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.rollout.assignments import Assignment
from ttrl_env.agents.rollout.state_outcomes import StateOutcomes
from ttrl_env.agents.rollout.systematic_sampling import expected_counts, systematic_sample
from ttrl_env.agents.rollout.types import Rollout

_RARE, _SURE = 0.1, 0.9
"""Below and above these estimates most groups of eight have no mixed outcomes."""


class MixedOutcomesDealer:
    """Deals each iteration's groups by the states' estimated success.

    What is dealt follows from the seed, the number of groups dealt before the iteration and the recorded
    outcomes. No state is dealt twice in an iteration before all others have been. Its draws are systematic:
    every task gets its expected number of groups, rounded up or down.
    """

    def __init__(self, config: TrainConfig, state: TrainingState | None = None) -> None:
        """Begin a run, or go on after the iterations of ``state``.

        Raises:
            CheckpointError: the outcomes of ``state`` are damaged or about other states.
        """
        env = config.env
        states = [(task, s) for task in env.task_ids for s in tasks.init_state_ids(env.suite, task, "train")]
        self._task_ids, self._init_state_ids = (np.array(ids) for ids in zip(*states, strict=True))
        self._num_groups, self._seed = env.num_groups, config.seed
        self._floor = config.rollout.mixed_outcomes.floor
        self._ladder_shift = config.rollout.ladder_shift
        self._outcomes = StateOutcomes(
            config.rollout.mixed_outcomes, self._task_ids.tolist(), self._init_state_ids.tolist()
        )
        self.groups_dealt = state.groups_dealt if state else 0
        if state is not None and state.outcomes is not None:
            self._outcomes.restore(state.outcomes)

    def deal(self, draw: int) -> Assignment:
        """What the groups of all processes play in a draw of this iteration, counted from 0."""
        rates = self._outcomes.success_rates()
        weights = draw_shares(rates, self._floor)
        times = np.zeros(len(weights), dtype=np.int64)
        for each in range(draw + 1):
            chosen = self._choose(weights, times, each)
            times += np.bincount(chosen, minlength=len(times))
        shifts = self._ladder_shift * (1 - 2 * rates[chosen])
        return Assignment(
            task_ids=self._task_ids[chosen].tolist(),
            init_state_ids=self._init_state_ids[chosen].tolist(),
            temperature_shifts=shifts.tolist() if self._ladder_shift else None,
        )

    def record(self, played: Rollout, draws: int) -> None:
        """Learn how the iteration's episodes ended, those of all processes, and go on to the next."""
        self._outcomes.record(played.task_ids, played.init_state_ids, played.success)
        self.groups_dealt += draws * self._num_groups

    @property
    def outcomes(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self._outcomes.saved()

    def metrics(self) -> dict[str, float]:
        """What is known of all training states; ``success_rate`` is the estimated mean over them."""
        rates = self._outcomes.success_rates()
        shares = draw_shares(rates, self._floor)
        return {
            "states/success_rate": float(rates.mean()),
            "states/played": float(self._outcomes.played.mean()),
            "states/nearly_always_fail": float((rates < _RARE).mean()),
            "states/mixed": float(((rates >= _RARE) & (rates <= _SURE)).mean()),
            "states/nearly_always_succeed": float((rates > _SURE).mean()),
            "states/effective_number": float(1 / np.square(shares).sum()),
        }

    def _choose(self, weights: NDArray[np.float64], times: NDArray[np.int64], draw: int) -> NDArray[np.int64]:
        """States ``[num_groups]`` of a draw, after the states have been dealt ``times`` ``[S]``."""
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self.groups_dealt, draw)))
        most = -(-(int(times.sum()) + self._num_groups) // len(times))
        order = _task_by_task(self._task_ids, rng)
        limits = (most - times)[order]
        counts = expected_counts(weights[order], limits, self._num_groups)
        chosen = order[systematic_sample(counts, limits, self._num_groups, rng)]
        return rng.permutation(chosen)


def draw_shares(success_rates: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Each state's share ``[S]`` of the groups: ``floor`` for all alike, the rest by ``p (1 - p)``."""
    variances = success_rates * (1 - success_rates)
    return floor / len(success_rates) + (1 - floor) * variances / variances.sum()


def _task_by_task(task_ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """States ``[S]`` in random order, those of a task side by side."""
    tasks_found, task = np.unique(task_ids, return_inverse=True)
    place_of_task = rng.permutation(len(tasks_found))
    order: NDArray[np.int64] = np.lexsort((rng.random(len(task_ids)), place_of_task[task]))
    return order
